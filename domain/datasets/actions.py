"""What people may do to a dataset: register it, add files, take one back, find a file by its path."""

from typing import Protocol

from domain.database import Transaction
from domain.datasets.dataset import FOLDER, Dataset, DatasetCreateRequest, Upload
from domain.datasets.ports import HasDatasets
from domain.errors import Conflict, Flaw, Invalid, NotFound
from domain.events.actions import record
from domain.events.ports import HasEvents
from domain.files import Kept
from domain.ids import DatasetId, UploadId, new_uuid
from domain.paging import Listing, Page


class Tx(Transaction, HasDatasets, HasEvents, Protocol):
    """What the actions on datasets may touch."""


def create(tx: Tx, asked: DatasetCreateRequest) -> Dataset:
    """Register a dataset; Conflict when the name is in use."""
    dataset = Dataset.born(asked, DatasetId(new_uuid()), tx.now)
    tx.datasets.add(dataset)
    record(tx, "dataset.created", dataset.id, name=dataset.name)
    return dataset


def get(tx: Tx, ref: str) -> Dataset:
    """Return the dataset of that id or name; NotFound otherwise."""
    dataset = tx.datasets.find(ref)
    if dataset is None:
        message = f"there is no dataset with the id or name {ref}"
        raise NotFound(message, dataset=ref)
    return dataset


def files(tx: Tx, ref: str) -> tuple[Dataset, list[Upload]]:
    """A dataset with its usable files, oldest first."""
    dataset = get(tx, ref)
    return dataset, tx.datasets.uploads(dataset.id)


def list_datasets(tx: Tx, page: Page) -> Listing[tuple[Dataset, list[Upload]]]:
    """Datasets with their files, newest first."""
    found = tx.datasets.page(page)
    return Listing([(dataset, tx.datasets.uploads(dataset.id)) for dataset in found.items], found.total)


def add_file(tx: Tx, ref: str, kept: Kept) -> Upload:
    """Give uploaded bytes a name in a dataset; sending the same bytes again is the same upload."""
    dataset = get(tx, ref)
    for present in tx.datasets.uploads(dataset.id):
        if present.name == kept.name:
            if present.sha256 == kept.sha256:
                return present
            message = (
                f"dataset {dataset.name} already has another file {kept.name}; abort upload {present.id} first, or choose another name"
            )
            raise Conflict(message, upload=present.id)
    upload = Upload(
        id=UploadId(new_uuid()),
        dataset_id=dataset.id,
        name=kept.name,
        sha256=kept.sha256,
        stored_name=kept.stored_name,
        bytes=kept.size_bytes,
        uploaded_at=tx.now,
    )
    tx.datasets.add_upload(upload)
    record(tx, "upload.added", upload.id, dataset=dataset.id, name=upload.name, bytes=upload.bytes, sha256=upload.sha256)
    return upload


def abort(tx: Tx, upload_id: UploadId) -> Upload:
    """Take a file's name back at once; the bytes stay for the runs that pinned them. Repeating it changes nothing."""
    upload = tx.datasets.upload(upload_id)
    if upload is None:
        message = f"there is no upload {upload_id}"
        raise NotFound(message, upload=upload_id)
    if upload.aborted_at is None:
        tx.datasets.abort(upload_id, tx.now)
        record(tx, "upload.aborted", upload.id, dataset=upload.dataset_id, name=upload.name)
    return upload


def resolve(tx: Tx, ref: str) -> tuple[Dataset, Upload] | None:
    """The uploaded file that a dataset's id, its name, or a path names; None when no upload goes by it.

    `datasets/<dataset>/<file>` always works, `datasets/<file>` while that is unique; Invalid, with the candidates, when it is not.
    """
    dataset = None if "/" in ref else tx.datasets.find(ref)
    if dataset is not None:
        return _only_file(dataset, tx.datasets.uploads(dataset.id))
    if not ref.startswith(FOLDER):
        return None
    folder, _, filename = ref.removeprefix(FOLDER).rpartition("/")
    if folder:
        dataset = tx.datasets.find(folder)
        found = [u for u in tx.datasets.uploads(dataset.id) if u.name == filename] if dataset else []
        return (dataset, found[0]) if dataset and found else None
    candidates = tx.datasets.uploads_named(filename)
    if len(candidates) > 1:
        paths = [f"{FOLDER}{each.name}/{filename}" for each, _ in candidates]
        message = f"{ref} could be any of {', '.join(paths)}; name the one you mean"
        raise Invalid(message, [Flaw("dataset", message)], candidates=paths)
    return candidates[0] if candidates else None


def _only_file(dataset: Dataset, uploads: list[Upload]) -> tuple[Dataset, Upload] | None:
    if len(uploads) > 1:
        paths = [f"{FOLDER}{dataset.name}/{each.name}" for each in uploads]
        message = f"dataset {dataset.name} has {len(uploads)} files; name one: {', '.join(paths)}"
        raise Invalid(message, [Flaw("dataset", message)], candidates=paths)
    return (dataset, uploads[0]) if uploads else None
