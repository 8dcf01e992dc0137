"""What a host does for a run: take it, see it begin, store what it says, note what is the matter, end it or let it begin again."""

from datetime import timedelta
from math import isfinite
from typing import Any
from urllib.parse import quote

from msgspec.structs import replace

from domain.errors import NotFound
from domain.events.actions import record
from domain.ids import ArtifactId, HostName, ProcessId, RunId, new_id
from domain.processes import actions as processes
from domain.processes.actions import Speaker
from domain.processes.attempt import Attempt
from domain.processes.condition import PASSING, Condition, ConditionName
from domain.processes.ports import Sight
from domain.processes.process import Phase, Process
from domain.runs.artifact import DELETED, Artifact, ArtifactType, Found, Look, Summed, newest_checkpoint
from domain.runs.ending import Ending, last_words
from domain.runs.run import Metric, Run, RunStatus
from domain.runs.said import Said
from domain.runs.steps import Tx, move, over, stop
from domain.runs.telemetry import STARTED, progress


def take(tx: Tx, process_id: ProcessId, speaker: Speaker) -> tuple[Run, Process]:
    """Let a host claim the start of the run it was given."""
    run = _owner(tx, process_id)
    process = processes.take(tx, process_id, speaker)
    if run.status is RunStatus.queued:
        run = move(tx, run, RunStatus.starting, host=speaker.name, gpus=process.gpus)
    return run, process


def began(tx: Tx, process_id: ProcessId, speaker: Speaker, sight: Sight) -> Run:
    """Note that the command lives: the run is running, at 5 %, and its log says so."""
    run = _owner(tx, process_id)
    process = processes.seen_alive(tx, process_id, speaker, sight)
    if run.status is not RunStatus.starting or process.phase is not Phase.alive:
        return run
    processes.note(tx, process, f"训练进程已启动 training started · host {speaker.name} · pid {sight.pid}")
    return move(tx, run, RunStatus.running, started_at=run.started_at or tx.now, progress=max(run.progress, STARTED))


def said(tx: Tx, process_id: ProcessId, speaker: Speaker, words: Said) -> Process:
    """Store what a run's trainer said: lines, metrics, progress, and the offset behind them, all in one transaction."""
    run = _owner(tx, process_id)
    process = processes.held(tx, process_id, speaker)
    if (process.attempt, process.log_offset, process.report_offset) != (words.attempt, words.first_byte, words.report_begin):
        return process
    processes.store(tx, process, words.lines, seen_at=words.seen_at, end_byte=words.end_byte, report_end=words.report_end)
    tx.metrics.add(_metrics(run, words))
    if not run.over:
        latest = run.metrics | {name: _finite(value) for each in words.measured for name, value in each.values.items()}
        fraction = run.progress if words.progress is None else max(run.progress, progress(words.progress))
        tx.runs.save(replace(run, metrics=latest, progress=fraction, updated_at=tx.now))
    tx.tell(run.id)
    return replace(process, log_offset=words.end_byte, report_offset=words.report_end)


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
    return run if stop_after is None or run.status is RunStatus.cancelling else stop(tx, run, process, stop_after)


def found(tx: Tx, process_id: ProcessId, speaker: Speaker, look: Look) -> list[Artifact]:
    """Register what lies in a run's output folder: what is known keeps its id, what is gone is no more complete."""
    run = _owner(tx, process_id)
    processes.held(tx, process_id, speaker)
    return _register(tx, run, look)


def freed(tx: Tx, process_id: ProcessId, speaker: Speaker, left: list[int]) -> Run:
    """Free what a run held once all of it is verified dead; pids that would not die (`left`) stay in sight as a condition."""
    run = _owner(tx, process_id)
    processes.freed(tx, process_id, speaker, left)
    if not left or run.has(ConditionName.unkillable):
        return run
    pids = ", ".join(map(str, left))
    reason = f"pids {pids} cannot be killed; the GPUs they may hold are set aside until they are returned, or the host restarts"
    return noted(tx, process_id, speaker, ConditionName.unkillable, reason)


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
        run = move(tx, run, RunStatus.running, started_at=run.started_at or tx.now)
    status, failure = ending.verdict(run, tx.logs.last(run.id))
    if failure is not None and ending.deserves_another(failure):
        return _again(tx, run, process, ending.record(run.host, tx.now, failure), backoff * 4 ** (process.attempt - 1))
    processes.note(tx, process, last_words(status, failure), level="INFO" if status is RunStatus.succeeded else "ERROR")
    processes.end(tx, process)
    return over(tx, run, status, ending.record(run.host, tx.now, failure), failure)


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


def _folder_of(tx: Tx, process: Process) -> str | None:
    known = tx.hosts.get(process.host) if process.host else None
    return known[0].folder if known else process.folder


def _owner(tx: Tx, process_id: ProcessId) -> Run:
    process = tx.processes.get(process_id)
    run = tx.runs.lock(RunId(process.owner_id)) if process else None
    if run is None:
        message = f"there is no run with a process {process_id}"
        raise NotFound(message, process=process_id)
    return run


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
