"""Runs over HTTP: launch, list, show, and what a trainer measured."""

from datetime import datetime
from typing import Annotated, Any

from litestar import Controller, Request, Response, get, post
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Struct
from msgspec.structs import asdict

from api.artifacts import ArtifactDetail, artifact_detail
from api.provide import TheCaller, WantedPage, paged
from domain.errors import Flaw, Invalid
from domain.runs import actions, queries
from domain.runs.artifact import Artifact
from domain.runs.run import Metric, NewRun, Run, RunStatus, RunSummary

MOST_METRICS = 10_000
"""Values in one answer; `since_step` leads on."""


class RunDetail(Run, frozen=True, kw_only=True):
    """A run with its artifacts and, while it is queued, what it waits for."""

    status_label: str
    waiting_for: str | None
    cancelled_at: datetime | None
    artifacts: list[ArtifactDetail]


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
