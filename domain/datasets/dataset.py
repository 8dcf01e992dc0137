"""A dataset is a name with files; a project refers to a file of it by a path such as `datasets/<name>/<file>`.

Every change of its files makes its next version, and what a version held can still be read: `datasets/<name>@<version>/<file>`.
"""

import re
from collections.abc import Collection
from datetime import datetime
from typing import Any, Self

from msgspec import Struct
from msgspec.structs import asdict

from domain.errors import Flaw, Invalid
from domain.ids import DatasetId, JobId, UploadId, looks_like_uuid
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
    version: int = 0
    """Number of its newest version; 0 until it has had a file."""
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
            or versioned(name)
        ):
            flaw = Flaw(
                "name",
                f"must be 1 to {LONGEST_NAME} characters without slashes, as it is part of a path, no UUID, as ids are, "
                "and not end like a version (@3)",
            )
            message = f"the dataset is not valid: name {flaw.message}"
            raise Invalid(message, [flaw])
        return cls(id=dataset_id, created_at=at, **asdict(asked))

    def named_by(self, reference: str, filenames: Collection[str]) -> bool:
        """Whether a project that says this means the dataset, or a file of it."""
        first, _, rest = reference.removeprefix(FOLDER).partition("/")
        dataset = (versioned(first) or (first, 0))[0]
        if first in (self.id, self.name) or dataset in (self.id, self.name):
            return True
        return reference.startswith(FOLDER) and not rest and first in filenames


def versioned(reference: str) -> tuple[str, int] | None:
    """Split `<name>@<version>`; None for a name without a version."""
    found = _VERSIONED.fullmatch(reference)
    return (found[1], int(found[2])) if found else None


_VERSIONED = re.compile(r"(.+)@([0-9]{1,9})", re.DOTALL)


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
    added_in: int
    """The version of the dataset that it came with."""
    removed_in: int | None = None
    """The version that went on without it, since it was replaced or taken back."""
    aborted_at: datetime | None = None
    """When it was taken back: then its bytes stay only for the runs that pinned them."""
    deidentified: "Deidentified | None" = None
    """By what personal data was taken out of it; None when nobody has looked."""

    @property
    def gone(self) -> str | None:
        """Why its bytes are not to be had any more; None while they are."""
        if self.aborted_at is None:
            return None
        return f"{self.name} was taken back at {self.aborted_at:%Y-%m-%d %H:%M:%S} UTC; upload it again to use it"


class Deidentified(Struct, frozen=True, kw_only=True):
    """How a file came to be without personal data."""

    policy_id: str
    policy_revision: str
    key_id: str
    job_id: JobId
    source: UploadId
    """The file that it was made from; its own id where nothing had to be changed."""


class FileChange(Word):
    """What a version of a dataset changed."""

    added = ("added", "增加", "Added")
    replaced = ("replaced", "替换", "Replaced")
    removed = ("removed", "移除", "Removed")
    deidentified = ("deidentified", "脱敏", "De-identified")


class DatasetVersion(Struct, frozen=True, kw_only=True):
    """One step in a dataset's history: one change of its files, by whom and when."""

    dataset_id: DatasetId
    number: int
    change: FileChange
    name: str
    """The file."""
    upload_id: UploadId
    """What was added, or removed."""
    replaces: UploadId | None = None
    at: datetime
    by: str


class Use(Struct, frozen=True):
    """A project, or a run of it that is not over, that names a dataset."""

    project: str
    run: str | None
    reference: str


LONGEST_NAME = 120
"""Characters: a component of a path is 255 bytes at most, and a Chinese character is three."""
