"""The history of datasets over HTTP: what each version changed, and what it held."""

from datetime import datetime
from typing import Any

from litestar import Controller, Request, Response, get
from litestar.params import FromPath
from msgspec import Struct
from msgspec.structs import asdict

from api.datasets import DatasetFile, dataset_file
from api.provide import TheCaller, WantedPage, paged
from domain.datasets import actions
from domain.datasets.dataset import DatasetVersion, FileChange
from domain.ids import UploadId


class VersionListed(Struct, frozen=True, kw_only=True):
    """One change of a dataset's files."""

    number: int
    change: FileChange
    change_label: str
    name: str
    upload_id: UploadId
    replaces: UploadId | None
    at: datetime
    by: str


class VersionDetail(VersionListed, frozen=True, kw_only=True):
    """One change, and the files that the dataset had after it."""

    files: list[DatasetFile]


class DatasetVersionController(Controller):
    """What people may ask of a dataset's history."""

    path = "/v1/datasets/{ref:str}/versions"
    tags = ("datasets",)

    @get()
    async def list_versions(
        self, request: Request[Any, Any, Any], caller: TheCaller, wanted_page: WantedPage, ref: FromPath[str]
    ) -> Response[list[VersionListed]]:
        """List every change of a dataset's files, newest first: who, when, what."""
        found = await caller.db.read(actions.versions, ref, wanted_page)
        return paged(request, found, wanted_page, [_listed(each, caller.language) for each in found.items])

    @get("/{number:int}")
    async def get_version(self, caller: TheCaller, ref: FromPath[str], number: FromPath[int]) -> VersionDetail:
        """Show a version with the files it held; a run names one of them as `datasets/<name>@<number>/<file>`."""
        version, files = await caller.db.read(actions.version, ref, number)
        return VersionDetail(**asdict(_listed(version, caller.language)), files=[dataset_file(each) for each in files])


def _listed(version: DatasetVersion, language: str) -> VersionListed:
    facts = asdict(version)
    del facts["dataset_id"]
    return VersionListed(**facts, change_label=version.change.label(language))
