"""What people and hosts may do to a run: launch, cancel and tag it; take it, follow it, note what is the matter, end it or try again."""

import shlex
from datetime import timedelta
from math import isfinite
from typing import Any, Protocol
from urllib.parse import quote

from msgspec.structs import replace

from domain.database import Transaction
from domain.datasets.ports import HasDatasets
from domain.errors import Conflict, Invalid, NotFound
from domain.events.actions import record
from domain.events.ports import HasEvents
from domain.hosts.ports import HasHosts
from domain.ids import ArtifactId, HostName, ProcessId, RunId, new_id
from domain.processes import actions as processes
from domain.processes.actions import Speaker
from domain.processes.condition import PASSING, Condition, ConditionName
from domain.processes.ports import HasProcesses, Sight
from domain.processes.process import Phase, Process
from domain.projects.actions import unknown
from domain.projects.ports import HasProjects
from domain.projects.project import Project, name_flaws
from domain.runs import queries
from domain.runs.artifact import DELETED, Artifact, ArtifactType, Found, Look, NewTag, Summed, newest_checkpoint
from domain.runs.attempt import Attempt
from domain.runs.command import start_argv
from domain.runs.ending import Ending, last_words
from domain.runs.failure import Failure, FailureClass
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
        watch=project.watch,
        resumed_from=resumed_from,
        created_at=tx.now,
        updated_at=tx.now,
    )
    tx.runs.add(run)
    tx.processes.add(_process(run, project, argv, recipe.folder))
    told = {"name": run.name, "dataset": run.dataset, "model": run.model}
    record(tx, "run.launched", run.id, project=project.id, **told, **({"resumed_from": resumed_from} if resumed_from else {}))
    tx.place_later()
    return run


def take(tx: Tx, process_id: ProcessId, speaker: Speaker) -> tuple[Run, Process]:
    """Let a host claim the start of the run it was given."""
    run = _owner(tx, process_id)
    process = processes.take(tx, process_id, speaker)
    if run.status is RunStatus.queued:
        run = _move(tx, run, RunStatus.starting, host=speaker.name, gpus=process.gpus)
    return run, process


def began(tx: Tx, process_id: ProcessId, speaker: Speaker, sight: Sight) -> Run:
    """Note that the command lives: the run is running, at 5 %, and its log says so."""
    run = _owner(tx, process_id)
    process = processes.seen_alive(tx, process_id, speaker, sight)
    if run.status is not RunStatus.starting:
        return run
    processes.note(tx, process, f"训练进程已启动 training started · host {speaker.name} · pid {sight.pid}")
    return _move(tx, run, RunStatus.running, started_at=run.started_at or tx.now, progress=max(run.progress, STARTED))


def cancel(tx: Tx, project_ref: str, ref: str, *, grace: timedelta) -> Run:
    """Ask a run to stop: a queued one is cancelled at once, a live one when its process has truly ended. Repeating it is a no-op."""
    run = tx.runs.lock(queries.get(tx, project_ref, ref).id)
    if run is None or run.status is RunStatus.cancelled:
        return queries.get(tx, project_ref, ref)
    if run.over:
        message = f"run {run.name} has {run.status} already; there is nothing to cancel"
        raise Conflict(message, run=run.id)
    return _cancel(tx, run, _process_of(tx, run), grace)


def noted(
    tx: Tx, process_id: ProcessId, speaker: Speaker, name: ConditionName, reason: str | None, *, stop_after: timedelta | None = None
) -> Run:
    """Note what is the matter with a run, or (no reason) that it has passed; with `stop_after` it is let save and stopped, too."""
    run = _owner(tx, process_id)
    process = processes.held(tx, process_id, speaker)
    if run.over or run.has(name) is (reason is not None):
        return run
    run = run.without(name) if reason is None else run.with_condition(Condition(name=name, reason=reason, since=tx.now))
    tx.runs.save(run)
    if reason is not None:
        processes.note(tx, process, reason, level="WARNING")
    record(tx, f"run.{name}", run.id, project=run.project_id, reason=reason)
    tx.tell(run.id)
    return run if stop_after is None or run.status is RunStatus.cancelling else _cancel(tx, run, process, stop_after)


def freed(tx: Tx, process_id: ProcessId, speaker: Speaker, left: list[int]) -> Run:
    """Free what a run held once all of it is verified dead; pids that would not die (`left`) stay in sight as a condition."""
    run = _owner(tx, process_id)
    processes.freed(tx, process_id, speaker, left)
    if not left or run.has(ConditionName.unkillable):
        return run
    pids = ", ".join(map(str, left))
    reason = f"pids {pids} cannot be killed; the GPUs they may hold are set aside until they are returned, or the host restarts"
    return noted(tx, process_id, speaker, ConditionName.unkillable, reason)


def declare_dead(tx: Tx, project_ref: str, ref: str) -> Run:
    """Take an operator's word that a run on a lost host will not come back; Conflict while its host is alive.

    What may still live there is killed by the host's next worker before anything new is placed there.
    """
    run = tx.runs.lock(queries.get(tx, project_ref, ref).id)
    if run is None or run.over or run.host is None:
        message = "only a run that has a host and has not ended can be declared dead"
        raise Conflict(message, run=ref)
    known = tx.hosts.get(run.host)
    if known and known[1]:
        message = f"host {run.host} is alive: its worker knows better whether the run lives; cancel the run instead"
        raise Conflict(message, run=run.id)
    processes.end(tx, _process_of(tx, run))
    reason = (
        f"declared dead by {tx.actor}: host {run.host} has not been heard of since {known[0].lease_until:%Y-%m-%d %H:%M:%S} UTC"
        if known
        else ""
    )
    failure = Failure(failure_class=FailureClass.infrastructure, reason=reason)
    last = Attempt(number=run.attempt, host=run.host, started_at=None, ended_at=tx.now, failure=failure)
    if run.status is RunStatus.cancelling:
        return _over(tx, run, RunStatus.cancelled, last, None)
    return _over(tx, run, RunStatus.failed, last, failure)


def said(tx: Tx, process_id: ProcessId, speaker: Speaker, words: Said) -> Process:
    """Store what a run's trainer said: lines, metrics, progress, and the offset behind them, all in one transaction."""
    run = _owner(tx, process_id)
    process = processes.held(tx, process_id, speaker)
    if (process.attempt, process.log_offset) != (words.attempt, words.first_byte):
        return process
    processes.store(tx, process, words.lines, seen_at=words.seen_at, end_byte=words.end_byte, report_end=words.report_end)
    tx.metrics.add(_metrics(run, words))
    if not run.over:
        latest = run.metrics | {name: _finite(value) for each in words.measured for name, value in each.values.items()}
        fraction = run.progress if words.progress is None else max(run.progress, progress(words.progress))
        tx.runs.save(replace(run, metrics=latest, progress=fraction, updated_at=tx.now))
    tx.tell(run.id)
    return replace(process, log_offset=words.end_byte, report_offset=words.report_end)


def found(tx: Tx, process_id: ProcessId, speaker: Speaker, look: Look) -> list[Artifact]:
    """Register what lies in a run's output folder: what is known keeps its id, what is gone is no more complete."""
    run = _owner(tx, process_id)
    processes.held(tx, process_id, speaker)
    return _register(tx, run, look)


def ended(tx: Tx, process_id: ProcessId, speaker: Speaker, ending: Ending, *, backoff: timedelta) -> Run:
    """Settle an attempt: artifacts registered and the status terminal, or the next attempt queued, in one transaction.

    Repeating it changes nothing. `backoff` is the pause before the second attempt; before the third it is four times as long.
    """
    run = _owner(tx, process_id)
    process = processes.held(tx, process_id, speaker)
    if process.phase is Phase.over or process.attempt != ending.attempt:
        return run
    _register(tx, run, ending.look)
    if run.status is RunStatus.starting and ending.began:
        run = _move(tx, run, RunStatus.running, started_at=run.started_at or tx.now)
    status, failure = ending.verdict(run, tx.logs.last(run.id))
    if failure is not None and ending.deserves_another(failure):
        return _again(tx, run, process, ending.record(run, tx.now, failure), backoff * 4 ** (process.attempt - 1))
    processes.note(tx, process, last_words(status, failure), level="INFO" if status is RunStatus.succeeded else "ERROR")
    processes.end(tx, process)
    return _over(tx, run, status, ending.record(run, tx.now, failure), failure)


def tag(tx: Tx, project_ref: str, ref: str, artifact_id: str, asked: NewTag) -> Artifact:
    """Tag an artifact; the same tag again replaces its notes, and the record keeps every time it was applied."""
    tx.runs.lock(queries.get(tx, project_ref, ref).id)
    artifact = queries.artifact(tx, project_ref, ref, artifact_id).tagged(asked, tx.now)
    tx.artifacts.put(artifact)
    record(tx, "artifact.tagged", artifact.id, project=artifact.project_id, tag=asked.tag, notes=asked.notes)
    tx.tell(artifact.run_id)
    return artifact


def unsummed(tx: Tx, host: HostName, limit: int) -> list[Artifact]:
    """What ended runs left on this host and nobody has summed yet, newest first."""
    return tx.artifacts.unsummed(host, limit)


def summed(tx: Tx, artifact: Artifact, speaker: Speaker, read: Summed) -> None:
    """Keep the sums of what an ended run left on this host's disk, or why it is not complete after all. Repeating it changes nothing."""
    tx.runs.lock(artifact.run_id)
    tx.hosts.hold(speaker.name, speaker.lease)
    now = tx.artifacts.get(artifact.run_id, artifact.id)
    if now is None or now.sha256 is not None or not now.complete:
        return
    now = now.summed(read, tx.now)
    tx.artifacts.put(now)
    if not now.complete:
        record(tx, "artifact.incomplete", now.id, project=now.project_id, missing=now.missing)
    tx.tell(now.run_id)


def _cancel(tx: Tx, run: Run, process: Process, grace: timedelta) -> Run:
    processes.stop(tx, process, grace=grace)
    if run.status is RunStatus.queued:
        return _move(tx, run, RunStatus.cancelled, finished_at=tx.now)
    return run if run.status is RunStatus.cancelling else _move(tx, run, RunStatus.cancelling)


def _again(tx: Tx, run: Run, process: Process, last: Attempt, after: timedelta) -> Run:
    """Queue the next attempt, from the newest complete checkpoint if there is one."""
    checkpoint = newest_checkpoint(tx.artifacts.of(run.id))
    origin = f"from {checkpoint.name}" if checkpoint else "from the beginning"
    reason = last.failure.reason if last.failure else ""
    words = f"基础设施故障，稍后重试 {reason} · attempt {process.attempt + 1} in {after.total_seconds():g} s, {origin}"
    processes.note(tx, process, words, level="WARNING")
    processes.again(tx, process, after=after, folder=_folder_of(tx, process) if checkpoint else process.folder)
    config = run.config | ({"resume_from_checkpoint": checkpoint.relative_path} if checkpoint else {})
    again = run.without(*PASSING).again(tx.now, config=config, attempts=[*run.attempts, last])
    tx.runs.save_again(again)
    told = {"attempt": again.attempt, "reason": reason, "checkpoint": checkpoint.id if checkpoint else None}
    record(tx, "run.retried", run.id, project=run.project_id, **told)
    tx.tell(run.id)
    return again


def _over(tx: Tx, run: Run, status: RunStatus, last: Attempt, failure: Failure | None) -> Run:
    return _move(
        tx,
        run.without(*PASSING),
        status,
        finished_at=tx.now,
        exit_code=last.exit_code,
        failure=failure,
        progress=1.0 if status is RunStatus.succeeded else run.progress,
        attempts=[*run.attempts, last],
    )


def _folder_of(tx: Tx, process: Process) -> str | None:
    known = tx.hosts.get(process.host) if process.host else None
    return known[0].folder if known else process.folder


def _process_of(tx: Tx, run: Run) -> Process:
    process = tx.processes.lock(tx.processes.of(run.id).id)
    if process is None:
        message = f"run {run.name} has no process"
        raise NotFound(message, run=run.id)
    return process


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


def _process(run: Run, project: Project, argv: list[str], folder: str | None) -> Process:
    return Process(
        id=ProcessId(new_id("proc_")),
        owner_id=run.id,
        phase=Phase.waiting,
        argv=argv,
        executor=project.executor,
        resources=run.resources,
        priority=run.priority,
        folder=folder,
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


def _register(tx: Tx, run: Run, look: Look) -> list[Artifact]:
    known = {(artifact.type, artifact.path): artifact for artifact in tx.artifacts.of(run.id)}
    kept = []
    for finding in look.findings:
        path = look.root if finding.path == "." else f"{look.root}/{quote(finding.path)}"
        before = known.pop((finding.type, path), None)
        artifact = _artifact(tx, run, finding, path, before)
        if artifact != before:
            tx.artifacts.put(artifact)
            tx.tell(run.id)
        kept.append(artifact)
    for artifact in known.values():
        if look.whole and artifact.path.startswith(look.root) and artifact.missing != DELETED:
            tx.artifacts.put(artifact.deleted(tx.now))
            tx.tell(run.id)
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
