"""Deployments over HTTP: serve a model, list, show with a live health check, remove; and what its server said."""

from datetime import timedelta
from functools import partial
from typing import Annotated, Any

from litestar import Controller, Request, Response, delete, get, post
from litestar.di import Provide
from litestar.params import FromPath, HeaderParameter, JSONBody, QueryParameter
from litestar.response import ServerSentEvent
from litestar.status_codes import HTTP_200_OK, HTTP_201_CREATED
from msgspec import Struct

from api.deployment_detail import DeploymentInfo, deployment_info
from api.follow import LONGEST_WAIT_SECONDS, Batch, Told, stream, until, wanted_wait
from api.logs import AT_ONCE, LogPage, following, log_page, moment, told
from api.once import RESPONSE_HEADERS, RESPONSES, TheOnce, provide_once
from api.provide import Caller, TheCaller, WantedPage, paged
from api.runs import MOST_METRICS, MetricHistory, metric_value
from domain.deployments import actions, extra_args, queries, vllm
from domain.deployments.deployment import CreateDeploymentRequest, Deployment, DeploymentStatus
from domain.deployments.ports import DeploymentFilter
from domain.errors import Conflict
from infra.servers import Server, is_loopback

KILL_SECONDS = 6.0
"""A kill, its verification and the write of the end take no longer than this on a host that is alive."""


class DeploymentRemoved(Struct, frozen=True, kw_only=True):
    """What is said of a deployment that is gone: its GPU and port are free."""

    detail: str
    deployment_id: str


class DeploymentController(Controller):
    """What people may do to deployments."""

    path = "/deployments"
    tags = ("deployments",)
    dependencies = {"once": Provide(provide_once)}  # noqa: RUF012 - as Litestar declares it

    @post(responses=RESPONSES, response_headers=RESPONSE_HEADERS)
    async def create_deployment(
        self,
        caller: TheCaller,
        once: TheOnce,
        data: JSONBody[CreateDeploymentRequest],
        prefer: Annotated[str | None, HeaderParameter(name="Prefer", description="`wait=N`: seconds to wait until it runs.")] = None,
    ) -> Response[DeploymentInfo]:
        """Serve a model; the answer comes at once, or with `Prefer: wait=N` when it answers or has failed."""
        deploy = partial(actions.deploy, asked=data, extra_args=_allowed(caller, data))
        asked = await once.run(deploy, _id, HTTP_201_CREATED)
        deployment_id = asked.body.decode()
        applied = {}
        if prefer:
            wait = wanted_wait(prefer)
            await until(caller.world.news, deployment_id, wait, lambda: _is_settled(caller, deployment_id))
            applied = {"Preference-Applied": f"wait={wait}"}
        return Response(await _shown(caller, deployment_id), status_code=HTTP_201_CREATED, headers={**asked.headers, **applied})

    @get()
    async def list_deployments(
        self,
        request: Request[Any, Any, Any],
        caller: TheCaller,
        wanted_page: WantedPage,
        model: Annotated[str | None, QueryParameter(description="A model path as asked for, or a name it is served by.")] = None,
        tag: Annotated[str | None, QueryParameter(description="One of its tags.")] = None,
        status: Annotated[DeploymentStatus | None, QueryParameter(description="Code or label; then removed ones are shown, too.")] = None,
    ) -> Response[list[DeploymentInfo]]:
        """List deployments, newest first; removed ones only when their status is asked for."""
        found = await caller.db.read(queries.page, DeploymentFilter(model=model, tag=tag, status=status), wanted_page)
        root = caller.world.settings.training_path
        return paged(request, found, wanted_page, [deployment_info(each, caller.language, root) for each in found.items])

    @get("/{deployment_id:str}")
    async def get_deployment(self, caller: TheCaller, deployment_id: FromPath[str]) -> DeploymentInfo:
        """Show a deployment, removed or not; one that runs is asked whether it is well."""
        return await _shown(caller, deployment_id)

    @delete("/{deployment_id:str}", status_code=HTTP_200_OK)
    async def remove_deployment(
        self,
        caller: TheCaller,
        deployment_id: FromPath[str],
        force: Annotated[bool, QueryParameter(description="Kill what does not exit, with its children.")] = False,  # noqa: FBT002 - a query parameter
    ) -> DeploymentRemoved:
        """Stop a deployment and take it from the list, once nothing of it lives; 409 when it does not stop and may not be killed."""
        grace = timedelta(seconds=caller.world.settings.deployment_grace_seconds)
        asked = await caller.db.run(actions.remove, deployment_id, grace=grace, force=force)
        patience = min(KILL_SECONDS + (0.0 if force else grace.total_seconds()), LONGEST_WAIT_SECONDS)
        await until(caller.world.news, asked.id, patience, lambda: _is_over(caller, asked.id))
        _require_gone((await caller.db.read(queries.detail, asked.id)).deployment, patience, force=force)
        return DeploymentRemoved(detail="deployment removed", deployment_id=asked.id)

    @post("/{deployment_id:str}/declare-dead", status_code=HTTP_200_OK)
    async def declare_deployment_dead(self, caller: TheCaller, deployment_id: FromPath[str]) -> DeploymentInfo:
        """Take an operator's word that a deployment on a lost host will not come back; 409 while its host is alive."""
        await caller.db.run(actions.declare_dead, deployment_id)
        return await _shown(caller, deployment_id)

    @get("/{deployment_id:str}/metrics")
    async def list_figures(
        self,
        caller: TheCaller,
        deployment_id: FromPath[str],
        name: Annotated[str | None, QueryParameter(description="Only this metric.")] = None,
    ) -> MetricHistory:
        """Show what the server said of itself within the last day: requests running and waiting, tokens per second, cache use."""
        deployment, items = await caller.db.read(queries.figures, deployment_id, name, MOST_METRICS)
        return MetricHistory(latest=deployment.figures, items=[metric_value(each) for each in items])

    @get("/{deployment_id:str}/logs")
    async def read_log(
        self,
        caller: TheCaller,
        deployment_id: FromPath[str],
        wanted_page: WantedPage,
        start_time: Annotated[str | None, QueryParameter(description="ISO 8601; lines seen then or later.")] = None,
        end_time: Annotated[str | None, QueryParameter(description="ISO 8601; lines seen before.")] = None,
    ) -> LogPage:
        """Read a page of its server's log, all attempts in one; times without a zone are UTC."""
        start, end = moment("start_time", start_time), moment("end_time", end_time)
        return log_page(await caller.db.read(queries.log_page, deployment_id, wanted_page, start, end), wanted_page)

    @get("/{deployment_id:str}/logs/stream")
    async def follow_log(
        self,
        caller: TheCaller,
        deployment_id: FromPath[str],
        last_event_id: Annotated[str | None, HeaderParameter(name="Last-Event-ID", description="Go on behind this line.")] = None,
    ) -> ServerSentEvent:
        """Follow the log live: an event `line` per line, whose id is its number, and `end` once the deployment is over."""
        followed = await caller.db.read(queries.get, deployment_id)
        line = following(last_event_id)

        async def read() -> Batch:
            nonlocal line
            now, lines = await caller.db.read(queries.follow, followed.id, line, AT_ONCE)
            line += len(lines)
            if now.over and not lines:
                end = {"status": now.status, "status_label": now.status.label(caller.language), "exit_code": now.exit_code}
                return Batch([Told("end", None, end)], over=True)
            return Batch([told(each) for each in lines])

        return stream(caller.world.news, followed.id, caller.closing, read)


def _allowed(caller: Caller, asked: CreateDeploymentRequest) -> list[str]:
    """Return the further arguments, split; Invalid when one may not be there, or the operator's own server has no place for them."""
    command = caller.world.settings.serve_command
    words = extra_args.words_of(asked.extra_args) if asked.extra_args else []
    vllm.argv_of(vllm.Serving(model="model", names=["model"], host="127.0.0.1", port=1, extra_args=words), command)
    return words


def _id(deployment: Deployment) -> bytes:
    return deployment.id.encode()


async def _shown(caller: Caller, deployment_id: str) -> DeploymentInfo:
    """Show a deployment; whether one that runs is well is asked now, and not taken from the row alone."""
    detail = await caller.db.read(queries.detail, deployment_id)
    deployment, settings = detail.deployment, caller.world.settings
    well = bool(deployment.health_ok)
    if well and deployment.address and deployment.port:
        key = vllm.key_of(settings.token, deployment.id) if settings.token and not is_loopback(deployment.address) else None
        server = Server(address=deployment.address, port=deployment.port, key=key)
        well = (await caller.world.asker.health(server, deployment.health_path)).ok
    return deployment_info(detail, caller.language, settings.training_path, well=well)


async def _is_settled(caller: Caller, deployment_id: str) -> bool:
    return (await caller.db.read(queries.get, deployment_id)).settled


async def _is_over(caller: Caller, deployment_id: str) -> bool:
    return (await caller.db.read(queries.get, deployment_id)).over


def _require_gone(deployment: Deployment, patience: float, *, force: bool) -> None:
    if deployment.over:
        return
    message = f"deployment {deployment.id} still lives {patience:g} s after it was asked to stop; "
    if reasons := [each.reason for each in deployment.conditions]:
        message += "; ".join(reasons)
    elif force:
        message += f"host {deployment.host} has not ended it yet: ask again, or see its worker's log"
    else:
        message += "it goes on stopping, and nothing of it is killed: with force=true what does not exit is killed with its children"
    raise Conflict(message, deployment=deployment.id, status=deployment.status)
