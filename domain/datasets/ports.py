"""What datasets need from the world."""

from datetime import datetime
from typing import Protocol

from domain.datasets.dataset import Dataset, Upload
from domain.ids import DatasetId, UploadId
from domain.paging import Listing, Page


class Datasets(Protocol):
    """The datasets and their files."""

    def find(self, ref: str) -> Dataset | None:
        """By id or by name."""
        ...

    def add(self, dataset: Dataset) -> None:
        """Keep a new one; Conflict when the name is in use."""
        ...

    def page(self, page: Page) -> Listing[Dataset]:
        """Newest first."""
        ...

    def add_upload(self, upload: Upload) -> None:
        """Keep a file; Conflict when the dataset has one of that name already."""
        ...

    def upload(self, upload_id: UploadId) -> Upload | None:
        """A file, aborted or not."""
        ...

    def abort(self, upload_id: UploadId, at: datetime) -> None:
        """Take the name back at once."""
        ...

    def uploads(self, dataset_id: DatasetId) -> list[Upload]:
        """The usable files of a dataset, oldest first."""
        ...

    def uploads_named(self, filename: str) -> list[tuple[Dataset, Upload]]:
        """The usable files of that name in any dataset."""
        ...


class HasDatasets(Protocol):
    """A transaction that reaches datasets."""

    @property
    def datasets(self) -> Datasets:
        """The datasets."""
        ...
