"""Before a run is queued: everything that is wrong with its config and its data, at once. Errors keep it back, warnings are only said.

The same checks guard the launch itself; who only asks (`dry_run`) also learns what it will take, and whether any host could ever run it.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from domain.database import Transaction
from domain.errors import Flaw, Invalid
from domain.hosts.ports import HasHosts
from domain.ids import ProcessId
from domain.processes import yard
from domain.processes.placement import Wish
from domain.processes.ports import HasProcesses
from domain.processes.waiting import Reason, explain
from domain.projects.project import Project, ProjectStatus
from domain.runs.ports import HasRuns
from domain.runs.recipe import Recipe
from domain.runs.run import NewRun
from domain.training.estimates import Estimates, batch_of
from domain.training.fields import check, count_in, length_of
from domain.training.paths import check_urls
from domain.training.problem import Problem, errors, shown
from domain.training.report import Finding, Report
from domain.training.rule import Rule
from domain.training.task_type import TaskType, task_type_of

MOST_SHOWN = 3
"""Places of one rule that a refusal names; the report has more."""
GIB = 2**30
NEVER = frozenset((Reason.never, Reason.no_host, Reason.hosts_away))


class Tx(Transaction, HasHosts, HasProcesses, HasRuns, Protocol):
    """What an outlook may touch."""


class Preflight(Struct, frozen=True, kw_only=True):
    """What is known of a run before it is queued."""

    project: Project
    recipe: Recipe | None
    """None where something is missing."""
    flaws: list[Flaw]
    """Why there is no recipe."""
    problems: list[Problem]
    """Of the config and the data."""
    reports: dict[str, Report]
    """By the path of the data."""

    def required(self, language: str) -> Recipe:
        """Return the recipe; Invalid naming all that keeps the run back."""
        flaws = [*self.flaws, *(Flaw(self._field(each), each.sentence(language)) for each in errors(self.problems))]
        if flaws or self.recipe is None:
            raise Invalid("the run cannot start as it is: " + "; ".join(flaw.message for flaw in flaws), flaws)
        return self.recipe

    def _field(self, problem: Problem) -> str:
        return "dataset" if problem.file in self.reports else problem.place or "config"


class Outlook(Struct, frozen=True, kw_only=True):
    """What the hosts, and the project's other runs, mean for a run."""

    gpus: int
    """It would be given."""
    largest_gpu: int | None
    """Bytes of memory of the largest GPU that it may get; None where that is not known."""
    problems: list[Problem]


def task_of(recipe: Recipe) -> TaskType:
    """Return what a recipe trains."""
    return task_type_of(recipe.config.get("task_type")) or TaskType.sft


def of_config(recipe: Recipe, gpus: int, *, written: bool) -> list[Problem]:
    """Look at what the trainer will read; `written` tells whether a YAML is behind it."""
    task = task_of(recipe)
    return [*check(recipe.config, task, written=written), *check_urls(recipe.config), *_batch(recipe.config, task, gpus)]


def of_data(path: str, report: Report) -> Iterator[Problem]:
    """Repeat the first places of each rule that a data file breaks."""
    for finding in report.findings:
        for problem in finding.problems[:MOST_SHOWN]:
            yield replace(problem, file=path, count=_more(finding, problem))
    if not report.complete:
        yield Problem(rule=Rule.partly_judged, file=path, facts={"bytes": f"{report.bytes:,}"})


def of_both(recipe: Recipe, reports: dict[str, Report]) -> Iterator[Problem]:
    """Hold the data against the config."""
    task = task_of(recipe)
    key, length = length_of(recipe.config, task)
    batch = batch_of(recipe.config, task, 1).samples
    for path, report in reports.items():
        share = report.over(length) if length and task is not TaskType.pretrain else 0
        if share and report.statistics.longest:
            facts = {"share": f"{share:.1%}", "key": key, "limit": f"{length:,}", "line": f"{report.statistics.longest[0].line:,}"}
            yield Problem(rule=Rule.over_long, file=path, facts=facts)
        if batch and 0 < report.sound < batch and task is not TaskType.pretrain:
            yield Problem(rule=Rule.few_samples, file=path, facts={"samples": f"{report.sound:,}", "batch": f"{batch:,}"})
        yield from _marks(recipe.config, path, report)


def of_estimates(estimates: Estimates, outlook: Outlook, free_bytes: int) -> Iterator[Problem]:
    """Hold what it may take against what there is."""
    memory, checkpoints = estimates.gpu_memory, estimates.checkpoints
    if memory and outlook.largest_gpu and memory.bytes > outlook.largest_gpu:
        facts = {"needed": _gib(memory.bytes), "largest": _gib(outlook.largest_gpu), "formula": memory.formula}
        yield Problem(rule=Rule.no_memory, place="resources", facts=facts)
    if checkpoints and checkpoints.bytes > free_bytes:
        yield Problem(
            rule=Rule.no_disk, facts={"needed": _gib(checkpoints.bytes), "free": _gib(free_bytes), "formula": checkpoints.formula}
        )


def outlook(tx: Tx, project: Project, asked: NewRun, folder: str | None) -> Outlook:
    """Look whether the name is free and whether any host could run it."""
    problems = []
    if project.status is ProjectStatus.archived:
        problems.append(_refused("project", f"project {project.name} is archived and takes no new runs; set its status to active first"))
    if asked.name is not None and tx.runs.name_taken(project.id, asked.name):
        problems.append(_refused("name", f"project {project.name} already has a run named {asked.name}"))
    seen = yard.seen(tx)
    wish = Wish(ProcessId("proc_"), asked.priority or 0, tx.now, asked.resources, folder)
    places = yard.places(seen)
    waiting = explain(wish, [], places, [], position=1, now=tx.now, not_before=None, away=yard.away(seen))
    if waiting.reason in NEVER:
        facts = {"reason_zh": waiting.text_zh, "reason_en": waiting.text_en}
        problems.append(Problem(rule=Rule.no_host, place="resources", facts=facts))
    gpus = [gpu for place in places for gpu in place.gpus if gpu.set_aside is None]
    count = wish.gpus if wish.gpus is not None else min(1, len(gpus))
    largest = max((gpu.memory_bytes or 0 for gpu in gpus), default=0)
    return Outlook(gpus=count, largest_gpu=largest or None, problems=problems)


def refusals(flaws: Iterable[Flaw]) -> list[Problem]:
    """Say what is missing as problems."""
    return [_refused(flaw.field, flaw.message) for flaw in flaws]


def _refused(place: str, reason: str) -> Problem:
    return Problem(rule=Rule.not_launchable, place=place, facts={"reason": reason})


def _more(finding: Finding, problem: Problem) -> int:
    return finding.count if problem is finding.problems[0] else 1


def _batch(config: dict[str, Any], task: TaskType, gpus: int) -> Iterator[Problem]:
    """Hold `global_batch_size` against per device × data parallel (× accumulation), where all is said."""
    total, batch = count_in(config, "global_batch_size"), batch_of(config, task, gpus)
    if total is None or batch.per_device is None:
        return
    said = count_in(config, "gradient_accumulation_steps") is not None
    product = batch.per_device * batch.data_parallel * batch.accumulation
    facts = {"whole": str(total), "each": str(batch.per_device), "ways": str(batch.data_parallel), "product": str(product)}
    if total == product:
        return
    if said or total % product:
        steps = f" × {batch.accumulation}" if said else ""
        yield Problem(rule=Rule.batch_mismatch, place="global_batch_size", facts=facts | {"steps": steps})
    else:
        yield Problem(rule=Rule.batch_accumulates, place="global_batch_size", facts=facts | {"steps": str(total // product)})


def _marks(config: dict[str, Any], path: str, report: Report) -> Iterator[Problem]:
    for field, keys in (("rank", ("lora_r",)), ("target_modules", ("peft_target_modules", "target_modules"))):
        found = report.marks.get(field)
        key = next((key for key in keys if config.get(key) is not None), None)
        if found is not None and key and config[key] != found:
            facts = {"field": field, "found": shown(found), "key": key, "said": shown(config[key])}
            yield Problem(rule=Rule.marks_override, file=path, facts=facts)


def _gib(count: int) -> str:
    return f"{count / GIB:,.1f} GiB"
