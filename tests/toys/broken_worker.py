"""A toy standing in for a worker with a defect.

The function that the environment's DEFECT names (`module:name`) raises while the file DEFECT_WHILE exists: an error of the disk
if there is anything in it, else one that nobody foresaw.
"""

import errno
import importlib
import os
import runpy
from pathlib import Path

from workers import faults

SECRET = "13800138000"
"""What the error itself says; it may be anybody's data."""


def _break(module: str, name: str, while_: Path) -> None:
    target = importlib.import_module(module)
    real = getattr(target, name)

    def broken(*given: object, **more: object) -> object:
        if while_.exists():
            raise OSError(errno.EIO, os.strerror(errno.EIO)) if while_.read_text() else RuntimeError(SECRET)
        return real(*given, **more)

    setattr(target, name, broken)


if __name__ == "__main__":
    module, _, name = os.environ["DEFECT"].partition(":")
    _break(module, name, Path(os.environ["DEFECT_WHILE"]))
    faults.PAUSE = 0.05
    runpy.run_module("workers", run_name="__main__", alter_sys=True)
