"""A transfer is a file on its way into a dataset: however often its connection breaks, it goes on where it was."""

from datetime import datetime

from msgspec import Struct

from domain.ids import DatasetId, TransferId, UploadId


class NewTransfer(Struct, frozen=True, kw_only=True):
    """What a client says about a file before it sends the first byte."""

    name: str
    length: int
    """In bytes."""
    replace: bool = False
    """Whether it is to take the place of a file of that name."""
    metadata: str = ""
    """As the client sent it; it may ask for it again."""


class Transfer(Struct, frozen=True, kw_only=True):
    """One file on its way."""

    id: TransferId
    dataset_id: DatasetId
    name: str
    length: int
    received: int = 0
    """Bytes that lie on the disk for certain, from the first on without a gap."""
    replace: bool
    metadata: str
    created_at: datetime
    touched_at: datetime
    """When it was begun, or last came further."""
    upload_id: UploadId | None = None
    """The file that it became."""
