"""A dataset is a name with files; a project refers to a file of it by a path such as `datasets/<name>/<file>`."""

from datetime import datetime
from typing import Any, Self

from msgspec import Struct
from msgspec.structs import asdict

from domain.errors import Flaw, Invalid
from domain.ids import DatasetId, UploadId, looks_like_uuid
from domain.words import Word

FOLDER = "datasets/"
"""Uploaded data files are named below this path."""


class DatasetStatus(Word):
    """Whether a dataset can be trained on."""

    empty = ("empty", "待上传", "Empty")
    ready = ("ready", "就绪", "Ready")


class DatasetCreateRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller may say about a new dataset."""

    name: str
    type: str | None = None
    description: str | None = None
    task_type: str | None = None
    metadata: dict[str, Any] = {}


class Dataset(Struct, frozen=True, kw_only=True):
    """Files under a name."""

    id: DatasetId
    name: str
    type: str | None = None
    description: str | None = None
    task_type: str | None = None
    metadata: dict[str, Any] = {}
    created_at: datetime

    @classmethod
    def born(cls, asked: DatasetCreateRequest, dataset_id: DatasetId, at: datetime) -> Self:
        """Make the dataset a caller asked for; Invalid when its name cannot be part of a path."""
        name = asked.name
        if (
            not name.strip()
            or name != name.strip()
            or "/" in name
            or name in (".", "..")
            or not name.isprintable()
            or len(name) > LONGEST_NAME
            or looks_like_uuid(name)
        ):
            flaw = Flaw("name", f"must be 1 to {LONGEST_NAME} characters without slashes, as it is part of a path, and no UUID, as ids are")
            message = f"the dataset is not valid: name {flaw.message}"
            raise Invalid(message, [flaw])
        return cls(id=dataset_id, created_at=at, **asdict(asked))


class Upload(Struct, frozen=True, kw_only=True):
    """One file of a dataset. Its bytes lie under their hash; the caller's name is only a name."""

    id: UploadId
    dataset_id: DatasetId
    name: str
    sha256: str
    stored_name: str
    """Path of the bytes below the training directory."""
    bytes: int
    uploaded_at: datetime
    aborted_at: datetime | None = None


LONGEST_NAME = 120
"""Characters: a component of a path is 255 bytes at most, and a Chinese character is three."""
