"""What people and hosts may do to a run: launch it; take it, see it begin, store what it says, register what it left, end it."""

import shlex
from datetime import timedelta
from math import isfinite
from typing import Any, Protocol

from msgspec.structs import replace

from domain.database import Transaction
from domain.datasets.ports import HasDatasets
from domain.errors import Conflict, Invalid, NotFound
from domain.events.actions import record
from domain.events.ports import HasEvents
from domain.hosts.ports import HasHosts
from domain.ids import ArtifactId, ProcessId, RunId, new_id
from domain.processes import actions as processes
from domain.processes.actions import Speaker
from domain.processes.ports import HasProcesses, Sight
from domain.processes.process import Phase, Process
from domain.projects.actions import unknown
from domain.projects.ports import HasProjects
from domain.projects.project import Project, name_flaws
from domain.runs import queries
from domain.runs.artifact import Artifact, ArtifactType, Found, NewTag
from domain.runs.command import start_argv
from domain.runs.ending import Ending
from domain.runs.ports import HasRuns
from domain.runs.recipe import Recipe
from domain.runs.run import Metric, NewRun, Run, RunStatus
from domain.runs.said import Said
from domain.runs.telemetry import STARTED, progress
from domain.train_configs.ports import HasTrainConfigs


class Tx(Transaction, HasProjects, HasDatasets, HasTrainConfigs, HasRuns, HasProcesses, HasHosts, HasEvents, Protocol):
    """What the actions on runs may touch."""


def launch(tx: Tx, project_ref: str, asked: NewRun, recipe: Recipe, *, template: str, resumed_from: ArtifactId | None = None) -> Run:
    """Queue a run with its process: the two rows are the order to start it. Conflict when the name is in use.

    `resumed_from` names the checkpoint that the recipe goes on from.
    """
    project = _counted(tx, project_ref)
    project.require_open()
    run_id = RunId(new_id("run_"))
    argv = start_argv(template, run_id)
    run = Run(
        id=run_id,
        project_id=project.id,
        name=_name(tx, project, asked),
        status=RunStatus.queued,
        model=recipe.model,
        dataset=recipe.dataset,
        hyperparameters=asked.hyperparameters,
        resources=asked.resources,
        priority=asked.priority,
        labels=asked.labels,
        start_command=shlex.join(argv),
        config=recipe.config,
        inputs=recipe.inputs,
        resumed_from=resumed_from,
        created_at=tx.now,
        updated_at=tx.now,
    )
    tx.runs.add(run)
    tx.processes.add(_process(run, project, argv))
    told = {"name": run.name, "dataset": run.dataset, "model": run.model}
    record(tx, "run.launched", run.id, project=project.id, **told, **({"resumed_from": resumed_from} if resumed_from else {}))
    tx.place_later()
    return run


def take(tx: Tx, process_id: ProcessId, speaker: Speaker) -> tuple[Run, Process]:
    """Let a host claim the start of the run it was given."""
    run = _owner(tx, process_id)
    process = processes.take(tx, process_id, speaker)
    if run.status is RunStatus.queued:
        run = _move(tx, run, RunStatus.starting, host=speaker.name, attempt=process.attempt)
    return run, process


def began(tx: Tx, process_id: ProcessId, speaker: Speaker, sight: Sight) -> Run:
    """Note that the command lives: the run is running, at 5 %, and its log says so."""
    run = _owner(tx, process_id)
    process = processes.seen_alive(tx, process_id, speaker, sight)
    if run.status is not RunStatus.starting:
        return run
    processes.note(tx, process, f"训练进程已启动 training started · host {speaker.name} · pid {sight.pid}")
    return _move(tx, run, RunStatus.running, started_at=tx.now, progress=STARTED)


def cancel(tx: Tx, project_ref: str, ref: str, *, grace: timedelta) -> Run:
    """Ask a run to stop: a queued one is cancelled at once, a live one when its process has truly ended. Repeating it is a no-op."""
    run = tx.runs.lock(queries.get(tx, project_ref, ref).id)
    if run is None or run.status is RunStatus.cancelled:
        return queries.get(tx, project_ref, ref)
    if run.over:
        message = f"run {run.name} has {run.status} already; there is nothing to cancel"
        raise Conflict(message, run=run.id)
    process = tx.processes.lock(tx.processes.of(run.id).id)
    if process is not None:
        processes.stop(tx, process, grace=grace)
    if run.status is RunStatus.queued:
        return _move(tx, run, RunStatus.cancelled, finished_at=tx.now)
    return run if run.status is RunStatus.cancelling else _move(tx, run, RunStatus.cancelling)


def said(tx: Tx, process_id: ProcessId, speaker: Speaker, words: Said) -> Process:
    """Store what a run's trainer said: lines, metrics, progress, and the offset behind them, all in one transaction."""
    run = _owner(tx, process_id)
    process = processes.held(tx, process_id, speaker)
    if process.log_offset != words.first_byte:
        return process
    processes.store(tx, process, words.lines, seen_at=words.seen_at, end_byte=words.end_byte, report_end=words.report_end)
    tx.metrics.add(_metrics(run, words))
    if not run.over:
        latest = run.metrics | {name: _finite(value) for each in words.measured for name, value in each.values.items()}
        fraction = run.progress if words.progress is None else max(run.progress, progress(words.progress))
        tx.runs.save(replace(run, metrics=latest, progress=fraction, updated_at=tx.now))
    tx.tell(run.id)
    return replace(process, log_offset=words.end_byte, report_offset=words.report_end)


def found(tx: Tx, process_id: ProcessId, speaker: Speaker, findings: list[Found], root: str) -> list[Artifact]:
    """Register what lies in a run's output folder (`root`, a URI); what is known already keeps its id."""
    run = _owner(tx, process_id)
    processes.held(tx, process_id, speaker)
    return _register(tx, run, findings, root)


def ended(tx: Tx, process_id: ProcessId, speaker: Speaker, ending: Ending) -> Run:
    """Settle a run: artifacts registered and the status terminal in one transaction. Repeating it changes nothing."""
    run = _owner(tx, process_id)
    process = processes.held(tx, process_id, speaker)
    if process.phase is Phase.over:
        return run
    _register(tx, run, ending.findings, ending.root)
    if run.status is RunStatus.starting and ending.began:
        run = _move(tx, run, RunStatus.running, started_at=tx.now)
    status, failure = ending.verdict(run, tx.logs.last(run.id))
    processes.note(tx, process, ending.last_words(status), level="INFO" if status is RunStatus.succeeded else "ERROR")
    processes.end(tx, process)
    progress_then = 1.0 if status is RunStatus.succeeded else run.progress
    return _move(tx, run, status, finished_at=tx.now, exit_code=ending.code, failure=failure, progress=progress_then)


def tag(tx: Tx, project_ref: str, ref: str, artifact_id: str, asked: NewTag) -> Artifact:
    """Tag an artifact; the same tag again replaces its notes, and the record keeps every time it was applied."""
    tx.runs.lock(queries.get(tx, project_ref, ref).id)
    artifact = queries.artifact(tx, project_ref, ref, artifact_id).tagged(asked, tx.now)
    tx.artifacts.put(artifact)
    record(tx, "artifact.tagged", artifact.id, project=artifact.project_id, tag=asked.tag, notes=asked.notes)
    tx.tell(artifact.run_id)
    return artifact


def _move(tx: Tx, run: Run, status: RunStatus, **facts: object) -> Run:
    moved = run.to(status, tx.now, **facts)
    tx.runs.save(moved)
    data = {"from": run.status, "to": status, "attempt": moved.attempt, "host": moved.host}
    if moved.failure:
        data |= {"class": moved.failure.failure_class, "reason": moved.failure.reason}
    record(tx, f"run.{status}", run.id, project=run.project_id, **data)
    tx.tell(run.id)
    return moved


def _owner(tx: Tx, process_id: ProcessId) -> Run:
    process = tx.processes.get(process_id)
    run = tx.runs.lock(RunId(process.owner_id)) if process else None
    if run is None:
        message = f"there is no run with a process {process_id}"
        raise NotFound(message, process=process_id)
    return run


def _counted(tx: Tx, project_ref: str) -> Project:
    project = tx.projects.count_run(project_ref)
    if project is None:
        raise unknown(project_ref)
    return project


def _name(tx: Tx, project: Project, asked: NewRun) -> str:
    if asked.name is None:
        number = project.run_count
        while tx.runs.name_taken(project.id, name := f"run-{number:03}"):
            number += 1
        return name
    if flaws := name_flaws(asked.name):
        message = "the run is not valid: " + "; ".join(f"{flaw.field} {flaw.message}" for flaw in flaws)
        raise Invalid(message, flaws)
    if tx.runs.name_taken(project.id, asked.name):
        message = f"project {project.name} already has a run named {asked.name}"
        raise Conflict(message, run=asked.name)
    return asked.name


def _process(run: Run, project: Project, argv: list[str]) -> Process:
    return Process(
        id=ProcessId(new_id("proc_")),
        owner_id=run.id,
        phase=Phase.waiting,
        argv=argv,
        executor=project.executor,
        resources=run.resources,
        priority=run.priority,
        created_at=run.created_at,
        updated_at=run.created_at,
    )


def _metrics(run: Run, words: Said) -> list[Metric]:
    return [
        Metric(run_id=run.id, name=name, step=each.step, epoch=each.epoch, value=_finite(value), at=words.seen_at)
        for each in words.measured
        for name, value in each.values.items()
    ]


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def _register(tx: Tx, run: Run, findings: list[Found], root: str) -> list[Artifact]:
    known = {(artifact.type, artifact.path): artifact for artifact in tx.artifacts.of(run.id)}
    kept = []
    for finding in findings:
        path = root if finding.path == "." else f"{root}/{finding.path}"
        artifact = _artifact(tx, run, finding, path, known.get((finding.type, path)))
        if artifact != known.get((finding.type, path)):
            tx.artifacts.put(artifact)
            tx.tell(run.id)
        kept.append(artifact)
    return kept


def _artifact(tx: Tx, run: Run, finding: Found, path: str, known: Artifact | None) -> Artifact:
    facts: dict[str, Any] = {name: getattr(finding, name) for name in ("size_bytes", "complete", "missing", "step")}
    if known is not None:
        same = all(getattr(known, name) == value for name, value in facts.items())
        return known if same else replace(known, **facts, updated_at=tx.now)
    prefix = "ckpt_" if finding.type is ArtifactType.checkpoint else "art_"
    return Artifact(
        id=ArtifactId(new_id(prefix)),
        run_id=run.id,
        project_id=run.project_id,
        name=finding.name,
        type=finding.type,
        path=path,
        created_at=tx.now,
        updated_at=tx.now,
        **facts,
    )
