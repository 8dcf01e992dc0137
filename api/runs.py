"""Runs over HTTP: launch, list, show, cancel, resume, and what a trainer measured."""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any, cast

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.di import Provide
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, HeaderParameter, JSONBody, QueryParameter
from litestar.status_codes import HTTP_200_OK, HTTP_201_CREATED, HTTP_202_ACCEPTED
from msgspec import Struct

from api.follow import until, wanted_wait
from api.once import RESPONSE_HEADERS, RESPONSES, TheOnce, provide_once
from api.preflight import PreflightDetail, preflight
from api.provide import Caller, TheCaller, WantedPage, paged
from api.run_detail import RunCancelled, RunDetail, RunListed, run_cancelled, run_detail, run_listed
from domain.errors import Flaw, Invalid
from domain.runs import actions, queries
from domain.runs.queries import Detail
from domain.runs.run import Metric, NewRun, Run, RunStatus

MOST_METRICS = 10_000
"""Values in one answer; `since_step` leads on."""


class MetricValue(Struct, frozen=True, kw_only=True):
    """One value a trainer reported; null where it said NaN or infinity."""

    name: str
    step: int | None
    epoch: float | None
    value: float | None
    at: datetime


class MetricHistory(Struct, frozen=True, kw_only=True):
    """What a trainer measured: the latest by name, and the history asked for."""

    latest: dict[str, float | None]
    items: list[MetricValue]


class RunController(Controller):
    """What people may do to the runs of a project."""

    path = "/projects/{ref:str}/runs"
    tags = ("runs",)
    dependencies = {"once": Provide(provide_once)}  # noqa: RUF012 - as Litestar declares it

    @post(
        responses=RESPONSES
        | {200: ResponseSpec(PreflightDetail, description="With `dry_run`: what a launch would meet; nothing is written.")},
        response_headers=RESPONSE_HEADERS,
    )
    async def launch_run(
        self,
        caller: TheCaller,
        once: TheOnce,
        ref: FromPath[str],
        data: JSONBody[NewRun | None] = None,
        dry_run: Annotated[bool, QueryParameter(description="Only say what a launch would meet.")] = False,  # noqa: FBT002 - a query parameter
    ) -> Response[RunDetail]:
        """Queue a training; without a body it uses the project's own dataset, config and defaults. What is wrong keeps it back: 400."""
        if dry_run:
            return Response(cast("Any", await preflight(caller, ref, data or NewRun())), status_code=HTTP_200_OK)
        if earlier := await once.earlier():
            return earlier.response()
        asked = data or NewRun()
        recipe = await caller.world.library.recipe(ref, asked, caller.language)
        launch = partial(actions.launch, project_ref=ref, asked=asked, recipe=recipe, template=caller.world.settings.start_command)
        return (await once.run(launch, _launched(caller.language), HTTP_201_CREATED)).response()

    @get()
    async def list_runs(
        self,
        request: Request[Any, Any, Any],
        caller: TheCaller,
        wanted_page: WantedPage,
        ref: FromPath[str],
        status: Annotated[RunStatus | None, QueryParameter(description="Code or label.")] = None,
    ) -> Response[list[RunListed]]:
        """List a project's runs, newest first."""
        found = await caller.db.read(queries.list_runs, ref, status, wanted_page)
        return paged(request, found, wanted_page, [run_listed(run, caller.language) for run in found.items])

    @get("/{run:str}")
    async def get_run(self, caller: TheCaller, ref: FromPath[str], run: FromPath[str]) -> RunDetail:
        """Show a run, by id or name: status, progress, latest metrics, artifacts, and why it failed if it did."""
        return run_detail(await caller.db.read(queries.detail, ref, run), caller.language)

    @post("/{run:str}/resume", responses=RESPONSES, response_headers=RESPONSE_HEADERS)
    async def resume_run(
        self,
        caller: TheCaller,
        once: TheOnce,
        ref: FromPath[str],
        run: FromPath[str],
        source_artifact_id: Annotated[str, QueryParameter(description="The checkpoint to go on from, of any run of the project.")],
        data: JSONBody[NewRun | None] = None,
    ) -> Response[RunDetail]:
        """Queue a new run that goes on from a checkpoint; the body's values go over those of the source run."""
        if earlier := await once.earlier():
            return earlier.response()
        resumed = caller.world.library.resumed(ref, run, source_artifact_id, data or NewRun(), caller.language)
        asked, recipe, checkpoint = await resumed
        template = caller.world.settings.start_command
        resume = partial(actions.launch, project_ref=ref, asked=asked, recipe=recipe, template=template, resumed_from=checkpoint)
        return (await once.run(resume, _launched(caller.language), HTTP_201_CREATED)).response()

    @post(
        "/{run:str}/cancel",
        responses=RESPONSES | {202: ResponseSpec(RunDetail, description="Still stopping; ask for the run again.")},
        response_headers=RESPONSE_HEADERS,
    )
    async def cancel_run(
        self,
        caller: TheCaller,
        once: TheOnce,
        ref: FromPath[str],
        run: FromPath[str],
        force: Annotated[bool, QueryParameter(description="Give no grace: kill at once.")] = False,  # noqa: FBT002 - a query parameter
        prefer: Annotated[str | None, HeaderParameter(name="Prefer", description="`wait=N` seconds (RFC 7240); 10 unless said.")] = None,
    ) -> Response[RunCancelled]:
        """Stop a run and keep its newest complete checkpoint: 200 once it has ended, 202 while it is still saving."""
        grace = timedelta(seconds=0 if force else caller.world.settings.grace_seconds)
        cancel = partial(actions.cancel, project_ref=ref, ref=run, grace=grace)
        asked = await once.run(cancel, _id, HTTP_202_ACCEPTED)  # said again, it waits again: what it answers is the run as it is then
        wait = wanted_wait(prefer)
        await until(caller.world.news, asked.body.decode(), wait, lambda: _is_over(caller, ref, run))
        shown = run_cancelled(*await caller.db.read(queries.kept, ref, run), caller.language)
        headers = {**asked.headers, **({"Preference-Applied": f"wait={wait}"} if prefer else {})}
        return Response(shown, status_code=HTTP_200_OK if shown.finished_at else HTTP_202_ACCEPTED, headers=headers)

    @post("/{run:str}/declare-dead", status_code=HTTP_200_OK)
    async def declare_run_dead(self, caller: TheCaller, ref: FromPath[str], run: FromPath[str]) -> RunDetail:
        """Take an operator's word that a run on a lost host will not come back; 409 while its host is alive."""
        await caller.db.run(actions.declare_dead, ref, run)
        return run_detail(await caller.db.read(queries.detail, ref, run), caller.language)

    @get("/{run:str}/metrics")
    async def list_metrics(
        self,
        caller: TheCaller,
        ref: FromPath[str],
        run: FromPath[str],
        name: Annotated[str | None, QueryParameter(description="Only this metric.")] = None,
        since_step: Annotated[int | None, QueryParameter(description="Only from this step on.")] = None,
    ) -> MetricHistory:
        """Show what the trainer measured, in the order it said so."""
        found = await caller.db.read(queries.get, ref, run)
        items = await caller.db.read(queries.metric_history, ref, run, name, _step(since_step), MOST_METRICS)
        return MetricHistory(latest=found.metrics, items=[metric_value(metric) for metric in items])


def _launched(language: str) -> Callable[[Run], bytes]:
    """As a launch is answered: by nothing but what its transaction wrote, so that it can be kept there."""
    return lambda run: msgspec.json.encode(run_detail(Detail(run=run, artifacts=[]), language))


def _id(run: Run) -> bytes:
    return run.id.encode()


async def _is_over(caller: Caller, ref: str, run: str) -> bool:
    return (await caller.db.read(queries.get, ref, run)).over


def _step(since: int | None) -> int | None:
    if since is not None and not 0 <= since < 2**63:
        message = f"since_step {str(since)[:40]} is no step"
        raise Invalid(message, [Flaw("since_step", message)])
    return since


def metric_value(metric: Metric) -> MetricValue:
    """Show one value."""
    return MetricValue(name=metric.name, step=metric.step, epoch=metric.epoch, value=metric.value, at=metric.at)
