"""Uploaded bytes, kept once under their own SHA-256: a name is metadata, and what was kept never changes.

A file is whole in `blobs/` or not there: it grows in `incoming/`, locked by who writes it, is forced to disk, and then moves. Whatever
interrupts it leaves nothing behind; what a crash leaves in `incoming/` is held by nobody, and is swept by the next server that starts.
"""

import asyncio
import errno
import fcntl
import hashlib
import os
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import TypeVar
from uuid import uuid4

from msgspec import Struct

from domain.errors import Invalid, TooLarge, Unavailable
from domain.files import Kept
from infra.files.beneath import relative, stat_beneath

BATCH = 2**20
"""Bytes gathered on the event loop before a thread hashes and writes them: large enough that the hand-over costs nothing."""
STALE = timedelta(days=1)
"""Nothing that nobody wants rests that long."""

T = TypeVar("T")
R = TypeVar("R")

_SHA256 = re.compile(r"[0-9a-f]{64}")
_EXTENSION = re.compile(r"(?:\.[a-z0-9]+){1,2}")
_LONGEST_EXTENSION = 16
_COMPRESSED = frozenset((".gz", ".bz2", ".xz", ".zst"))
"""Suffixes that say nothing without the one before them."""


class Stored(Struct, frozen=True, kw_only=True):
    """Bytes that are on disk now, whole."""

    sha256: str
    size_bytes: int
    path: Path


class Located(Struct, frozen=True, kw_only=True):
    """A file that somebody laid into the training directory; the size and time pin what a run was launched with."""

    path: Path
    size_bytes: int
    mtime_ns: int


class FileStore:
    """The training directory: `blobs/` and `incoming/` are ours, everything else the operator's."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.blobs = self.root / "blobs"
        self.incoming = self.root / "incoming"
        self.blobs.mkdir(parents=True, exist_ok=True)
        self.incoming.mkdir(exist_ok=True)
        self._sweep()

    async def keep(self, chunks: AsyncIterator[bytes], *, limit: int, name: str) -> Stored:
        """Write the chunks to disk as they arrive; TooLarge beyond `limit` bytes, Unavailable on a full disk, and then nothing stays.

        The file takes its place only when `chunks` has ended without an error, so whoever yields them has the last word.
        """
        incoming = _Incoming(self.incoming / f"{uuid4().hex}.part")
        try:
            await _receive(chunks, incoming, limit)
            path = self.path_of(incoming.sha256, name)
            await in_thread(incoming.move_to, path)
            return Stored(sha256=incoming.sha256, size_bytes=incoming.size, path=path)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise Unavailable("The disk of the training directory is full; free some space, then send the file again.") from error
        finally:
            incoming.discard()

    def adopt(self, file: Path, sha256: str, name: str) -> Stored:
        """Keep a whole, synced file of that sum that lies in `incoming/`, and leave it there too: its owner removes it. Blocks."""
        path, beside = self.path_of(sha256, name), self.incoming / f"{uuid4().hex}.placed"
        os.link(file, beside)
        try:
            beside.chmod(0o444)
            os.utime(beside)
            _place(beside, path)
        finally:
            beside.unlink(missing_ok=True)
        return Stored(sha256=sha256, size_bytes=path.stat().st_size, path=path)

    def kept(self, stored: Stored, name: str) -> Kept:
        """Return what is stored as the rules know it, under the caller's name."""
        path = stored.path.relative_to(self.root).as_posix()
        return Kept(name=name, sha256=stored.sha256, stored_name=path, size_bytes=stored.size_bytes)

    def path_of(self, sha256: str, name: str) -> Path:
        """Return where bytes of that sum are or would be kept; of the user's name only a harmless extension is used."""
        if not _SHA256.fullmatch(sha256):
            raise Invalid("A SHA-256 sum is 64 lower-case hexadecimal digits.")
        return self.blobs / sha256[:2] / f"{sha256}{_extension(name)}"

    def find(self, path: str) -> Located | None:
        """Look for a file of the operator's by its relative path; Invalid when the path leads anywhere else."""
        plain = relative(path)
        if plain.parts[0] in (self.blobs.name, self.incoming.name):
            return None
        found = stat_beneath(self.root, plain)
        return None if found is None else Located(path=self.root / plain, size_bytes=found.st_size, mtime_ns=found.st_mtime_ns)

    def _sweep(self) -> None:
        for leftover in self.incoming.glob("*.part"):
            with suppress(FileNotFoundError, BlockingIOError):  # an upload of another process may end meanwhile, or hold it
                file = os.open(leftover, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    leftover.unlink()
                finally:
                    os.close(file)
        oldest = time.time() - STALE.total_seconds()
        for leftover in self.incoming.glob("*.placed"):
            with suppress(FileNotFoundError):
                if leftover.stat().st_ctime < oldest:
                    leftover.unlink()


class _Incoming:
    """A file that grows; its methods block, and no two of them run at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _held(path)
        self._sum = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        return self._sum.hexdigest()

    def write(self, batch: bytearray) -> None:
        self._sum.update(batch)
        self.size += len(batch)
        rest = memoryview(batch)
        while rest:
            rest = rest[os.write(self._file, rest) :]

    def move_to(self, path: Path) -> None:
        """Make the bytes durable, and only then visible; replacing equal bytes heals a blob that a failing disk has spoilt."""
        os.fchmod(self._file, 0o444)
        os.utime(self._file)
        os.fsync(self._file)
        _place(self._path, path)

    def discard(self) -> None:
        os.close(self._file)
        self._path.unlink(missing_ok=True)


def _held(path: Path) -> int:
    """Create a file and hold its lock; again where a sweep was quicker than the lock."""
    while True:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file).st_nlink:
            return file
        os.close(file)


async def _receive(chunks: AsyncIterator[bytes], incoming: _Incoming, limit: int) -> None:
    batch = bytearray()
    async for chunk in chunks:
        batch += chunk
        if incoming.size + len(batch) > limit:
            raise TooLarge(f"The file has more than {limit:,} bytes; nothing of it was kept.", limit_bytes=limit)
        if len(batch) >= BATCH:
            await in_thread(incoming.write, batch)
            batch = bytearray()
    await in_thread(incoming.write, batch)


async def in_thread(work: Callable[[T], R], argument: T) -> R:
    """Run blocking work off the event loop; when cancelled, still wait for it, as a thread cannot be called back."""
    running = asyncio.ensure_future(asyncio.to_thread(work, argument))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        running.exception()  # looked at, so that asyncio does not report it as forgotten
        raise


def _place(file: Path, path: Path) -> None:
    """Move a file to its place and make that durable; its time is when it came there, by which the janitor knows what is young."""
    path.parent.mkdir(exist_ok=True)
    file.replace(path)
    for folder in (path.parent, path.parent.parent):
        _sync(folder)


def _sync(folder: Path) -> None:
    """Make a rename durable, which it is only when its folder is."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _extension(name: str) -> str:
    suffixes = PurePosixPath(name.lower()).suffixes[-2:]
    extension = "".join(suffixes if suffixes[-1:] and suffixes[-1] in _COMPRESSED else suffixes[-1:])
    return extension if _EXTENSION.fullmatch(extension) and len(extension) <= _LONGEST_EXTENSION else ""
