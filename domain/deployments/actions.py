"""What people may do to a deployment: make it, remove it, say that it is dead; and what follows from a new tag."""

import re
from datetime import timedelta

from domain.deployments import queries
from domain.deployments.deployment import CreateDeploymentRequest, Deployment, DeploymentStatus
from domain.deployments.source import Source, find, newest, tagged
from domain.deployments.steps import Tx, over, stop, tell
from domain.errors import Conflict, Flaw, Invalid
from domain.hosts.host import Host
from domain.ids import DeploymentId, ProcessId, new_id, new_uuid
from domain.processes import actions as processes
from domain.processes.failure import Failure, FailureClass
from domain.processes.process import OwnerKind, Phase, Process, Resources
from domain.runs.artifact import Artifact

LOCAL = "local"
"""Servers run as plain processes of their host, whatever trainings run in."""
_PLAIN_PATH = re.compile(r"/(?!/)[\w.~/-]*")
_LONGEST = 1000


def deploy(tx: Tx, asked: CreateDeploymentRequest, extra_args: list[str], *, replaces: Deployment | None = None) -> Deployment:
    """Queue a deployment with its process: the two rows are the order to start it. `extra_args` are those asked for, split and allowed."""
    _require_valid(asked)
    source = find(tx, asked.model_path)
    deployment = _made(tx, asked, extra_args, source, replaces)
    tx.deployments.add(deployment)
    tx.processes.add(_process(deployment, source.folder))
    told = {"model": deployment.name, "path": deployment.model, "artifact": source.release.artifact_id if source.release else None}
    tell(tx, deployment, "deployment.created", **told, replaces=deployment.replaces)
    tx.place_later()
    return deployment


def remove(tx: Tx, deployment_id: str, *, grace: timedelta, force: bool) -> Deployment:
    """Stop a deployment and take it from the list; without `force` nothing is ever killed. Repeating it is a no-op.

    One that was never taken is stopped at once, a living one when its process has truly ended.
    """
    deployment = locked(tx, deployment_id)
    deployment = _removed(tx, deployment)
    if deployment.over:
        return deployment
    successor = tx.deployments.successor_of(deployment.id)
    if successor and not successor.over and successor.status is not DeploymentStatus.stopping:
        stop(tx, _removed(tx, locked(tx, successor.id)), grace=timedelta(0), kill=True, drain=timedelta(0))
    no_time = timedelta(0)
    return stop(tx, deployment, grace=no_time if force else grace, kill=force, **({"drain": no_time} if force else {}))


def declare_dead(tx: Tx, deployment_id: str) -> Deployment:
    """Take an operator's word that a deployment on a lost host will not come back; Conflict while its host is alive.

    What may still live there is killed by the host's next worker before anything new is placed there.
    """
    deployment = locked(tx, deployment_id)
    if deployment.over or deployment.host is None:
        message = "only a deployment that has a host and has not ended can be declared dead"
        raise Conflict(message, deployment=deployment.id)
    process = processes.locked_of(tx, deployment.id)
    known = tx.hosts.lock(deployment.host)
    if known and known[1]:
        message = f"host {deployment.host} is alive: its worker knows better whether the deployment lives; remove it instead"
        raise Conflict(message, deployment=deployment.id)
    tx.hosts.fence(deployment.host)
    processes.end(tx, process)
    if deployment.status is DeploymentStatus.stopping:
        return over(tx, deployment, DeploymentStatus.stopped)
    failure = Failure(failure_class=FailureClass.infrastructure, reason=_silence(tx, known[0] if known else None))
    return over(tx, deployment, DeploymentStatus.failed, failure=failure)


def roll_over(tx: Tx, deployment_id: DeploymentId, *, grace: timedelta) -> Deployment | None:
    """Let a deployment that follows a tag be replaced by what is tagged so now; None when there is nothing newer to try.

    The new one is started beside the old, which is stopped once the new one answers, and stays if that never happens.
    """
    old = tx.deployments.lock(deployment_id)
    found = _newer(tx, old) if old else None
    if old is None or found is None:
        return None
    latest = tx.deployments.successor_of(old.id)
    if latest and not latest.over:
        stop(tx, _removed(tx, locked(tx, latest.id)), grace=grace, kill=True)
    asked = CreateDeploymentRequest(
        model_path=old.model_path,
        model_version=old.model_version,
        tags=old.tags,
        health_path=old.health_path,
        served_name=old.served_names[0],
        gpu_count=old.resources.gpu_count,
        gpu_type=old.resources.gpu_type,
        restart=old.restart,
    )
    new = deploy(tx, asked, old.extra_args, replaces=old)
    tell(tx, old, "deployment.rolls_over", to=new.id, artifact=found.id)
    return new


def locked(tx: Tx, deployment_id: str) -> Deployment:
    """Lock a deployment; NotFound."""
    deployment = tx.deployments.lock(DeploymentId(deployment_id))
    if deployment is None:
        raise queries.unknown(deployment_id)
    return deployment


def _newer(tx: Tx, old: Deployment) -> Artifact | None:
    """Return what is tagged so by now and neither served nor tried in vain since it was tagged."""
    _, tag = tagged(old.model_path)
    if old.over or not old.follow or old.replaced_by or old.release is None or tag is None:
        return None
    artifact = newest(tx, old.release.project_id, tag)
    if artifact is None or artifact.id == old.release.artifact_id:
        return None
    latest = tx.deployments.successor_of(old.id)
    if latest and latest.release and latest.release.artifact_id == artifact.id and artifact.tagged_at(tag) < latest.created_at:
        return None
    return artifact


def _removed(tx: Tx, deployment: Deployment) -> Deployment:
    if deployment.removed_at is not None:
        return deployment
    deployment = deployment.removed(tx.now)
    tx.deployments.save(deployment)
    tell(tx, deployment, "deployment.removed", model=deployment.name, status=deployment.status)
    return deployment


def _made(tx: Tx, asked: CreateDeploymentRequest, extra_args: list[str], source: Source, replaces: Deployment | None) -> Deployment:
    names = replaces.served_names if replaces else [asked.served_name] if asked.served_name else source.names
    return Deployment(
        id=DeploymentId(new_uuid()),
        status=DeploymentStatus.queued,
        model_path=asked.model_path,
        model_version=asked.model_version,
        tags=asked.tags,
        extra_args=extra_args,
        health_path=asked.health_path,
        served_names=names,
        model=source.model,
        release=source.release,
        resources=Resources(gpu_type=asked.gpu_type, gpu_count=asked.gpu_count),
        preferred_gpu=asked.preferred_gpu,
        restart=asked.restart,
        follow=asked.follow and bool(source.release and source.release.tag),
        replaces=replaces.id if replaces else None,
        created_at=tx.now,
        updated_at=tx.now,
    )


def _process(deployment: Deployment, folder: str | None) -> Process:
    return Process(
        id=ProcessId(new_id("proc_")),
        owner_id=deployment.id,
        owner_kind=OwnerKind.deployment,
        phase=Phase.waiting,
        argv=[],
        executor=LOCAL,
        resources=deployment.resources,
        preferred_gpu=deployment.preferred_gpu,
        folder=folder,
        created_at=deployment.created_at,
        updated_at=deployment.created_at,
    )


def _require_valid(asked: CreateDeploymentRequest) -> None:
    flaws = []
    if not _PLAIN_PATH.fullmatch(asked.health_path) or ".." in asked.health_path or len(asked.health_path) > _LONGEST:
        flaws.append(Flaw("health_path", "must be a plain path on the server itself, such as /health"))
    name = asked.served_name
    if name is not None and (not name or name != name.strip() or not name.isprintable() or name.startswith("-") or len(name) > _LONGEST):
        flaws.append(Flaw("served_name", "must be a name without control characters that does not begin with a dash"))
    if flaws:
        message = "the deployment is not valid: " + "; ".join(f"{flaw.field} {flaw.message}" for flaw in flaws)
        raise Invalid(message, flaws)


def _silence(tx: Tx, host: Host | None) -> str:
    if host is None:
        return f"declared dead by {tx.actor}"
    return f"declared dead by {tx.actor}: host {host.id} has not been heard of since {host.lease_until:%Y-%m-%d %H:%M:%S} UTC"
