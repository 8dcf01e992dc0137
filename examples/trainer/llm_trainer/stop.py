"""A stop on request: a signal, or the file `stop` that the platform leaves in the run directory."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import FrameType

EXIT_CODE = 128 + signal.SIGTERM
"""What a shell says of a program that ended by TERM: nobody takes it for success."""


class Stopped(Exception):
    """The stop came while there was nothing to save."""


class Stop:
    """Knows whether the training was told to stop; before it has begun, and after it has ended, the stop is at once."""

    def __init__(self) -> None:
        directory = os.environ.get("TUNEYARD_RUN_DIRECTORY")
        self._file = Path(directory) / "stop" if directory else None
        self._by: str | None = None
        self.training = False
        """Whether steps are being taken, so that a stop waits for the end of one and a checkpoint is saved."""

    def listen(self) -> None:
        """Hear TERM and INT from now on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._hear)

    @property
    def by(self) -> str | None:
        """What asked to stop: a signal's name or the file; None while nothing did."""
        if self._by is None and self._file is not None and self._file.exists():
            self._by = "stop file"
        return self._by

    def _hear(self, number: int, _: FrameType | None) -> None:
        self._by = signal.Signals(number).name
        if not self.training:
            raise Stopped(self._by)
