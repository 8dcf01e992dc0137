"""Datasets and their files as rows."""

from datetime import datetime

from sqlalchemy import bindparam, or_, select, update

from domain.datasets.dataset import Dataset, Upload
from domain.ids import DatasetId, UploadId
from domain.paging import Listing, Page
from infra.db.driver import fixed
from infra.db.rows import Rows, taken
from infra.db.tables import DATASETS, UPLOADS

_C = DATASETS.c
_U = UPLOADS.c
_ALL = select(*DATASETS.columns)
_BY_REF = fixed(_ALL.where(or_(_C.id == bindparam("ref"), _C.name == bindparam("ref"))))
_UPLOADS = select(*UPLOADS.columns)
_USABLE = _UPLOADS.where(_U.aborted_at.is_(None)).order_by(_U.uploaded_at, _U.id)
_OF_DATASET = fixed(_USABLE.where(_U.dataset_id == bindparam("dataset")))


class UploadRows(Rows[Upload]):
    """Files of datasets."""

    stored = UPLOADS


class DatasetRows(Rows[Dataset]):
    """The port `Datasets`."""

    stored = DATASETS

    @property
    def _files(self) -> UploadRows:
        return UploadRows(self.connection)

    def find(self, ref: str) -> Dataset | None:
        """By id or by name."""
        return self.one(_BY_REF, ref=ref)

    def add(self, dataset: Dataset) -> None:
        """Insert; Conflict when the name is in use."""
        with taken(f"a dataset named {dataset.name} already exists", dataset=dataset.name):
            self.insert(dataset)

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

    def abort(self, upload_id: UploadId, at: datetime) -> None:
        """Free the name."""
        self.connection.execute(update(UPLOADS.table).where(_U.id == upload_id).values(aborted_at=at))

    def uploads(self, dataset_id: DatasetId) -> list[Upload]:
        """Oldest first."""
        return self._files.many(_OF_DATASET, dataset=dataset_id)

    def uploads_named(self, filename: str) -> list[tuple[Dataset, Upload]]:
        """In any dataset."""
        uploads = self._files.many(_USABLE.where(_U.name == bindparam("name")), name=filename)
        found = [(self.find(upload.dataset_id), upload) for upload in uploads]
        return [(dataset, upload) for dataset, upload in found if dataset is not None]
