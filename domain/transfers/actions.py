"""What clients may do to a transfer: begin it, bring it further, end it as a file of its dataset, give it up.

Who ends one holds its row first, then its dataset's; so it becomes one file, however often it is ended.
"""

from datetime import timedelta
from typing import Protocol

from msgspec.structs import replace

from domain.datasets import actions as datasets
from domain.datasets.dataset import Upload
from domain.errors import NotFound
from domain.events.actions import record
from domain.files import Kept
from domain.ids import TransferId, new_uuid
from domain.transfers.ports import HasTransfers
from domain.transfers.transfer import NewTransfer, Transfer

FORGOTTEN_AT_ONCE = 1_000
"""Rows in one transaction."""


class Tx(datasets.Tx, HasTransfers, Protocol):
    """What the actions on transfers may touch."""


def begin(tx: Tx, ref: str, asked: NewTransfer) -> Transfer:
    """Expect a file; Conflict when its name is taken by another one, which only its size can tell so early."""
    dataset = datasets.get(tx, ref)
    taken = next((each for each in tx.datasets.uploads(dataset.id) if each.name == asked.name), None)
    if taken is not None and taken.bytes != asked.length and not asked.replace:
        datasets.require_free(tx, dataset, asked.name, None)
    transfer = Transfer(
        id=TransferId(new_uuid()),
        dataset_id=dataset.id,
        name=asked.name,
        length=asked.length,
        replace=asked.replace,
        metadata=asked.metadata,
        created_at=tx.now,
        touched_at=tx.now,
    )
    tx.transfers.add(transfer)
    record(tx, "transfer.begun", transfer.id, dataset=dataset.id, name=transfer.name, bytes=transfer.length)
    return transfer


def get(tx: Tx, ref: str, transfer_id: str) -> Transfer:
    """Return a transfer into this dataset; NotFound when there is none, or none any more."""
    return _known(tx, ref, tx.transfers.get(TransferId(transfer_id)), transfer_id)


def under_way(tx: Tx, ref: str) -> list[Transfer]:
    """Return the transfers into a dataset that are not complete, oldest first."""
    return tx.transfers.of(datasets.get(tx, ref).id)


def note(tx: Tx, transfer_id: TransferId, received: int) -> Transfer:
    """Note how many bytes lie on the disk for certain; NotFound when it was given up meanwhile."""
    transfer = tx.transfers.lock(transfer_id)
    if transfer is None:
        raise _unknown(transfer_id)
    transfer = replace(transfer, received=received, touched_at=tx.now)
    tx.transfers.save(transfer)
    return transfer


def end(tx: Tx, transfer_id: TransferId, kept: Kept) -> Transfer:
    """Make the whole file one of its dataset's; Conflict when its name was taken meanwhile. Repeating it changes nothing."""
    transfer = tx.transfers.lock(transfer_id)
    if transfer is None:
        raise _unknown(transfer_id)
    if transfer.upload_id is not None:
        return transfer
    add = datasets.replace_file if transfer.replace else datasets.add_file
    upload: Upload = add(tx, transfer.dataset_id, kept)
    transfer = replace(transfer, upload_id=upload.id, touched_at=tx.now)
    tx.transfers.save(transfer)
    return transfer


def give_up(tx: Tx, ref: str, transfer_id: str) -> Transfer:
    """Forget a transfer; a file that it has become stays."""
    transfer = _known(tx, ref, tx.transfers.lock(TransferId(transfer_id)), transfer_id)
    tx.transfers.delete(transfer.id)
    if transfer.upload_id is None:
        record(tx, "transfer.given_up", transfer.id, dataset=transfer.dataset_id, name=transfer.name, received=transfer.received)
    return transfer


def forget(tx: Tx, older_than: timedelta) -> list[Transfer]:
    """Forget transfers that have not come further for so long, at most a thousand; after a full thousand there may be more."""
    forgotten = tx.transfers.untouched(tx.now - older_than, FORGOTTEN_AT_ONCE)
    for transfer in forgotten:
        tx.transfers.delete(transfer.id)
        if transfer.upload_id is None:
            record(tx, "transfer.expired", transfer.id, dataset=transfer.dataset_id, name=transfer.name, received=transfer.received)
    return forgotten


def unfinished(tx: Tx, transfer_ids: list[str]) -> set[str]:
    """Return those of these that are still expected."""
    known = (tx.transfers.get(TransferId(each)) for each in transfer_ids)
    return {transfer.id for transfer in known if transfer is not None and transfer.upload_id is None}


def _known(tx: Tx, ref: str, transfer: Transfer | None, transfer_id: str) -> Transfer:
    if transfer is None or transfer.dataset_id != datasets.get(tx, ref).id:
        raise _unknown(transfer_id)
    return transfer


def _unknown(transfer_id: str) -> NotFound:
    message = f"there is no upload {transfer_id} under way; it was ended, given up, or too old: begin a new one"
    return NotFound(message, transfer=transfer_id)
