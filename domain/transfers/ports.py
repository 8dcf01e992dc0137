"""What transfers need from the world."""

from datetime import datetime
from typing import Protocol

from domain.ids import DatasetId, TransferId
from domain.transfers.transfer import Transfer


class Transfers(Protocol):
    """The files on their way."""

    def add(self, transfer: Transfer) -> None:
        """Keep a new one."""
        ...

    def get(self, transfer_id: TransferId) -> Transfer | None:
        """By id."""
        ...

    def lock(self, transfer_id: TransferId) -> Transfer | None:
        """As `get`, and nobody else changes it until the transaction ends."""
        ...

    def save(self, transfer: Transfer) -> None:
        """Keep a changed one."""
        ...

    def delete(self, transfer_id: TransferId) -> None:
        """Forget it."""
        ...

    def of(self, dataset_id: DatasetId) -> list[Transfer]:
        """Those of a dataset that are not complete, oldest first."""
        ...

    def untouched(self, before: datetime, limit: int) -> list[Transfer]:
        """Those that have not come further since, complete ones too."""
        ...


class HasTransfers(Protocol):
    """A transaction that reaches transfers."""

    @property
    def transfers(self) -> Transfers:
        """The transfers."""
        ...
