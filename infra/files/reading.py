"""A data file as the bytes that were meant: plain, `.gz` and `.zst` are read alike, and what is built to burst is given up.

The name says how a file is packed, as it does to a trainer. Memory stays small whatever the file holds.
"""

import os
import zlib
from collections.abc import Callable
from io import BufferedReader, FileIO, RawIOBase
from pathlib import Path, PurePosixPath
from typing import Protocol

import zstandard
from typing_extensions import Buffer, override

from domain.errors import Invalid
from infra.files.beneath import open_beneath

BATCH = 2**20
"""Bytes asked of the disk at once."""
STEP = 1024
"""Packed bytes unpacked at once: the worst `.zst` makes 32 MiB of them."""
UNREMARKABLE = 64 * 2**20
"""Unpacked bytes that are nobody's attack, however small the file was."""
LARGEST_WINDOW = 2**27
"""Bytes that a `.zst` may look back: what `zstd` itself unpacks unless told otherwise."""


def open_data(root: Path, path: str | PurePosixPath, *, ratio: int) -> BufferedReader:
    """Open a data file below `root` for reading, unpacked when its name ends with `.gz` or `.zst`; the caller closes it.

    FileNotFoundError and Invalid as `open_beneath`. Reading blocks, and is Invalid where the file is not what its name says, was cut
    off, or unpacks to more than `ratio` its size (beyond the first 64 MiB).
    """
    name = PurePosixPath(path).name
    begin = _WAYS.get(PurePosixPath(name.lower()).suffix)
    file: BufferedReader = BufferedReader(FileIO(open_beneath(root, path)), BATCH)
    return BufferedReader(_Unpacked(file, name, begin, ratio), BATCH) if begin else file


class _Piece(Protocol):
    """One member of a `.gz`, one frame of a `.zst`."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


class _Unpacked(RawIOBase):
    """What a packed file holds; pieces that stand one behind the other are one stream, as for `zcat` and `zstdcat`."""

    def __init__(self, file: BufferedReader, name: str, begin: Callable[[], _Piece], ratio: int) -> None:
        self._file = file
        self._name = name
        self._begin = begin
        self._piece = begin()
        self._most = max(UNREMARKABLE, ratio * os.fstat(file.fileno()).st_size)
        self._ratio = ratio
        self._made = 0
        self._ready = memoryview(b"")
        """Unpacked, not yet read."""
        self._rest = b""
        """Packed, behind the end of a piece."""

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Buffer, /) -> int:
        """Fill as much as there is; 0 at the end."""
        while not self._ready and self._step():
            continue
        room = memoryview(buffer).cast("B")
        count = min(len(room), len(self._ready))
        room[:count], self._ready = self._ready[:count], self._ready[count:]
        return count

    @override
    def close(self) -> None:
        self._file.close()
        super().close()

    def _step(self) -> bool:
        """Unpack the next bytes; False at a good end."""
        packed, self._rest = self._rest or self._file.read(STEP), b""
        if self._piece.eof:
            packed = packed.lstrip(b"\0")  # tape drives and some uploaders fill up with zeros
            if packed:
                self._piece = self._begin()
        if not packed:
            if not self._piece.eof:
                raise Invalid(f"{self._name} was cut off after {self._made:,} unpacked bytes; send the whole file.", file=self._name)
            return self._file.peek(1) != b""
        self._unpack(packed)
        return True

    def _unpack(self, packed: bytes) -> None:
        try:
            unpacked = self._piece.decompress(packed)
        except (zlib.error, zstandard.ZstdError) as problem:
            message = f"{self._name} cannot be unpacked after {self._made:,} bytes ({problem}); pack it again, or name it for what it is."
            raise Invalid(message, file=self._name) from None
        self._rest = self._piece.unused_data
        self._ready, self._made = memoryview(unpacked), self._made + len(unpacked)
        if self._made > self._most:
            message = (
                f"{self._name} unpacks to more than {self._ratio} times its size, which no honest data does; send it "
                "unpacked, or let an operator raise TUNEYARD_MAX_UNPACK_RATIO."
            )
            raise Invalid(message, file=self._name)


_WAYS: dict[str, Callable[[], _Piece]] = {
    ".gz": lambda: zlib.decompressobj(wbits=16 + zlib.MAX_WBITS),
    ".zst": lambda: zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW).decompressobj(write_size=2**16),
}
