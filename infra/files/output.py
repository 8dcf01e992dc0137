"""A run's output folder on this machine's disk, looked at while the trainer writes there.

Files appear, grow and vanish meanwhile, and that is no error. Symbolic links are never followed, neither by a listing nor by a read,
so a trainer cannot make us show what is outside its folder.
"""

import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from domain.runs.artifact import ArtifactType, Look
from domain.runs.checkpoint import Verdict, judge, judge_weights
from domain.runs.findings import File, recognise

MAX_FILES = 20_000
"""A listing ends here. Folders near the top come first, so what is left out lies deep."""

_READ_ONLY = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
# A file may have been swapped for a pipe, which would block until somebody writes to it.
_FILE = _READ_ONLY | os.O_NONBLOCK
_FOLDER = _READ_ONLY | os.O_DIRECTORY


class OutputFolder:
    """A folder, or part of one, as `domain.runs.checkpoint.Folder` asks for it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.whole = True
        """Whether the last listing showed all there is: what it lacks is then gone."""

    def files(self) -> dict[str, int]:
        """Return each regular file below with its size in bytes."""
        return {file.path: file.size for file in self.listing()}

    def listing(self) -> list[File]:
        """Return the regular files below, at most `MAX_FILES`; nothing where there is no folder."""
        listing: list[File] = []
        waiting, self.whole = deque([""]), True
        while waiting and len(listing) < MAX_FILES:
            folder = waiting.popleft()
            for name, seen in self._entries(folder):
                if stat.S_ISDIR(seen.st_mode):
                    waiting.append(f"{folder}{name}/")
                elif stat.S_ISREG(seen.st_mode):
                    listing.append(File(f"{folder}{name}", seen.st_size, seen.st_mtime))
        self.whole = self.whole and len(listing) < MAX_FILES
        return listing[:MAX_FILES]

    def _entries(self, folder: str) -> Iterator[tuple[str, os.stat_result]]:
        try:
            with os.scandir(self.path / folder) as entries:
                for entry in entries:
                    # Names that are not UTF-8, or that a line of text could not show, are no trainer's.
                    if entry.name.isprintable():
                        with suppress(FileNotFoundError):
                            yield entry.name, entry.stat(follow_symlinks=False)
        except OSError as error:
            # A folder below may go while it is listed; the folder itself is ours, and a disk that fails shows nothing of what is there.
            self.whole = self.whole and bool(folder) and isinstance(error, FileNotFoundError)

    def read(self, path: str, start: int, size: int) -> bytes:
        """Return up to `size` bytes of a regular file; none when it is gone, forbidden, or reached through a link."""
        try:
            file = _open(self.path, path)
        except OSError:
            return b""
        try:
            return _read(file, start, size)
        finally:
            os.close(file)

    def judge(self, kind: ArtifactType, folder: str, files: dict[str, int]) -> Verdict:
        """Judge these files of one folder below as what they were recognised to be."""
        part = _Part(self, folder, files)
        return judge(part) if kind is ArtifactType.checkpoint else judge_weights(part)


class _Part:
    """Some files of one folder below, as they were listed."""

    def __init__(self, whole: OutputFolder, folder: str, files: dict[str, int]) -> None:
        self._whole = whole
        self._folder = folder
        self._files = files

    def files(self) -> dict[str, int]:
        return self._files

    def read(self, path: str, start: int, size: int) -> bytes:
        return self._whole.read(path if self._folder == "." else f"{self._folder}/{path}", start, size)


def scan(path: Path) -> Look:
    """Return what a run has left in its output folder so far, each with whether it is complete."""
    output = OutputFolder(path)
    findings = recognise(output.listing(), output.judge)
    return Look(findings=findings, root=path.as_uri(), whole=output.whole)


def _open(root: Path, path: str) -> int:
    """Open a file one component at a time, each below the one before, so that no link anywhere in the path is followed."""
    *folders, name = path.split("/")
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for folder in folders:
            below = os.open(folder, _FOLDER, dir_fd=here)
            os.close(here)
            here = below
        return os.open(name, _FILE, dir_fd=here)
    finally:
        os.close(here)


def _read(file: int, start: int, size: int) -> bytes:
    if not stat.S_ISREG(os.fstat(file).st_mode):
        return b""
    pieces: list[bytes] = []
    with suppress(OSError):
        while size > 0 and (piece := os.pread(file, size, start)):
            pieces.append(piece)
            start += len(piece)
            size -= len(piece)
    return b"".join(pieces)
