"""Files that arrive in parts: each grows in `incoming/` for as many connections as it takes, and is whole in `blobs/` or not there.

The row says how many bytes count: it is written after they were forced to disk, so what it says is true after any crash, and what lies
behind them in the file is cut off before it goes on. Whoever holds the file's lock may write; one who comes later in the same server
takes over at once, for then the connection of the first is most likely dead.

The sum is taken while the bytes arrive, by a thread that reads behind them; after a restart it begins anew with the first of them.
"""

import asyncio
import errno
import fcntl
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Protocol
from weakref import WeakValueDictionary

from domain.errors import Conflict, DomainError, Locked, NotFound, TooLarge, Unavailable
from domain.ids import TransferId
from domain.transfers import actions
from domain.transfers.transfer import NewTransfer, Transfer
from infra.db.database import Database
from infra.files.store import BATCH, FileStore, in_thread

NOTED = 64 * 2**20
"""Bytes after which they are forced to disk and counted: what a crash costs at most."""
PATIENCE = 10.0
"""Seconds that a newcomer waits for the one before to let go: a batch and its commit take far less."""
SUFFIX = ".arriving"


class Check(Protocol):
    """Judges the bytes of one connection."""

    def update(self, batch: bytes, /) -> None:
        """Take these in."""
        ...

    def require_equal(self) -> None:
        """Damaged when they are not what was sent."""
        ...


class Arriving:
    """The files on their way to this store."""

    def __init__(self, store: FileStore, *, most_bytes: int) -> None:
        self.store = store
        self.most_bytes = most_bytes
        self._seats = WeakValueDictionary[TransferId, asyncio.Lock]()
        self._cuts: dict[TransferId, asyncio.Timeout] = {}
        self._sums: dict[TransferId, _Sum] = {}

    async def begin(self, db: Database, ref: str, asked: NewTransfer) -> Transfer:
        """Expect a file; TooLarge beyond the limit, Unavailable when the disk has no room for it."""
        if asked.length > self.most_bytes:
            message = f"{asked.name} has {asked.length:,} bytes; at most {self.most_bytes:,} are taken (TUNEYARD_MAX_FILE_BYTES)"
            raise TooLarge(message, limit_bytes=self.most_bytes)
        free = shutil.disk_usage(self.store.root).free
        if asked.length > free:
            raise Unavailable(
                f"{asked.name} has {asked.length:,} bytes and the disk of the training directory {free:,} free; free some space."
            )
        return await db.run(actions.begin, ref, asked)

    @asynccontextmanager
    async def held(self, db: Database, ref: str, transfer_id: str) -> AsyncIterator["Arrival"]:
        """Hold one for oneself; NotFound when it is not expected any more, Locked when another server is at it."""
        transfer = await db.read(actions.get, ref, transfer_id)
        if transfer.upload_id is not None:
            yield Arrival(self, db, transfer, None)
            return
        async with self._seat(transfer.id):
            file = self._open(transfer)
            try:
                transfer = await db.read(actions.get, ref, transfer_id)
                yield Arrival(self, db, await self._true(db, transfer, file), file)
            except NotFound:
                self.drop(TransferId(transfer_id))
                raise
            finally:
                os.close(file)

    def drop(self, transfer_id: TransferId) -> None:
        """Remove what has come of it."""
        self._sums.pop(transfer_id, None)
        self.path_of(transfer_id).unlink(missing_ok=True)

    def path_of(self, transfer_id: TransferId) -> Path:
        """Return where it grows."""
        return self.store.incoming / f"{transfer_id}{SUFFIX}"

    def sum_of(self, transfer_id: TransferId) -> "_Sum":
        """Return the sum of what has come, or one that begins."""
        return self._sums.setdefault(transfer_id, _Sum(self.path_of(transfer_id)))

    @asynccontextmanager
    async def interruptible(self, transfer_id: TransferId) -> AsyncIterator[None]:
        """Let whoever comes later end what is awaited here; Locked when somebody did."""
        try:
            async with asyncio.timeout(None) as cut:
                self._cuts[transfer_id] = cut
                try:
                    yield
                finally:
                    del self._cuts[transfer_id]
        except TimeoutError:
            raise Locked("another connection goes on with this upload", transfer=transfer_id) from None

    @asynccontextmanager
    async def _seat(self, transfer_id: TransferId) -> AsyncIterator[None]:
        """Be the only one of this server."""
        seat = self._seats.setdefault(transfer_id, asyncio.Lock())
        if cut := self._cuts.get(transfer_id):
            cut.reschedule(asyncio.get_running_loop().time())
        try:
            await asyncio.wait_for(seat.acquire(), PATIENCE)
        except TimeoutError:
            raise Locked("another connection is writing this upload; try again in a moment", transfer=transfer_id) from None
        try:
            yield
        finally:
            seat.release()

    def _open(self, transfer: Transfer) -> int:
        """Open the file and lock it against other servers of this folder."""
        access = os.O_RDWR if transfer.received < transfer.length else os.O_RDONLY
        file = os.open(self.path_of(transfer.id), access | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise Locked("another server is writing this upload; try again in a moment", transfer=transfer.id) from None
        return file

    async def _true(self, db: Database, transfer: Transfer, file: int) -> Transfer:
        """Return the transfer as its file bears it out: bytes that a disk has lost must come again."""
        size = os.fstat(file).st_size
        if size >= transfer.received:
            return transfer
        self._sums.pop(transfer.id, None)
        return await db.run(actions.note, transfer.id, size)


class Arrival:
    """One file on its way, held."""

    def __init__(self, arriving: Arriving, db: Database, transfer: Transfer, file: int | None) -> None:
        self.transfer = transfer
        self._arriving = arriving
        self._db = db
        self._file = file
        """None when all has come and is one of the dataset's files."""
        self._written = transfer.received

    async def receive(self, offset: int, chunks: AsyncIterator[bytes], check: Check | None) -> None:
        """Take bytes from `offset` on; what came counts however the connection ends, unless `check` wanted all of it.

        Conflict when they do not begin where the last ones ended, TooLarge when they are too many, Damaged when they are not those
        that were sent, Unavailable on a full disk, Locked when another connection takes over.
        """
        if offset != self.transfer.received:
            message = f"{self.transfer.name} has {self.transfer.received} bytes here; go on from there, not from {offset}"
            raise Conflict(message, offset=self.transfer.received)
        if self._file is None or self.transfer.received == self.transfer.length:
            return
        os.truncate(self._file, self.transfer.received)
        try:
            await self._receive(chunks, check)
        except DomainError:
            if check is None:
                await self._note()
            raise
        if check is not None:
            check.require_equal()
        await self._note()

    async def finish(self) -> bool:
        """Make it one of the dataset's files once all has come; whether that was done now. Conflict when its name is taken."""
        transfer = self.transfer
        if self._file is None or transfer.received < transfer.length:
            return False
        store, path = self._arriving.store, self._arriving.path_of(transfer.id)
        digest = await self._arriving.sum_of(transfer.id).whole(transfer.length)
        stored = await in_thread(lambda name: store.adopt(path, digest, name), transfer.name)
        self.transfer = await self._db.run(actions.end, transfer.id, store.kept(stored, transfer.name))
        self._arriving.drop(transfer.id)
        return True

    async def _receive(self, chunks: AsyncIterator[bytes], check: Check | None) -> None:
        batch = bytearray()
        try:
            async with self._arriving.interruptible(self.transfer.id):
                async for chunk in chunks:
                    batch += chunk
                    if self._written + len(batch) > self.transfer.length:
                        batch.clear()
                        raise TooLarge(
                            f"more bytes came than the {self.transfer.length} that were announced", limit_bytes=self.transfer.length
                        )
                    if len(batch) >= BATCH:
                        ready, batch = batch, bytearray()
                        await self._write(ready, check)
                    if check is None and self._written - self.transfer.received >= NOTED:
                        await self._note()
        except DomainError:
            await self._write(batch, check)
            raise
        await self._write(batch, check)

    async def _write(self, batch: bytearray, check: Check | None) -> None:
        """Append; a batch counts only when all of it was written."""
        if check is not None:
            await in_thread(check.update, bytes(batch))
        try:
            await in_thread(self._append, batch)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise Unavailable("The disk of the training directory is full; free some space, then go on.") from error
        self._written += len(batch)

    def _append(self, batch: bytearray) -> None:
        rest, place = memoryview(batch), self._written
        while rest:
            count = os.pwrite(self._descriptor, rest, place)
            rest, place = rest[count:], place + count

    async def _note(self) -> None:
        """Force what was written to disk, count it, and let the sum go on."""
        await in_thread(os.fsync, self._descriptor)
        self.transfer = await self._db.run(actions.note, self.transfer.id, self._written)
        self._arriving.sum_of(self.transfer.id).follow(self._written)

    @property
    def _descriptor(self) -> int:
        assert self._file is not None, "what is complete takes no more bytes"  # noqa: S101 - a promise of ours to ourselves
        return self._file


class _Sum:
    """The sum of a growing file, taken behind those who write it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sum = sha256()
        self._summed = 0
        self._size = 0
        self._task: asyncio.Task[None] | None = None

    def follow(self, size: int) -> None:
        """Sum up to here, in the background; these bytes never change any more."""
        self._size = size
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._go_on())

    async def whole(self, size: int) -> str:
        """Return the sum once it is that of all bytes."""
        before = -1
        while before < self._summed < size:
            before = self._summed
            self.follow(size)
            if self._task is not None:
                await asyncio.shield(self._task)
        if self._summed < size:
            raise Unavailable(f"the file has only {self._summed:,} of {size:,} bytes any more; ask for the offset again")
        return self._sum.hexdigest()

    async def _go_on(self) -> None:
        with suppress(FileNotFoundError):  # it was given up
            await in_thread(self._read, self._path)

    def _read(self, path: Path) -> None:
        with path.open("rb", buffering=0) as file:
            file.seek(self._summed)
            while self._summed < self._size:
                batch = file.read(min(BATCH, self._size - self._summed))
                if not batch:
                    return
                self._sum.update(batch)
                self._summed += len(batch)
