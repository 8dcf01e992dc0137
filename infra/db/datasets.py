"""Datasets and their files as rows."""

from datetime import datetime

from sqlalchemy import bindparam, delete, func, or_, select, update

from domain.datasets.dataset import Dataset, DatasetVersion, Upload, Use
from domain.ids import DatasetId, UploadId
from domain.paging import Listing, Page
from domain.projects.project import ProjectStatus
from domain.runs.run import TERMINAL
from infra.db.driver import fixed
from infra.db.rows import Rows, taken
from infra.db.tables import DATASET_VERSIONS, DATASETS, PROJECTS, RUNS, UPLOADS

_C = DATASETS.c
_U = UPLOADS.c
_ALL = select(*DATASETS.columns)
_BY_REF = fixed(_ALL.where(or_(_C.id == bindparam("ref"), _C.name == bindparam("ref"))))
_LOCKED = fixed(_BY_REF.with_for_update())
_UPLOADS = select(*UPLOADS.columns)
_USABLE = _UPLOADS.where(_U.removed_in.is_(None)).order_by(_U.uploaded_at, _U.id)
_THEN = or_(_U.removed_in.is_(None), _U.removed_in > bindparam("number"))
_AT_VERSION = fixed(
    _UPLOADS.where(_U.dataset_id == bindparam("dataset"), _U.added_in <= bindparam("number"), _THEN).order_by(_U.uploaded_at, _U.id)
)
_V = DATASET_VERSIONS.c
_VERSIONS = select(*DATASET_VERSIONS.columns).where(_V.dataset_id == bindparam("dataset"))
_OF_PROJECTS = fixed(
    select(PROJECTS.c.name, PROJECTS.c.dataset_name).where(
        PROJECTS.c.status != ProjectStatus.archived, PROJECTS.c.dataset_name.is_not(None)
    )
)
_OF_RUNS = fixed(
    select(PROJECTS.c.name, RUNS.c.name, RUNS.c.dataset)
    .join(PROJECTS.table, PROJECTS.c.id == RUNS.c.project_id)
    .where(RUNS.c.dataset.is_not(None), *(RUNS.c.status != over for over in TERMINAL))
)
_OF_DATASET = fixed(_USABLE.where(_U.dataset_id == bindparam("dataset")))


class UploadRows(Rows[Upload]):
    """Files of datasets."""

    stored = UPLOADS


class DatasetVersionRows(Rows[DatasetVersion]):
    """Steps in the datasets' histories."""

    stored = DATASET_VERSIONS


class DatasetRows(Rows[Dataset]):
    """The port `Datasets`."""

    stored = DATASETS

    @property
    def _files(self) -> UploadRows:
        return UploadRows(self.connection)

    def find(self, ref: str) -> Dataset | None:
        """By id or by name."""
        return self.one(_BY_REF, ref=ref)

    def lock(self, ref: str) -> Dataset | None:
        """By id or by name, locked."""
        return self.one(_LOCKED, ref=ref)

    def add(self, dataset: Dataset) -> None:
        """Insert; Conflict when the name is in use."""
        with taken(f"a dataset named {dataset.name} already exists", dataset=dataset.name):
            self.insert(dataset)

    def save(self, dataset: Dataset) -> None:
        """Update."""
        self.write(dataset)

    def delete(self, dataset: Dataset, at: datetime) -> None:
        """Delete it and its history; its files stay as rows that were taken back, so that their bytes have their grace."""
        connection, removed = self.connection, func.coalesce(_U.removed_in, dataset.version + 1)
        taken_back = {"removed_in": removed, "aborted_at": func.coalesce(_U.aborted_at, bindparam("at", at, _U.aborted_at.type))}
        connection.execute(update(UPLOADS.table).where(_U.dataset_id == dataset.id).values(taken_back))
        connection.execute(delete(DATASET_VERSIONS.table).where(_V.dataset_id == dataset.id))
        connection.execute(delete(DATASETS.table).where(_C.id == dataset.id))

    def page(self, page: Page) -> Listing[Dataset]:
        """Newest first."""
        return self.listing(_ALL.order_by(_C.created_at.desc(), _C.id.desc()), page)

    def add_upload(self, upload: Upload) -> None:
        """Insert; Conflict when the dataset has a usable file of that name."""
        with taken(f"the dataset already has a file {upload.name}", upload=upload.name):
            self._files.insert(upload)

    def upload(self, upload_id: UploadId) -> Upload | None:
        """By id."""
        return self._files.one(_UPLOADS.where(_U.id == bindparam("id")), id=upload_id)

    def save_upload(self, upload: Upload) -> None:
        """Update."""
        self._files.write(upload)

    def add_version(self, version: DatasetVersion) -> None:
        """Append to the history."""
        DatasetVersionRows(self.connection).insert(version)

    def version(self, dataset_id: DatasetId, number: int) -> DatasetVersion | None:
        """By its number."""
        return DatasetVersionRows(self.connection).one(_VERSIONS.where(_V.number == number), dataset=dataset_id)

    def versions(self, dataset_id: DatasetId, page: Page) -> Listing[DatasetVersion]:
        """Newest first."""
        return DatasetVersionRows(self.connection).listing(_VERSIONS.order_by(_V.number.desc()), page, dataset=dataset_id)

    def uploads_at(self, dataset_id: DatasetId, number: int) -> list[Upload]:
        """Those that came with this version or before, and left after it."""
        return self._files.many(_AT_VERSION, dataset=dataset_id, number=number)

    def uses(self) -> list[Use]:
        """Of projects, then of runs."""
        projects = [Use(name, None, reference) for name, reference in self.connection.execute(_OF_PROJECTS)]
        return projects + [Use(project, run, reference) for project, run, reference in self.connection.execute(_OF_RUNS)]

    def uploads(self, dataset_id: DatasetId) -> list[Upload]:
        """Oldest first."""
        return self._files.many(_OF_DATASET, dataset=dataset_id)

    def uploads_named(self, filename: str) -> list[tuple[Dataset, Upload]]:
        """In any dataset."""
        uploads = self._files.many(_USABLE.where(_U.name == bindparam("name")), name=filename)
        found = [(self.find(upload.dataset_id), upload) for upload in uploads]
        return [(dataset, upload) for dataset, upload in found if dataset is not None]
