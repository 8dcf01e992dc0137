"""What the API answers, as JSON has it; `/docs` of a server tells the rest."""

from typing import Any, NotRequired, TypedDict

Json = dict[str, Any]


class Project(TypedDict):
    """What a team wants to train; the last few are only there when one project is asked for."""

    id: str
    name: str
    status: str
    status_label: NotRequired[str]
    owner: str | None
    created_at: str
    description: NotRequired[str | None]
    task_type: NotRequired[str | None]
    base_model: NotRequired[str | None]
    dataset_name: NotRequired[str | None]
    training_yaml_name: NotRequired[str | None]
    run_count: NotRequired[int]
    runs: NotRequired[list[Json]]


Failure = TypedDict("Failure", {"class": str, "class_label": NotRequired[str], "reason": str, "log_excerpt": list[str]})
"""Who failed, why, and what shows it."""


class Artifact(TypedDict):
    """Something a run left on disk."""

    id: str
    name: str
    type: str
    type_label: NotRequired[str]
    path: str
    step: NotRequired[int | None]
    complete: NotRequired[bool]
    size_bytes: int
    sha256: NotRequired[str | None]
    tags: list[Json]
    created_at: str


class Run(TypedDict):
    """One training; what a list leaves out is not required."""

    id: str
    project_id: NotRequired[str]
    name: str
    status: str
    status_label: NotRequired[str]
    progress: float
    metrics: NotRequired[dict[str, float | None]]
    started_at: str | None
    updated_at: NotRequired[str]
    finished_at: NotRequired[str | None]
    host: NotRequired[str | None]
    gpus: NotRequired[list[str]]
    exit_code: NotRequired[int | None]
    failure: NotRequired[Failure | None]
    waiting: NotRequired[Json | None]
    conditions: NotRequired[list[Json]]
    artifacts: NotRequired[list[Artifact]]


class Host(TypedDict):
    """A machine that trains."""

    name: str
    status: str
    status_label: str
    address: str
    executor: str
    slots: int
    processes: int
    gpus: list[Json]


class Line(TypedDict):
    """One line of a log; followers also get its number."""

    timestamp: str
    level: str
    message: str
    number: NotRequired[int]


class LogPage(TypedDict):
    """Some lines of a log, and how many there are in all."""

    page: int
    page_size: int
    total: int
    items: list[Line]


class Metric(TypedDict):
    """One value that a trainer reported."""

    name: str
    step: int | None
    epoch: float | None
    value: float | None
    at: str


class Dataset(TypedDict):
    """Files under a name."""

    id: str
    name: NotRequired[str]
    status: NotRequired[str]
    status_label: NotRequired[str]
    task_type: NotRequired[str | None]
    files: NotRequired[list[Json]]
    created_at: str
