"""Every table, in the order of the house; each is a struct of the domain."""

from sqlalchemy import Index, text

from domain.access.answer import Answer
from domain.datasets.dataset import Dataset, DatasetVersion, Upload
from domain.deployments.deployment import Deployment
from domain.deployments.usage import Usage
from domain.events.event import Event
from domain.files import Pin
from domain.hosts.gpu import Gpu
from domain.hosts.host import Host
from domain.jobs.job import Job
from domain.processes.log import LogChunk
from domain.processes.process import Process
from domain.projects.project import Project, ProjectSummary, ProjectVersion
from domain.runs.artifact import Artifact
from domain.runs.run import Metric, Run, RunSummary
from domain.train_configs.train_config import TrainConfig
from domain.training.report import Inspected
from domain.transfers.transfer import Transfer
from infra.db.structs import stored

_USABLE = text("removed_in IS NULL")
_CURRENT = text("current")
_LIVING = text("phase <> 'over'")
RESUMED = text("resumed_from IS NOT NULL")
_HOLDS_PORT = text("port IS NOT NULL AND status IN ('starting', 'running', 'stopping')")
UNSUMMED = text("complete AND sha256 IS NULL")
"""As text: SQLite takes a partial index only for a query that has its very words."""

EVENTS = stored(
    "events", Event, ("id",), Index("ix_events_place", "xid", "id"), Index("ix_events_project", "project_id", "xid", "id"), numbered=True
)
PROJECTS = stored(
    "projects", Project, ("id",), Index("uq_projects_name", "name", unique=True), Index("ix_projects_created_at", "created_at", "id")
)
PROJECT_SUMMARIES = PROJECTS.part(ProjectSummary)
VERSIONS = stored("project_versions", ProjectVersion, ("project_id", "number"))
DATASETS = stored("datasets", Dataset, ("id",), Index("uq_datasets_name", "name", unique=True))
UPLOADS = stored(
    "uploads",
    Upload,
    ("id",),
    Index("uq_uploads_name", "dataset_id", "name", unique=True, sqlite_where=_USABLE, postgresql_where=_USABLE),
    Index("ix_uploads_name", "name"),
    Index("ix_uploads_stored_name", "stored_name"),
)
DATASET_VERSIONS = stored("dataset_versions", DatasetVersion, ("dataset_id", "number"))
PINS = stored("pins", Pin, ("stored_name",))
TRANSFERS = stored(
    "transfers", Transfer, ("id",), Index("ix_transfers_dataset", "dataset_id"), Index("ix_transfers_touched_at", "touched_at")
)
TRAIN_CONFIGS = stored(
    "train_configs",
    TrainConfig,
    ("id",),
    Index("uq_train_configs_version", "filename", "version", unique=True),
    Index("uq_train_configs_current", "current", unique=True, sqlite_where=_CURRENT, postgresql_where=_CURRENT),
)
REPORTS = stored("reports", Inspected, ("content", "task_type", "rules"))
HOSTS = stored("hosts", Host, ("id",))
GPUS = stored("gpus", Gpu, ("host", "number"), Index("ix_gpus_holder", "holder"))
PROCESSES = stored(
    "processes",
    Process,
    ("id",),
    Index("uq_processes_owner", "owner_id", unique=True),
    Index("ix_processes_living", "phase", "host", sqlite_where=_LIVING, postgresql_where=_LIVING),
)
JOBS = stored("jobs", Job, ("id",), Index("ix_jobs_dataset", "dataset_id", "created_at", "id"))
RUNS = stored(
    "runs",
    Run,
    ("id",),
    Index("uq_runs_name", "project_id", "name", unique=True),
    Index("ix_runs_created_at", "project_id", "created_at", "id"),
    Index("ix_runs_resumed_from", "resumed_from", sqlite_where=RESUMED, postgresql_where=RESUMED),
)
DEPLOYMENTS = stored(
    "deployments",
    Deployment,
    ("id",),
    Index("uq_deployments_port", "host", "port", unique=True, sqlite_where=_HOLDS_PORT, postgresql_where=_HOLDS_PORT),
    Index("ix_deployments_created_at", "created_at", "id"),
    Index("ix_deployments_status", "status"),
    Index("ix_deployments_replaces", "replaces"),
)
RUN_SUMMARIES = RUNS.part(RunSummary)
LOGS = stored("logs", LogChunk, ("owner_id", "first_line"), Index("ix_logs_first_at", "owner_id", "first_at"))
METRICS = stored("metrics", Metric, (), Index("ix_metrics_run", "run_id", "row"))
ARTIFACTS = stored(
    "artifacts",
    Artifact,
    ("id",),
    Index("uq_artifacts_path", "run_id", "type", "path", unique=True),
    Index("ix_artifacts_unsummed", "created_at", sqlite_where=UNSUMMED, postgresql_where=UNSUMMED),
)
USAGE = stored("usage", Usage, ("holder", "model", "day"))
ANSWERS = stored("answers", Answer, ("principal", "key"), Index("ix_answers_created_at", "created_at"))
