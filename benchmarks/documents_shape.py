"""The documents' own shape, as a competent reader of them would write it: FastAPI, pydantic, synchronous SQLAlchemy ORM, SQLite.

The four tables, the endpoints and the answers are those of the documents; the training itself is left out, as it is in what this
is compared with. Endpoints are plain functions, which FastAPI runs in its threads, each with a session of its own.
"""

import os
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Response
from pydantic import BaseModel, ConfigDict
from sqlalchemy import JSON, ForeignKey, create_engine, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, selectinload, sessionmaker

TRAINING_DIR = Path(os.environ.get("HOST_TRAINING_PATH", "/data1/qwen2.5-14bxxxx"))
engine = create_engine(os.environ.get("TRAINING_DB_URL", "sqlite:///./training.db"), connect_args={"check_same_thread": False})
SessionLocal = sessionmaker(engine, autoflush=False)


class Base(DeclarativeBase):
    """Tables."""

    type_annotation_map = {dict[str, Any]: JSON, list[str]: JSON}  # noqa: RUF012 - SQLAlchemy's own way


class Project(Base):
    """Table `projects`."""

    __tablename__ = "projects"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True, index=True)
    description: Mapped[str | None]
    objective: Mapped[str | None]
    task_type: Mapped[str | None]
    base_model: Mapped[str | None]
    owner: Mapped[str | None]
    tags: Mapped[list[str]]
    default_hyperparameters: Mapped[dict[str, Any]]
    dataset_name: Mapped[str | None]
    training_yaml_name: Mapped[str | None]
    status: Mapped[str] = mapped_column(default="active")
    created_at: Mapped[datetime] = mapped_column(index=True)
    updated_at: Mapped[datetime]
    runs: Mapped[list["Run"]] = relationship(back_populates="project", order_by="Run.created_at")


class Run(Base):
    """Table `runs`."""

    __tablename__ = "runs"
    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    name: Mapped[str]
    status: Mapped[str]
    progress: Mapped[float] = mapped_column(default=0.0)
    model: Mapped[str | None]
    dataset: Mapped[str | None]
    hyperparameters: Mapped[dict[str, Any]]
    resources: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any]]
    start_command: Mapped[str]
    gpu_utilization: Mapped[float | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    project: Mapped[Project] = relationship(back_populates="runs")
    artifacts: Mapped[list["Artifact"]] = relationship(order_by="Artifact.created_at")


class Log(Base):
    """Table `logs`."""

    __tablename__ = "logs"
    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), index=True)
    timestamp: Mapped[datetime]
    level: Mapped[str]
    message: Mapped[str]


class Artifact(Base):
    """Table `artifacts`."""

    __tablename__ = "artifacts"
    id: Mapped[str] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), index=True)
    name: Mapped[str]
    type: Mapped[str]
    path: Mapped[str]
    size_bytes: Mapped[int]
    tags: Mapped[list[str]]
    created_at: Mapped[datetime]


class ProjectCreate(BaseModel):
    """Body of `POST /projects`."""

    name: str
    description: str | None = None
    objective: str | None = None
    task_type: str | None = None
    base_model: str | None = None
    owner: str | None = None
    tags: list[str] = []
    default_hyperparameters: dict[str, Any] = {}
    dataset_name: str | None = None
    training_yaml_name: str | None = None


class RunCreate(BaseModel):
    """Body of `POST /projects/{project}/runs`."""

    name: str | None = None
    model: str | None = None
    dataset: str | None = None
    hyperparameters: dict[str, Any] = {}
    resources: dict[str, Any] = {}


class Shown(BaseModel):
    """Anything read from a row."""

    model_config = ConfigDict(from_attributes=True)


class RunSummary(Shown):
    """A run within its project."""

    id: str
    name: str
    status: str
    progress: float
    started_at: datetime | None


class ProjectSummary(Shown):
    """A project in the list."""

    id: str
    name: str
    status: str
    owner: str | None
    created_at: datetime


class ProjectDetail(ProjectCreate, Shown):
    """A project by itself."""

    id: str
    status: str
    created_at: datetime
    updated_at: datetime
    runs: list[RunSummary]


class ArtifactShown(Shown):
    """What a run left."""

    id: str
    name: str
    type: str
    path: str
    size_bytes: int
    tags: list[str]
    created_at: datetime


class RunDetail(RunSummary):
    """A run by itself."""

    project_id: str
    model: str | None
    dataset: str | None
    hyperparameters: dict[str, Any]
    resources: dict[str, Any]
    metrics: dict[str, Any]
    start_command: str
    gpu_utilization: float | None
    created_at: datetime
    updated_at: datetime
    artifacts: list[ArtifactShown]


def get_session() -> Iterator[Session]:
    """Give each request a session."""
    with SessionLocal() as session:
        yield session


Db = Annotated[Session, Depends(get_session)]


def create_app() -> FastAPI:
    """Return the application; the tables are made at its start, as documented."""
    Base.metadata.create_all(engine)
    app = FastAPI()
    app.get("/healthz")(healthz)
    app.post("/projects", status_code=201)(create_project)
    app.get("/projects")(list_projects)
    app.get("/projects/{reference}")(get_project)
    app.post("/projects/{reference}/runs", status_code=201)(create_run)
    app.get("/projects/{reference}/runs/{run_reference}")(get_run)
    return app


def healthz() -> dict[str, str]:
    """Say that the server answers."""
    return {"status": "ok"}


def create_project(body: ProjectCreate, db: Db) -> ProjectDetail:
    """Register a project."""
    now = datetime.now(UTC)
    project = Project(id=f"proj_{secrets.token_hex(8)}", created_at=now, updated_at=now, **body.model_dump())
    db.add(project)
    try:
        db.commit()
    except IntegrityError as broken:
        raise HTTPException(409, "project name exists") from broken
    db.refresh(project)
    return ProjectDetail.model_validate(project)


def list_projects(db: Db, response: Response, page: int = 1, page_size: int = 50) -> list[ProjectSummary]:
    """List projects, newest first."""
    response.headers["X-Total-Count"] = str(db.scalar(select(func.count(Project.id))))
    newest = select(Project).order_by(Project.created_at.desc()).limit(page_size).offset((page - 1) * page_size)
    return [ProjectSummary.model_validate(project) for project in db.scalars(newest)]


def get_project(reference: str, db: Db) -> ProjectDetail:
    """Show a project with its runs."""
    return ProjectDetail.model_validate(_project(db, reference))


def create_run(reference: str, body: RunCreate, db: Db) -> RunDetail:
    """Check that dataset and config exist, then register the run and its first log line."""
    project = _project(db, reference)
    for name in (project.dataset_name, project.training_yaml_name):
        if not name or not (TRAINING_DIR / name).exists():
            raise HTTPException(400, f"missing resource: {name}")
    now = datetime.now(UTC)
    number = db.scalar(select(func.count(Run.id)).where(Run.project_id == project.id)) or 0
    run = Run(
        id=f"run_{secrets.token_hex(8)}",
        project_id=project.id,
        name=body.name or f"run-{number + 1:03}",
        status="排队中",
        model=body.model or project.base_model,
        dataset=body.dataset or project.dataset_name,
        hyperparameters=project.default_hyperparameters | body.hyperparameters,
        resources=body.resources,
        metrics={},
        start_command=f"bash run_train_full_sft.sh {project.training_yaml_name}",
        created_at=now,
        updated_at=now,
    )
    db.add(run)
    db.add(Log(run_id=run.id, timestamp=now, level="INFO", message="训练已排队"))
    db.commit()
    db.refresh(run)
    return RunDetail.model_validate(run)


def get_run(reference: str, run_reference: str, db: Db) -> RunDetail:
    """Show a run with its artifacts."""
    project = _project(db, reference)
    wanted = select(Run).where(Run.project_id == project.id, or_(Run.id == run_reference, Run.name == run_reference))
    run = db.scalar(wanted.options(selectinload(Run.artifacts)))
    if run is None:
        raise HTTPException(404, "run not found")
    return RunDetail.model_validate(run)


def _project(db: Session, reference: str) -> Project:
    project = db.scalar(select(Project).where(or_(Project.id == reference, Project.name == reference)))
    if project is None:
        raise HTTPException(404, "project not found")
    return project
