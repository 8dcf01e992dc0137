"""Runs over HTTP: launch, list, show, and what a trainer measured."""

from datetime import datetime, timedelta
from typing import Annotated, Any

from litestar import Controller, Request, Response, get, post
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, HeaderParameter, JSONBody, QueryParameter
from litestar.status_codes import HTTP_200_OK, HTTP_202_ACCEPTED
from msgspec import Struct
from msgspec.structs import asdict

from api.artifacts import ArtifactDetail, artifact_detail
from api.follow import until, wanted_wait
from api.provide import Caller, TheCaller, WantedPage, paged
from domain.errors import Flaw, Invalid
from domain.runs import actions, queries
from domain.runs.artifact import Artifact, newest_checkpoint, why_no_checkpoint
from domain.runs.run import Metric, NewRun, Run, RunStatus, RunSummary

MOST_METRICS = 10_000
"""Values in one answer; `since_step` leads on."""


class RunDetail(Run, frozen=True, kw_only=True):
    """A run with its artifacts and, while it is queued, what it waits for."""

    status_label: str
    waiting_for: str | None
    cancelled_at: datetime | None
    artifacts: list[ArtifactDetail]


class RunCancelled(RunDetail, frozen=True, kw_only=True):
    """A run that was asked to stop: the checkpoint that was kept, or why there is none."""

    checkpoint: ArtifactDetail | None
    """The newest complete one; null while the run is still stopping."""
    checkpoint_note: str | None
    lost_steps: int | None
    """Steps that were measured after the checkpoint."""


class RunListed(RunSummary, frozen=True, kw_only=True):
    """A run as the list shows it."""

    status_label: str


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

    @post()
    async def launch_run(self, caller: TheCaller, ref: FromPath[str], data: JSONBody[NewRun | None] = None) -> RunDetail:
        """Queue a training; without a body it uses the project's own dataset, config and defaults."""
        asked = data or NewRun()
        recipe = await caller.world.library.recipe(ref, asked)
        run = await caller.db.run(actions.launch, ref, asked, recipe, template=caller.world.settings.start_command)
        return run_detail(run, [], None, caller.language)

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
        return paged(request, found, wanted_page, [_listed(run, caller.language) for run in found.items])

    @get("/{run:str}")
    async def get_run(self, caller: TheCaller, ref: FromPath[str], run: FromPath[str]) -> RunDetail:
        """Show a run, by id or name: status, progress, latest metrics, artifacts, and why it failed if it did."""
        return run_detail(*await caller.db.read(queries.detail, ref, run), caller.language)

    @post("/{run:str}/resume")
    async def resume_run(
        self,
        caller: TheCaller,
        ref: FromPath[str],
        run: FromPath[str],
        source_artifact_id: Annotated[str, QueryParameter(description="The checkpoint to go on from, of any run of the project.")],
        data: JSONBody[NewRun | None] = None,
    ) -> RunDetail:
        """Queue a new run that goes on from a checkpoint; the body's values go over those of the source run."""
        asked = data or NewRun()
        recipe, checkpoint = await caller.world.library.resumed(ref, run, source_artifact_id, asked)
        template = caller.world.settings.start_command
        resumed = await caller.db.run(actions.launch, ref, asked, recipe, template=template, resumed_from=checkpoint)
        return run_detail(resumed, [], None, caller.language)

    @post("/{run:str}/cancel", responses={202: ResponseSpec(RunDetail, description="Still stopping; ask for the run again.")})
    async def cancel_run(
        self,
        caller: TheCaller,
        ref: FromPath[str],
        run: FromPath[str],
        force: Annotated[bool, QueryParameter(description="Give no grace: kill at once.")] = False,  # noqa: FBT002 - a query parameter
        prefer: Annotated[str | None, HeaderParameter(name="Prefer", description="`wait=N` seconds (RFC 7240); 10 unless said.")] = None,
    ) -> Response[RunCancelled]:
        """Stop a run and keep its newest complete checkpoint: 200 once it has ended, 202 while it is still saving."""
        grace = timedelta(seconds=0 if force else caller.world.settings.grace_seconds)
        asked = await caller.db.run(actions.cancel, ref, run, grace=grace)
        wait = wanted_wait(prefer)
        await until(caller.world.news, asked.id, wait, lambda: _is_over(caller, asked))
        shown = _cancelled(*await caller.db.read(queries.kept, ref, run), caller.language)
        headers = {"Preference-Applied": f"wait={wait}"} if prefer else None
        return Response(shown, status_code=HTTP_200_OK if shown.over else HTTP_202_ACCEPTED, headers=headers)

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
        return MetricHistory(latest=found.metrics, items=[_value(metric) for metric in items])


async def _is_over(caller: Caller, run: Run) -> bool:
    now, _ = await caller.db.read(queries.follow, run, 0, 0)
    return now.over


def _cancelled(run: Run, artifacts: list[Artifact], last_step: int | None, language: str) -> RunCancelled:
    checkpoint = newest_checkpoint(artifacts) if run.over else None
    note = why_no_checkpoint(artifacts) if run.over and checkpoint is None else None
    step = checkpoint.step if checkpoint else None
    shown: dict[str, Any] = asdict(run_detail(run, artifacts, None, language))
    return RunCancelled(
        **shown,
        checkpoint=artifact_detail(checkpoint, language) if checkpoint else None,
        checkpoint_note=note,
        lost_steps=max(last_step - step, 0) if last_step is not None and step is not None else None,
    )


def run_detail(run: Run, artifacts: list[Artifact], waiting_for: str | None, language: str) -> RunDetail:
    """Return a run as it is shown."""
    return RunDetail(
        **asdict(run),
        status_label=run.status.label(language),
        waiting_for=waiting_for,
        cancelled_at=run.finished_at if run.status is RunStatus.cancelled else None,
        artifacts=[artifact_detail(artifact, language) for artifact in artifacts],
    )


def _listed(run: RunSummary, language: str) -> RunListed:
    return RunListed(**asdict(run), status_label=run.status.label(language))


def _step(since: int | None) -> int | None:
    if since is not None and not 0 <= since < 2**63:
        message = f"since_step {str(since)[:40]} is no step"
        raise Invalid(message, [Flaw("since_step", message)])
    return since


def _value(metric: Metric) -> MetricValue:
    return MetricValue(name=metric.name, step=metric.step, epoch=metric.epoch, value=metric.value, at=metric.at)
