"""What a launch would meet, over HTTP: all problems and warnings at once, the config that would be frozen, and what it would take."""

import asyncio
import shutil
from typing import Any

from msgspec import Struct

from api.provide import Caller
from api.reports import ProblemDetail, problem_detail
from domain.runs.preflight import Outlook, Preflight, of_estimates, outlook, refusals, task_of
from domain.runs.run import NewRun
from domain.training.estimates import Estimates, estimate
from domain.training.line import KIND
from domain.training.problem import Problem
from domain.training.report import Report
from domain.training.rule import Severity
from domain.training.task_type import TaskType


class DataDetail(Struct, frozen=True, kw_only=True):
    """A data file of the run, in numbers."""

    samples: int
    sound: int
    errors: int
    warnings: int
    complete: bool


class PreflightDetail(Struct, frozen=True, kw_only=True):
    """What a launch would meet; nothing was written."""

    ok: bool
    """Whether it would be launched."""
    problems: list[ProblemDetail]
    """What keeps it back."""
    warnings: list[ProblemDetail]
    task_type: TaskType | None
    config: dict[str, Any] | None
    """The effective config that would be frozen; null where something is missing."""
    start_command: str
    """Before the run's own config takes the place of `<training_yaml>`."""
    data: dict[str, DataDetail]
    """By the path of the file."""
    estimates: Estimates | None
    """Reckoned, never measured."""
    metrics: list[str]
    """What trainers of this task report."""
    artifacts: list[str]
    """What they leave."""


async def preflight(caller: Caller, ref: str, asked: NewRun) -> PreflightDetail:
    """Judge a launch without doing it."""
    library = caller.world.library
    found = await library.preflight(ref, asked)
    folder = found.recipe.folder if found.recipe else None
    seen = await caller.db.read(outlook, found.project, asked, folder)
    if found.recipe and asked.resources.gpu_count is None and seen.gpus > 1:
        found = await library.preflight(ref, asked, gpus=seen.gpus)
    free = (await asyncio.to_thread(shutil.disk_usage, caller.world.store.root)).free
    return _shown(caller, found, seen, free)


def _shown(caller: Caller, found: Preflight, seen: Outlook, free: int) -> PreflightDetail:
    recipe, language = found.recipe, caller.language
    problems = [*refusals(found.flaws), *found.problems, *seen.problems]
    estimates, task = None, None
    if recipe is not None:
        task = task_of(recipe)
        estimates = estimate(recipe.config, task, recipe.model, list(found.reports.values()), seen.gpus)
        problems += of_estimates(estimates, seen, free)
    wrong = _of(Severity.error, problems)
    return PreflightDetail(
        ok=not wrong,
        problems=[problem_detail(each, language) for each in wrong],
        warnings=[problem_detail(each, language) for each in _of(Severity.warning, problems)],
        task_type=task,
        config=recipe.config if recipe else None,
        start_command=caller.world.settings.start_command,
        data={path: _data(report) for path, report in found.reports.items()},
        estimates=estimates,
        metrics=list(KIND[task].metrics) if task else [],
        artifacts=list(KIND[task].artifacts) if task else [],
    )


def _of(severity: Severity, problems: list[Problem]) -> list[Problem]:
    return [each for each in problems if each.rule.severity is severity]


def _data(report: Report) -> DataDetail:
    return DataDetail(samples=report.samples, sound=report.sound, errors=report.errors, warnings=report.warnings, complete=report.complete)
