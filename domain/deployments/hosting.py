"""What a host does for a deployment: take it, find it a port, see it begin, say how it is, end it or let it begin again."""

from collections.abc import Sequence
from datetime import timedelta

from msgspec.structs import replace

from domain.deployments.deployment import Deployment, DeploymentStatus
from domain.deployments.ending import judge
from domain.deployments.health import Beat, Change
from domain.deployments.steps import Tx, move, over, stop, tell
from domain.errors import Conflict, NotFound
from domain.ids import DeploymentId, ProcessId, RunId
from domain.processes import actions as processes
from domain.processes.actions import Speaker
from domain.processes.condition import PASSING, Condition, ConditionName
from domain.processes.end import End
from domain.processes.failure import Failure
from domain.processes.ports import Sight
from domain.processes.process import Phase, Process
from domain.runs.run import Metric
from domain.runs.said import Said

GOOD_WHILE = timedelta(minutes=10)
"""A server that answered for so long begins with the shortest backoff again."""
FIGURES_KEPT = timedelta(days=1)


def take(tx: Tx, process_id: ProcessId, speaker: Speaker) -> tuple[Deployment, Process]:
    """Let a host claim the start of the deployment it was given."""
    deployment = _owner(tx, process_id)
    process = processes.take(tx, process_id, speaker)
    if deployment.status is DeploymentStatus.queued:
        known = tx.hosts.get(speaker.name)
        numbers = [gpu.number for gpu in tx.gpus.held_by(process_id)]
        address = known[0].address if known else None
        deployment = move(tx, deployment, DeploymentStatus.starting, host=speaker.name, address=address, gpus=numbers)
    return deployment, process


def reserve(tx: Tx, process_id: ProcessId, speaker: Speaker, ports: Sequence[int], avoiding: set[int]) -> Deployment:
    """Give it a port of this host that no other living deployment has, and none of those to avoid; Conflict when none is left."""
    deployment = _owner(tx, process_id)
    processes.held(tx, process_id, speaker)
    if deployment.port is not None and deployment.port not in avoiding:
        return deployment
    taken = tx.deployments.ports_of(speaker.name) | avoiding
    free = next((port for port in ports if port not in taken), None)
    if free is None:
        message = f"host {speaker.name} has no port free from {ports[0]} to {ports[-1]}; widen TUNEYARD_DEPLOYMENT_PORTS"
        raise Conflict(message, host=speaker.name)
    deployment = replace(deployment, port=free, updated_at=tx.now)
    tx.deployments.save(deployment)
    return deployment


def commanded(tx: Tx, process_id: ProcessId, speaker: Speaker, command: str) -> Deployment:
    """Note what is about to run there, secrets masked."""
    deployment = _owner(tx, process_id)
    processes.held(tx, process_id, speaker)
    deployment = replace(deployment, command=command, updated_at=tx.now)
    tx.deployments.save(deployment)
    tx.tell(deployment.id)
    return deployment


def began(tx: Tx, process_id: ProcessId, speaker: Speaker, sight: Sight) -> Deployment:
    """Note that the command lives; whether it answers is another question."""
    deployment = _owner(tx, process_id)
    before = tx.processes.get(process_id)
    process = processes.seen_alive(tx, process_id, speaker, sight)
    if before is None or before.phase is not Phase.starting or process.phase is not Phase.alive:
        return deployment
    processes.note(tx, process, f"服务进程已启动 server started · host {speaker.name} · pid {sight.pid} · port {deployment.port}")
    deployment = replace(deployment, started_at=tx.now, updated_at=tx.now)
    tx.deployments.save(deployment)
    tx.tell(deployment.id)
    return deployment


def said(tx: Tx, process_id: ProcessId, speaker: Speaker, words: Said) -> Process:
    """Store what a server said, and the offset behind it, in one transaction."""
    deployment = _owner(tx, process_id)
    process = processes.held(tx, process_id, speaker)
    if (process.attempt, process.log_offset) != (words.attempt, words.first_byte):
        return process
    processes.store(tx, process, words.lines, seen_at=words.seen_at, end_byte=words.end_byte, report_end=words.report_end)
    tx.tell(deployment.id)
    return replace(process, log_offset=words.end_byte, report_offset=words.report_end)


def felt(tx: Tx, process_id: ProcessId, speaker: Speaker, beat: Beat, *, grace: timedelta) -> Deployment:
    """Note that a server answers now, or does not any more. The first answer of all lets it run, and stops what it replaces."""
    deployment = _owner(tx, process_id)
    process = processes.held(tx, process_id, speaker)
    if deployment.status not in (DeploymentStatus.starting, DeploymentStatus.running) or process.stop_asked_at is not None:
        return deployment
    changed = deployment.felt(Change(at=tx.now, ok=beat.ok, reason=beat.reason))
    if beat.ok and deployment.status is DeploymentStatus.starting:
        processes.note(tx, process, f"服务就绪 the server answers · {deployment.address}:{deployment.port}")
        changed = replace(changed, healthy_at=tx.now, answered_at=changed.answered_at or tx.now)
        return _switched(tx, move(tx, changed, DeploymentStatus.running), grace)
    if changed is deployment:
        return deployment
    tx.deployments.save(changed)
    words = "服务恢复 the server answers again" if beat.ok else f"服务不健康 the server is not healthy: {beat.reason}"
    processes.note(tx, process, words, level="INFO" if beat.ok else "WARNING")
    tell(tx, changed, "deployment.healthy" if beat.ok else "deployment.unhealthy", reason=beat.reason)
    return changed


def condemned(tx: Tx, process_id: ProcessId, speaker: Speaker, failure: Failure, *, grace: timedelta) -> Deployment:
    """Have a server ended that is wanted but does not answer; how it goes on is decided when it has ended."""
    deployment = _owner(tx, process_id)
    process = processes.held(tx, process_id, speaker)
    if deployment.over or deployment.status is DeploymentStatus.stopping or deployment.condemned:
        return deployment
    deployment = replace(deployment, condemned=failure, health_ok=False, updated_at=tx.now)
    tx.deployments.save(deployment)
    processes.note(tx, process, f"服务将被终止 the server is ended: {failure.reason}", level="ERROR")
    processes.stop(tx, process, grace=grace)
    tell(tx, deployment, "deployment.condemned", reason=failure.reason)
    return deployment


def measured(tx: Tx, process_id: ProcessId, speaker: Speaker, figures: dict[str, float | None]) -> None:
    """Keep what its own metrics say, for a day."""
    deployment = _owner(tx, process_id)
    processes.held(tx, process_id, speaker)
    if deployment.over:
        return
    tx.deployments.save(replace(deployment, figures=figures))
    tx.metrics.add(Metric(run_id=RunId(deployment.id), name=name, value=value, at=tx.now) for name, value in figures.items())
    tx.deployments.forget_figures(deployment.id, tx.now - FIGURES_KEPT)


def noted(tx: Tx, process_id: ProcessId, speaker: Speaker, name: ConditionName, reason: str | None) -> Deployment:
    """Note what is the matter with a deployment, or (no reason) that it has passed."""
    deployment = _owner(tx, process_id)
    process = processes.held(tx, process_id, speaker)
    if deployment.over or deployment.has(name) is (reason is not None):
        return deployment
    condition = None if reason is None else Condition(name=name, reason=reason, since=tx.now)
    deployment = deployment.without(name) if condition is None else deployment.with_condition(condition)
    tx.deployments.save(deployment)
    if reason is not None:
        processes.note(tx, process, reason, level="WARNING")
    tell(tx, deployment, f"deployment.{name}", reason=reason)
    return deployment


def freed(tx: Tx, process_id: ProcessId, speaker: Speaker, left: list[int], stuck: str | None) -> Deployment:
    """Free what it held once all of it is verified dead and the GPUs' memory is back; else (`left`, `stuck`) they are set aside."""
    deployment = _owner(tx, process_id)
    if stuck and not left:
        processes.held(tx, process_id, speaker)
        tx.gpus.set_aside(process_id, stuck)
    else:
        processes.freed(tx, process_id, speaker, left)
    reason = stuck
    if left:
        pids = ", ".join(map(str, left))
        reason = f"pids {pids} cannot be killed; the GPUs they may hold are set aside until they are returned, or the host restarts"
    return noted(tx, process_id, speaker, ConditionName.unkillable, reason) if reason else deployment


def ended(tx: Tx, process_id: ProcessId, speaker: Speaker, end: End, *, backoff: timedelta) -> Deployment:
    """Settle an attempt: stopped when that was asked for, else begun anew, or failed for good. Repeating it changes nothing."""
    deployment = _owner(tx, process_id)
    process = processes.held(tx, process_id, speaker)
    if process.phase is Phase.over or process.attempt != end.attempt:
        return deployment
    if deployment.status is DeploymentStatus.stopping:
        processes.note(tx, process, "服务已停止 the server has stopped")
        processes.end(tx, process)
        attempts = deployment.ended(end.record(deployment.host, tx.now, None))
        return over(tx, deployment, DeploymentStatus.stopped, exit_code=end.code, attempts=attempts)
    verdict = judge(deployment, end, tx.logs.last(deployment.id))
    attempts = deployment.ended(end.record(deployment.host, tx.now, verdict.failure))
    if verdict.again:
        return _again(tx, replace(deployment, attempts=attempts, exit_code=end.code, failure=verdict.failure), process, backoff)
    processes.note(tx, process, f"部署失败 the deployment failed · {verdict.failure.reason}", level="ERROR")
    processes.end(tx, process)
    failed = over(tx, deployment, DeploymentStatus.failed, exit_code=end.code, attempts=attempts, failure=verdict.failure)
    if failed.replaces:
        tell(tx, failed, "deployment.rollover_failed", kept=failed.replaces, reason=verdict.failure.reason)
    return failed


def _again(tx: Tx, deployment: Deployment, process: Process, first: timedelta) -> Deployment:
    good = deployment.healthy_at is not None and tx.now - deployment.healthy_at > GOOD_WHILE
    misfortunes = 0 if good else deployment.misfortunes
    after = replace(deployment, misfortunes=misfortunes).backoff(first)
    reason = deployment.failure.reason if deployment.failure else ""
    processes.note(tx, process, f"稍后重启 restarted in {after.total_seconds():g} s · {reason}", level="WARNING")
    processes.again(tx, process, after=after, folder=process.folder)
    again = deployment.without(*PASSING).again(tx.now, misfortunes=misfortunes + 1, restarts=deployment.restarts + 1)
    tx.deployments.save_again(again)
    tell(tx, again, "deployment.restarted", attempt=again.attempt, reason=reason, after_seconds=after.total_seconds())
    return again


def _switched(tx: Tx, deployment: Deployment, grace: timedelta) -> Deployment:
    """Stop what the deployment replaces, now that it answers."""
    old = tx.deployments.lock(deployment.replaces) if deployment.replaces else None
    if old is None or old.over:
        return deployment
    old = replace(old, replaced_by=deployment.id, removed_at=old.removed_at or tx.now, updated_at=tx.now)
    tx.deployments.save(old)
    tell(tx, old, "deployment.replaced", by=deployment.id)
    stop(tx, old, grace=grace, kill=True)
    return deployment


def _owner(tx: Tx, process_id: ProcessId) -> Deployment:
    process = tx.processes.get(process_id)
    deployment = tx.deployments.lock(DeploymentId(process.owner_id)) if process else None
    if deployment is None:
        message = f"there is no deployment with a process {process_id}"
        raise NotFound(message, process=process_id)
    return deployment
