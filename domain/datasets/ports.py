"""What datasets need from the world."""

from datetime import datetime
from typing import Protocol

from domain.datasets.dataset import Dataset, DatasetVersion, Upload, Use
from domain.ids import DatasetId, UploadId
from domain.paging import Listing, Page


class Datasets(Protocol):
    """The datasets and their files."""

    def find(self, ref: str) -> Dataset | None:
        """By id or by name."""
        ...

    def lock(self, ref: str) -> Dataset | None:
        """As `find`, and nobody else changes its files until the transaction ends."""
        ...

    def add(self, dataset: Dataset) -> None:
        """Keep a new one; Conflict when the name is in use."""
        ...

    def save(self, dataset: Dataset) -> None:
        """Keep a changed one."""
        ...

    def delete(self, dataset: Dataset, at: datetime) -> None:
        """Forget it and its history; its files are taken back."""
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

    def save_upload(self, upload: Upload) -> None:
        """Keep a changed file."""
        ...

    def add_version(self, version: DatasetVersion) -> None:
        """Append to the history."""
        ...

    def version(self, dataset_id: DatasetId, number: int) -> DatasetVersion | None:
        """One step of the history."""
        ...

    def versions(self, dataset_id: DatasetId, page: Page) -> Listing[DatasetVersion]:
        """The history, newest first."""
        ...

    def uploads_at(self, dataset_id: DatasetId, number: int) -> list[Upload]:
        """The files that this version held, oldest first; those too that were taken back since."""
        ...

    def uses(self) -> list[Use]:
        """What every project that is not archived, and every run that is not over, names as its dataset."""
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
