"""The floor: Litestar over raw asyncpg, with no rule, no layer and no check, executing our own statements and giving our own answers.

What it lacks is what the house costs. `endpoints.py` compares the statements of both before it measures.
"""

import os
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec
from litestar import Litestar, Response, get, post
from litestar.datastructures import State
from litestar.params import FromPath, JSONBody
from msgspec import Struct

from domain.ids import new_id
from domain.projects.project import ProjectStatus
from domain.runs.artifact import ArtifactType
from domain.runs.run import RunStatus

CONNECTIONS = 10
WATCH = '{"stalled_after_seconds":1800.0,"stop_when_stalled":false,"stop_on_nan":false}'
FIND_RUN = (
    "SELECT runs.* FROM runs JOIN projects ON projects.id = runs.project_id "
    "WHERE (projects.id = $1 OR projects.name = $1) AND (runs.id = $2 OR runs.name = $2)"
)
ARTIFACTS = "SELECT * FROM artifacts WHERE run_id = $1 ORDER BY created_at, id"
RESUMED = (
    "SELECT id, project_id, name, status, resumed_from FROM runs WHERE resumed_from IN (SELECT id FROM artifacts WHERE run_id = $1) "
    "ORDER BY created_at, id"
)
LIST_PROJECTS = "SELECT * FROM projects ORDER BY created_at DESC, id DESC LIMIT $1 OFFSET $2"
COUNT_PROJECTS = "SELECT count(*) FROM projects"
INSERT_PROJECT = (
    "INSERT INTO projects (id, name, description, objective, task_type, base_model, owner, tags, default_hyperparameters, dataset_name, "
    "training_yaml_name, status, executor, watch, version, run_count, created_at, updated_at) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)"
)
INSERT_VERSION = "INSERT INTO project_versions (project_id, number, at, by, changes) VALUES ($1, $2, $3, $4, $5)"
INSERT_EVENT = (
    "INSERT INTO events (xid, at, actor, origin, kind, subject, project_id, data) "
    "VALUES (pg_current_xact_id()::text::bigint, $1, $2, $3, $4, $5, $6, $7) RETURNING id"
)
FIND_PROJECT = "SELECT * FROM projects WHERE id = $1 OR name = $1"
FIND_CONFIG = "SELECT * FROM train_configs WHERE deleted_at IS NULL AND filename = $1 ORDER BY version DESC LIMIT $2"
FIND_DATASET = "SELECT * FROM datasets WHERE id = $1 OR name = $1"
UPLOADS = "SELECT * FROM uploads WHERE removed_in IS NULL AND dataset_id = $1 ORDER BY uploaded_at, id"
COUNT_RUN = "UPDATE projects SET run_count = run_count + $1 WHERE id = $2 OR name = $2 RETURNING *"
NAME_TAKEN = "SELECT id FROM runs WHERE project_id = $1 AND name = $2"
INSERT_RUN = (
    "INSERT INTO runs (id, project_id, name, status, attempt, progress, model, dataset, hyperparameters, resources, priority, labels, "
    "start_command, config, inputs, metrics, resumed_from, host, gpus, watch, conditions, attempts, exit_code, failure, created_at, "
    "updated_at, started_at, finished_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, "
    "$20, $21, $22, $23, $24, $25, $26, $27, $28)"
)
INSERT_PROCESS = (
    "INSERT INTO processes (id, owner_id, owner_kind, phase, attempt, argv, executor, resources, preferred_gpu, priority, host, folder, "
    "gpus, not_before, log_offset, report_offset, stop_asked_at, stop_grace, stop_drain, stop_kill, pid, start_ticks, boot_id, created_at, "
    "updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, "
    "$25)"
)


class ProjectBody(Struct):
    """What `POST /projects` is sent."""

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


class RunBody(Struct):
    """What `POST run` is sent."""

    hyperparameters: dict[str, Any] = {}
    labels: dict[str, str] = {}


def create_app() -> Litestar:
    """Return the application, on the database of TRAINING_DB_URL."""
    handlers = [healthz, get_run, list_projects, create_project, launch_run]
    return Litestar(handlers, lifespan=[_pool], openapi_config=None, logging_config=None)


@asynccontextmanager
async def _pool(app: Litestar) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["TRAINING_DB_URL"], min_size=CONNECTIONS, max_size=CONNECTIONS, reset=_as_it_is) as pool:
        app.state.pool = pool
        yield


async def _as_it_is(connection: Any) -> None:  # noqa: ANN401 - asyncpg's own proxy
    """Spare the statement that asyncpg would send after each use of a connection: nothing here leaves anything to reset."""


@get("/healthz")
async def healthz() -> dict[str, str]:
    """Say that the server answers."""
    return {"status": "ok"}


@get("/projects/{ref:str}/runs/{run:str}")
async def get_run(state: State, ref: FromPath[str], run: FromPath[str]) -> dict[str, Any]:
    """Show a run with its artifacts."""
    async with state.pool.acquire() as connection:
        row = await connection.fetchrow(FIND_RUN, ref, run)
        artifacts = await connection.fetch(ARTIFACTS, row["id"])
        resumed = await connection.fetch(RESUMED, row["id"]) if artifacts else []
    return _run(row, [_artifact(artifact) for artifact in artifacts], [dict(each) for each in resumed])


@get("/projects")
async def list_projects(state: State, page: int = 1, page_size: int = 50) -> Response[list[dict[str, Any]]]:
    """List projects, newest first."""
    async with state.pool.acquire() as connection:
        rows = await connection.fetch(LIST_PROJECTS, page_size, (page - 1) * page_size)
        total = await connection.fetchval(COUNT_PROJECTS)
    items = [
        {
            "id": row["id"],
            "name": row["name"],
            "status": row["status"],
            "status_label": _LABELS[row["status"]],
            "owner": row["owner"],
            "created_at": row["created_at"],
        }
        for row in rows
    ]
    around = {"first": 1, "last": -(-total // page_size)}
    links = [f'</projects?page={number}&page_size={page_size}>; rel="{name}"' for name, number in around.items()]
    return Response(items, headers={"X-Total-Count": str(total), "Link": ", ".join(links)})


@post("/projects")
async def create_project(state: State, data: JSONBody[ProjectBody]) -> dict[str, Any]:
    """Register a project with its first version and its event."""
    project_id, now = new_id("proj_"), datetime.now(UTC)
    given = msgspec.structs.asdict(data)
    changes = {name: (None, value) for name, value in (given | {"status": "active"}).items() if value not in (None, [], {})}
    tags, defaults = _json(data.tags), _json(data.default_hyperparameters)
    last = (data.dataset_name, data.training_yaml_name, "active", None, WATCH, 1, 0, now, now)
    said = (data.name, data.description, data.objective, data.task_type, data.base_model, data.owner)
    async with state.pool.acquire() as connection, connection.transaction():
        await connection.execute(INSERT_PROJECT, project_id, *said, tags, defaults, *last)
        await connection.execute(INSERT_VERSION, project_id, 1, now, "local", _json(changes))
        event = _json({"name": data.name})
        await connection.fetchval(INSERT_EVENT, now, "local", "127.0.0.1", "project.created", project_id, project_id, event)
    rest = {
        **dict.fromkeys(("executor", "deid_policy")),
        "watch": msgspec.Raw(WATCH.encode()),
        "version": 1,
        "run_count": 0,
        "created_at": now,
        "updated_at": now,
        "status_label": _LABELS["active"],
    }
    versions = [{"number": 1, "at": now, "by": "local", "changes": changes}]
    return {"id": project_id, **given, "status": "active", **rest, "versions": versions, "runs": []}


@post("/projects/{ref:str}/runs")
async def launch_run(state: State, ref: FromPath[str], data: JSONBody[RunBody]) -> dict[str, Any]:
    """Queue a run with its process and its event."""
    async with state.pool.acquire() as connection:
        project = await connection.fetchrow(FIND_PROJECT, ref)
        config = await connection.fetchrow(FIND_CONFIG, project["training_yaml_name"].removeprefix("configs/"), 1)
        dataset = await connection.fetchrow(FIND_DATASET, project["dataset_name"].split("/")[1])
        (upload,) = await connection.fetch(UPLOADS, dataset["id"])
    pinned = {"path": upload["stored_name"], "size_bytes": upload["bytes"], "sha256": upload["sha256"], "mtime_ns": None}
    effective = {"task_type": "sft", "model_name": project["base_model"]} | msgspec.json.decode(project["default_hyperparameters"])
    effective |= msgspec.json.decode(config["values"]) | data.hyperparameters
    run_id, now = new_id("run_"), datetime.now(UTC)
    argv = ["bash", "run_train_full_sft.sh", f"runs/{run_id}/config.yaml"]
    resources = '{"gpu_type":null,"gpu_count":null}'
    async with state.pool.acquire() as connection, connection.transaction():
        project = await connection.fetchrow(COUNT_RUN, 1, ref)
        name = f"run-{project['run_count']:03}"
        await connection.fetchrow(NAME_TAKEN, project["id"], name)
        row = {
            "id": run_id,
            "project_id": project["id"],
            "name": name,
            "status": "queued",
            "attempt": 1,
            "progress": 0.0,
            "model": project["base_model"],
            "dataset": project["dataset_name"],
            "hyperparameters": _json(data.hyperparameters),
            "resources": resources,
            "priority": 0,
            "labels": _json(data.labels),
            "start_command": shlex.join(argv),
            "config": _json(effective),
            "inputs": _json({project["dataset_name"]: pinned}),
            "metrics": "{}",
            **dict.fromkeys(("resumed_from", "host")),
            "gpus": "[]",
            "watch": WATCH,
            "conditions": "[]",
            "attempts": "[]",
            **dict.fromkeys(("exit_code", "failure")),
            "created_at": now,
            "updated_at": now,
            **dict.fromkeys(("started_at", "finished_at")),
        }
        await connection.execute(INSERT_RUN, *row.values())
        process = (
            new_id("proc_"),
            run_id,
            "run",
            "waiting",
            1,
            _json(argv),
            None,
            resources,
            None,
            0,
            *[None] * 2,
            "[]",
            None,
            0,
            0,
            *[None] * 2,
            0.0,
            True,
            *[None] * 3,
            now,
            now,
        )
        await connection.execute(INSERT_PROCESS, *process)
        event = _json({"name": name, "dataset": row["dataset"], "model": row["model"]})
        await connection.fetchval(INSERT_EVENT, now, "local", "127.0.0.1", "run.launched", run_id, project["id"], event)
    return _run(row, [], [])


_LABELS = {str(each): each.label("zh") for words in (ProjectStatus, RunStatus, ArtifactType) for each in words}
_RUN_JSON = ("hyperparameters", "resources", "labels", "config", "inputs", "metrics", "gpus", "watch", "conditions", "attempts", "failure")


def _run(row: Any, artifacts: list[dict[str, Any]], resumed: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: ANN401 - a Record or a dict
    shown = dict(row)
    for name in _RUN_JSON:
        shown[name] = _raw(shown[name])
    shown["status_label"] = _LABELS[shown["status"]]
    shown["waiting"] = shown["gpu_utilization"] = shown["cancelled_at"] = None
    shown["artifacts"], shown["resumed_by"] = artifacts, resumed
    return shown


def _artifact(row: Any) -> dict[str, Any]:  # noqa: ANN401 - a Record
    shown = dict(row) | {"tags": _raw(row["tags"]), "type_label": _LABELS[row["type"]]}
    del shown["manifest"]
    return shown


def _raw(text: str | None) -> msgspec.Raw | None:
    """JSON as the database keeps it goes out as it is."""
    return None if text is None else msgspec.Raw(text.encode())


def _json(value: Any) -> str:  # noqa: ANN401 - any JSON
    return msgspec.json.encode(value).decode()
