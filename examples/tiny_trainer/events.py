"""A TensorBoard event file: scalars as protocol buffers, each framed as a TFRecord with masked CRC-32C sums."""

from __future__ import annotations

import os
import socket
import struct
import time
from pathlib import Path
from typing import Self

POLYNOMIAL = 0x82F63B78


def _table() -> list[int]:
    rows = list(range(256))
    for _ in range(8):
        rows = [row >> 1 ^ POLYNOMIAL if row & 1 else row >> 1 for row in rows]
    return rows


TABLE = _table()


class EventFile:
    """An open event file; every step is on disk as soon as it is written."""

    def __init__(self, folder: Path) -> None:
        """Open a new file in the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"events.out.tfevents.{time.time_ns() // 10**9}.{socket.gethostname()}.{os.getpid()}.0"
        self._file = path.open("ab", buffering=0)
        self._write(_bytes(3, b"brain.Event:2"))

    def __enter__(self) -> Self:
        """The file itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Add the values of one step."""
        summary = b"".join(_bytes(1, _bytes(1, name.encode()) + b"\x15" + struct.pack("<f", value)) for name, value in values.items())
        self._write(b"\x10" + _varint(step) + _bytes(5, summary))

    def _write(self, fields: bytes) -> None:
        event = b"\x09" + struct.pack("<d", time.time()) + fields
        length = struct.pack("<Q", len(event))
        self._file.write(length + _masked_crc(length) + event + _masked_crc(event))


def _bytes(field: int, content: bytes) -> bytes:
    return bytes([field << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    return bytes([number]) if number < 1 << 7 else bytes([number & 0x7F | 0x80]) + _varint(number >> 7)


def _masked_crc(content: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in content:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
