"""How a deployment is shown: the documented `DeploymentInfo`, and beside it what an operator wants to know."""

from datetime import datetime

from msgspec import Struct

from api.process_detail import (
    AttemptDetail,
    ConditionDetail,
    FailureDetail,
    WaitingDetail,
    attempt_detail,
    condition_detail,
    failure_detail,
    waiting_detail,
)
from domain.deployments.deployment import DeploymentStatus, Restart
from domain.deployments.health import Change
from domain.deployments.queries import Detail


class DeploymentInfo(Struct, frozen=True, kw_only=True):
    """A deployment; `started_at` and `stopped_at` are epoch seconds, as documented, all other times RFC 3339."""

    deployment_id: str
    model_path: str
    model_version: str | None
    tags: list[str]
    gpu_id: int | None
    """The first of its GPUs, by its number on the host."""
    port: int | None
    pid: int | None
    status: DeploymentStatus
    status_label: str
    started_at: float | None
    stopped_at: float | None
    health_ok: bool
    """Whether it answers, and answered the last probe."""
    vllm_cmd: str | None
    """What runs, secrets masked."""
    log_file: str
    """On its host; `…/logs` has all of it."""
    health_path: str
    served_names: list[str]
    """What callers may name it by."""
    model: str
    """What is served: where an artifact lies, below the training directory."""
    artifact_id: str | None
    follow: bool
    """Whether it rolls over to what is tagged so later."""
    restart: Restart
    host: str | None
    gpus: list[int]
    attempt: int
    restarts: int
    """How often it was begun anew."""
    waiting: WaitingDetail | None
    conditions: list[ConditionDetail]
    health: list[Change]
    """The last changes of its health, oldest first."""
    metrics: dict[str, float | None]
    attempts: list[AttemptDetail]
    """The last of those that have ended, oldest first."""
    exit_code: int | None
    failure: FailureDetail | None
    """Why its last attempt ended."""
    replaces: str | None
    replaced_by: str | None
    created_at: datetime
    updated_at: datetime
    removed_at: datetime | None


def deployment_info(detail: Detail, language: str, root: str, *, well: bool | None = None) -> DeploymentInfo:
    """Return a deployment as it is shown; `well` is what it has just answered, and goes before the row."""
    deployment, process = detail.deployment, detail.process
    return DeploymentInfo(
        deployment_id=deployment.id,
        model_path=deployment.model_path,
        model_version=deployment.model_version,
        tags=deployment.tags,
        gpu_id=deployment.gpus[0] if deployment.gpus else None,
        port=deployment.port,
        pid=process.pid if process and not deployment.over else None,
        status=deployment.status,
        status_label=deployment.status.label(language),
        started_at=deployment.started_at.timestamp() if deployment.started_at else None,
        stopped_at=deployment.stopped_at.timestamp() if deployment.stopped_at else None,
        health_ok=bool(deployment.health_ok) if well is None else well,
        vllm_cmd=deployment.command,
        log_file=f"{root}/deployments/{deployment.id}/attempt-{deployment.attempt}/out.log",
        health_path=deployment.health_path,
        served_names=deployment.served_names,
        model=deployment.model,
        artifact_id=deployment.release.artifact_id if deployment.release else None,
        follow=deployment.follow,
        restart=deployment.restart,
        host=deployment.host,
        gpus=deployment.gpus,
        attempt=deployment.attempt,
        restarts=deployment.restarts,
        waiting=waiting_detail(detail.waiting, language) if detail.waiting else None,
        conditions=[condition_detail(each, language) for each in deployment.conditions],
        health=deployment.health,
        metrics=deployment.figures,
        attempts=[attempt_detail(each, language) for each in deployment.attempts],
        exit_code=deployment.exit_code,
        failure=failure_detail(deployment.failure, language) if deployment.failure else None,
        replaces=deployment.replaces,
        replaced_by=deployment.replaced_by,
        created_at=deployment.created_at,
        updated_at=deployment.updated_at,
        removed_at=deployment.removed_at,
    )
