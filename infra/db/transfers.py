"""Transfers as rows."""

from datetime import datetime

from sqlalchemy import bindparam, delete, select

from domain.ids import DatasetId, TransferId
from domain.transfers.transfer import Transfer
from infra.db.driver import fixed
from infra.db.rows import Rows
from infra.db.tables import TRANSFERS

_C = TRANSFERS.c
_ALL = select(*TRANSFERS.columns)
_BY_ID = fixed(_ALL.where(_C.id == bindparam("key")))
_LOCKED = fixed(_BY_ID.with_for_update())


class TransferRows(Rows[Transfer]):
    """The port `Transfers`."""

    stored = TRANSFERS

    def add(self, transfer: Transfer) -> None:
        """Insert."""
        self.insert(transfer)

    def get(self, transfer_id: TransferId) -> Transfer | None:
        """By id."""
        return self.one(_BY_ID, key=transfer_id)

    def lock(self, transfer_id: TransferId) -> Transfer | None:
        """By id, locked."""
        return self.one(_LOCKED, key=transfer_id)

    def save(self, transfer: Transfer) -> None:
        """Update."""
        self.write(transfer)

    def delete(self, transfer_id: TransferId) -> None:
        """Delete."""
        self.connection.execute(delete(TRANSFERS.table).where(_C.id == transfer_id))

    def of(self, dataset_id: DatasetId) -> list[Transfer]:
        """Oldest first."""
        return self.many(_ALL.where(_C.dataset_id == dataset_id, _C.upload_id.is_(None)).order_by(_C.created_at, _C.id))

    def untouched(self, before: datetime, limit: int) -> list[Transfer]:
        """The oldest first."""
        return self.many(_ALL.where(_C.touched_at < before).order_by(_C.touched_at).limit(limit))
