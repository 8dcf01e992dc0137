"""What people may do to a dataset: register it, add, replace and take back files, look into its history, delete it.

Who changes the files of a dataset holds its row, so versions are numbered without a gap and a name is never given twice.
"""

from typing import Any, Protocol

from msgspec.structs import replace

from domain.database import Transaction
from domain.datasets.dataset import Dataset, DatasetCreateRequest, DatasetVersion, Deidentified, FileChange, Upload
from domain.datasets.ports import HasDatasets
from domain.errors import Conflict, NotFound
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
    return _known(tx.datasets.find(ref), ref)


def files(tx: Tx, ref: str) -> tuple[Dataset, list[Upload]]:
    """A dataset with its usable files, oldest first."""
    dataset = get(tx, ref)
    return dataset, tx.datasets.uploads(dataset.id)


def list_datasets(tx: Tx, page: Page) -> Listing[tuple[Dataset, list[Upload]]]:
    """Datasets with their files, newest first."""
    found = tx.datasets.page(page)
    return Listing([(dataset, tx.datasets.uploads(dataset.id)) for dataset in found.items], found.total)


def versions(tx: Tx, ref: str, page: Page) -> Listing[DatasetVersion]:
    """Return the history of a dataset, newest first."""
    return tx.datasets.versions(get(tx, ref).id, page)


def version(tx: Tx, ref: str, number: int) -> tuple[DatasetVersion, list[Upload]]:
    """One version with the files it held; NotFound when there has been no such version."""
    dataset = get(tx, ref)
    found = tx.datasets.version(dataset.id, number)
    if found is None:
        message = f"dataset {dataset.name} has no version {number}; its newest is {dataset.version}"
        raise NotFound(message, dataset=dataset.id)
    return found, tx.datasets.uploads_at(dataset.id, number)


def file(tx: Tx, ref: str, upload_id: str) -> Upload:
    """Return a file of any version of a dataset; NotFound when there is none, Conflict when it was taken back and its bytes may be gone."""
    dataset = get(tx, ref)
    upload = tx.datasets.upload(UploadId(upload_id))
    if upload is None or upload.dataset_id != dataset.id:
        message = f"dataset {dataset.name} has no file with the upload_id {upload_id}"
        raise NotFound(message, upload=upload_id)
    if upload.gone:
        raise Conflict(upload.gone, upload=upload_id)
    return upload


def add_file(tx: Tx, ref: str, kept: Kept) -> Upload:
    """Give uploaded bytes a name in a dataset; sending the same bytes again is the same upload."""
    dataset = _held(tx, ref)
    present = require_free(tx, dataset, kept.name, kept.sha256)
    return present or _filed(tx, dataset, kept, None)


def replace_file(tx: Tx, ref: str, kept: Kept) -> Upload:
    """Do the same, in the place of a file of that name: it stays readable in the versions that held it, and in the runs that pinned it."""
    dataset = _held(tx, ref)
    present = _named(tx, dataset, kept.name)
    return present if present and present.sha256 == kept.sha256 else _filed(tx, dataset, kept, present)


def deidentified(tx: Tx, dataset_id: DatasetId, made: list[tuple[UploadId, Kept, Deidentified]]) -> Dataset:
    """Put what personal data was taken out of in the place of the files that it was made from.

    Conflict, and nothing has changed, when one of them was taken back or replaced meanwhile: what is there now nobody has looked at.
    """
    dataset = _held(tx, dataset_id)
    present = {each.id: each for each in tx.datasets.uploads(dataset.id)}
    if gone := [kept.name for upload_id, kept, _ in made if upload_id not in present]:
        message = f"{', '.join(gone)} of dataset {dataset.name} was taken back or replaced meanwhile; order it again for what is there now"
        raise Conflict(message, dataset=dataset.id)
    for upload_id, kept, how in made:
        old = present[upload_id]
        if kept.sha256 == old.sha256:
            tx.datasets.save_upload(replace(old, deidentified=how))
            record(tx, "upload.found_clean", old.id, dataset=dataset.id, policy=how.policy_id, revision=how.policy_revision)
        else:
            _filed(tx, dataset, kept, old, how)
            dataset = _held(tx, dataset_id)
    return dataset


def require_free(tx: Tx, dataset: Dataset, name: str, sha256: str | None) -> Upload | None:
    """Return the very file if the dataset has it already; Conflict when it has another one of that name."""
    present = _named(tx, dataset, name)
    if present is None or present.sha256 == sha256:
        return present
    message = (
        f"dataset {dataset.name} already has another file {name}; replace it deliberately (?replace=true), abort upload {present.id} "
        "first, or choose another name"
    )
    raise Conflict(message, upload=present.id)


def abort(tx: Tx, upload_id: UploadId) -> Upload:
    """Take a file's name back at once; the bytes stay for the runs that pinned them. Repeating it changes nothing."""
    upload = tx.datasets.upload(upload_id)
    dataset = tx.datasets.lock(upload.dataset_id) if upload else None
    upload = tx.datasets.upload(upload_id)
    if upload is None or dataset is None:
        message = f"there is no upload {upload_id}"
        raise NotFound(message, upload=upload_id)
    if upload.aborted_at is None:
        removed_in = upload.removed_in or _next(tx, dataset, FileChange.removed, upload)
        tx.datasets.save_upload(replace(upload, removed_in=removed_in, aborted_at=tx.now))
        record(tx, "upload.aborted", upload.id, dataset=dataset.id, name=upload.name, version=removed_in)
    return upload


def delete(tx: Tx, ref: str) -> Dataset:
    """Delete a dataset with its files and history; Conflict, naming them, while projects or living runs use it."""
    dataset = _held(tx, ref)
    present = tx.datasets.uploads(dataset.id)
    names = {upload.name for upload in present}
    users = [use for use in tx.datasets.uses() if dataset.named_by(use.reference, names)]
    if users:
        projects = sorted({use.project for use in users if use.run is None})
        runs = sorted({f"{use.project}/{use.run}" for use in users if use.run is not None})
        by = [f"project {', '.join(projects)}"] * bool(projects) + [f"run {', '.join(runs)}"] * bool(runs)
        message = (
            f"dataset {dataset.name} is in use by {' and '.join(by)}; give those projects another dataset_name or archive them, "
            "and wait for those runs or cancel them"
        )
        raise Conflict(message, projects=projects, runs=runs)
    tx.datasets.delete(dataset, tx.now)
    record(
        tx, "dataset.deleted", dataset.id, name=dataset.name, version=dataset.version, files={each.name: each.sha256 for each in present}
    )
    return dataset


def _filed(tx: Tx, dataset: Dataset, kept: Kept, old: Upload | None, how: Deidentified | None = None) -> Upload:
    """Keep a file as the next version of its dataset, in the place of `old`."""
    upload = Upload(
        id=UploadId(new_uuid()),
        dataset_id=dataset.id,
        name=kept.name,
        sha256=kept.sha256,
        stored_name=kept.stored_name,
        bytes=kept.size_bytes,
        uploaded_at=tx.now,
        added_in=dataset.version + 1,
        deidentified=how,
    )
    if old is not None:
        tx.datasets.save_upload(replace(old, removed_in=upload.added_in))
    tx.datasets.add_upload(upload)
    number = _next(tx, dataset, _change(old, how), upload, old)
    told: dict[str, Any] = {"name": upload.name, "bytes": upload.bytes, "sha256": upload.sha256, "version": number}
    record(tx, "upload.added", upload.id, dataset=dataset.id, **told, **({"replaces": old.id} if old else {}))
    return upload


def _change(old: Upload | None, how: Deidentified | None) -> FileChange:
    if how is not None:
        return FileChange.deidentified
    return FileChange.replaced if old else FileChange.added


def _next(tx: Tx, dataset: Dataset, change: FileChange, upload: Upload, old: Upload | None = None) -> int:
    """Write the next version of a dataset that is held; its number."""
    number = dataset.version + 1
    tx.datasets.save(replace(dataset, version=number))
    tx.datasets.add_version(
        DatasetVersion(
            dataset_id=dataset.id,
            number=number,
            change=change,
            name=upload.name,
            upload_id=upload.id,
            replaces=old.id if old else None,
            at=tx.now,
            by=tx.actor,
        )
    )
    return number


def _held(tx: Tx, ref: str) -> Dataset:
    return _known(tx.datasets.lock(ref), ref)


def _known(dataset: Dataset | None, ref: str) -> Dataset:
    if dataset is None:
        message = f"there is no dataset with the id or name {ref}"
        raise NotFound(message, dataset=ref)
    return dataset


def _named(tx: Tx, dataset: Dataset, name: str) -> Upload | None:
    return next((each for each in tx.datasets.uploads(dataset.id) if each.name == name), None)
