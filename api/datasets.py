"""Datasets and uploads over HTTP."""

from datetime import datetime
from typing import Annotated, Any, Literal, Protocol

from litestar import Controller, Request, Response, delete, get, post, put
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.status_codes import HTTP_200_OK
from msgspec import Struct
from msgspec.structs import asdict

from api.provide import TheCaller, WantedPage, paged
from api.train_configs import TrainConfigInfo, config_info
from api.upload import FileUpload, inspect_soon, keep_file
from domain.datasets import actions
from domain.datasets.dataset import FOLDER, Dataset, DatasetCreateRequest, DatasetStatus, Deidentified, Upload
from domain.ids import DatasetId, UploadId
from domain.paging import Page
from domain.train_configs import actions as train_configs
from domain.train_configs.train_config import TrainConfig


class DatasetCreated(Struct, frozen=True, kw_only=True):
    """A new dataset."""

    id: DatasetId
    created_at: datetime


class DatasetFile(Struct, frozen=True, kw_only=True):
    """A file of a dataset."""

    upload_id: UploadId
    name: str
    stored_name: str
    bytes: int
    sha256: str
    uploaded_at: datetime
    added_in: int
    """The version of the dataset that it came with."""
    deidentified: Deidentified | None
    """By what personal data was taken out of it."""


class UploadProgress(Struct, frozen=True, kw_only=True):
    """How many files have arrived."""

    files_count: int


class DatasetRecord(Dataset, frozen=True, kw_only=True):
    """A dataset with its files, and the training config that names it."""

    status: DatasetStatus
    files: list[DatasetFile]
    train_config: TrainConfigInfo | None
    upload_progress: UploadProgress


class Uploaded(Struct, frozen=True, kw_only=True):
    """A file that has arrived."""

    upload_id: UploadId
    dataset_id: DatasetId
    bytes: int
    filename: str


class DatasetDeleted(Struct, frozen=True, kw_only=True):
    """A dataset that is gone."""

    dataset_id: DatasetId
    status: Literal["deleted"] = "deleted"


class UploadAborted(Struct, frozen=True, kw_only=True):
    """An upload that was taken back."""

    upload_id: UploadId
    status: Literal["aborted"] = "aborted"


class DatasetController(Controller):
    """What people may do to datasets."""

    path = "/v1/datasets"
    tags = ("datasets",)

    @post()
    async def create_dataset(self, caller: TheCaller, data: JSONBody[DatasetCreateRequest]) -> DatasetCreated:
        """Register a dataset; its files follow."""
        dataset = await caller.db.run(actions.create, data)
        return DatasetCreated(id=dataset.id, created_at=dataset.created_at)

    @get()
    async def list_datasets(
        self, request: Request[Any, Any, Any], caller: TheCaller, wanted_page: WantedPage
    ) -> Response[list[DatasetRecord]]:
        """List datasets with their files, newest first."""
        found = await caller.db.read(_records, wanted_page)
        return paged(request, found[0], wanted_page, found[1])

    @get("/{ref:str}")
    async def get_dataset(self, caller: TheCaller, ref: FromPath[str]) -> DatasetRecord:
        """Show a dataset, by id or name, with its files."""
        return await caller.db.read(_record, ref)

    @delete("/{ref:str}", status_code=HTTP_200_OK)
    async def delete_dataset(self, caller: TheCaller, ref: FromPath[str]) -> DatasetDeleted:
        """Delete a dataset with its files and history; 409, naming them, while projects or living runs use it."""
        return DatasetDeleted(dataset_id=(await caller.db.run(actions.delete, ref)).id)

    @put("/{ref:str}/files", status_code=HTTP_200_OK, request_max_body_size=None, operation_class=FileUpload)
    async def upload_file(
        self,
        request: Request[Any, Any, Any],
        caller: TheCaller,
        ref: FromPath[str],
        replace: Annotated[bool, QueryParameter(description="Take the place of a file of that name.")] = False,  # noqa: FBT002 - a query parameter
    ) -> Uploaded:
        """Add a file (multipart, field `file`), streamed to disk; over `MAX_SMALL_FILE_BYTES` it is refused and nothing stays."""
        dataset = await caller.db.read(actions.get, ref)
        kept = await keep_file(request, caller, caller.world.settings.max_small_file_bytes)
        upload = await (caller.db.run(actions.replace_file, ref, kept) if replace else caller.db.run(actions.add_file, ref, kept))
        inspect_soon(caller, dataset, upload)
        return Uploaded(upload_id=upload.id, dataset_id=upload.dataset_id, bytes=upload.bytes, filename=upload.name)


class UploadController(Controller):
    """What people may do to a single upload."""

    path = "/v1/uploads"
    tags = ("datasets",)

    @delete("/{upload:str}", status_code=HTTP_200_OK)
    async def abort_upload(self, caller: TheCaller, upload: FromPath[str]) -> UploadAborted:
        """Take an upload back: its name is gone at once; bytes that a run pinned stay."""
        return UploadAborted(upload_id=(await caller.db.run(actions.abort, UploadId(upload))).id)


class _Tx(actions.Tx, train_configs.Tx, Protocol):
    """What showing a dataset touches."""


def _record(tx: _Tx, ref: str) -> DatasetRecord:
    dataset, files = actions.files(tx, ref)
    return _shown(tx, dataset, files)


def _records(tx: _Tx, page: Page) -> Any:  # noqa: ANN401 - the listing and what it shows
    found = actions.list_datasets(tx, page)
    return found, [_shown(tx, dataset, files) for dataset, files in found.items]


def _shown(tx: _Tx, dataset: Dataset, files: list[Upload]) -> DatasetRecord:
    paths = [path for each in files for path in (f"{FOLDER}{dataset.name}/{each.name}", f"{FOLDER}{each.name}", FOLDER + dataset.name)]
    config: TrainConfig | None = tx.train_configs.naming_dataset(paths) if paths else None
    return DatasetRecord(
        **asdict(dataset),
        status=DatasetStatus.ready if files else DatasetStatus.empty,
        files=[dataset_file(each) for each in files],
        train_config=config_info(config) if config else None,
        upload_progress=UploadProgress(files_count=len(files)),
    )


def dataset_file(upload: Upload) -> DatasetFile:
    """Return a file as it is shown."""
    return DatasetFile(
        upload_id=upload.id,
        name=upload.name,
        stored_name=upload.stored_name,
        bytes=upload.bytes,
        sha256=upload.sha256,
        uploaded_at=upload.uploaded_at,
        added_in=upload.added_in,
        deidentified=upload.deidentified,
    )
