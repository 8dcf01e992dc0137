"""An artifact's or an upload's content as one stretch of bytes: a file as it lies there, a folder as a tar that is made while it is read.

How long it is, and which byte stands where, is known beforehand; so any part of it can be asked for again, and nothing of it is kept
in memory but the names.
"""

import os
import tarfile
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path, PurePosixPath

from domain.errors import Conflict, NotFound, Unavailable
from domain.runs.artifact import DELETED, Artifact
from domain.runs.findings import File, Group, group_of
from domain.runs.run import Run, folder_of
from infra.files.beneath import open_listed, relative
from infra.files.output import OutputFolder

Piece = bytes | File
"""A part of a content: bytes of ours, or a whole file."""


class Content:
    """What one download gives."""

    def __init__(self, name: str, etag: str | None, root: Path, folder: PurePosixPath, pieces: list[Piece]) -> None:
        self.name = name
        """What to call it, as one file."""
        self.etag = etag
        """Names these very bytes; None until their sums are known."""
        self._root = root
        self._folder = folder
        """Below the root; the files' paths are below this one."""
        self._pieces = pieces
        self._ends = list(accumulate(map(_size, pieces)))

    @property
    def size(self) -> int:
        """In bytes."""
        return self._ends[-1] if self._ends else 0

    def read(self, start: int, size: int) -> bytes:
        """Return up to `size` bytes from `start` on, none at the end; Unavailable when a file is not what it was. Blocks on the disk."""
        parts, missing = [], size
        for index in range(bisect_right(self._ends, start), len(self._pieces)):
            if missing <= 0:
                break
            piece = self._pieces[index]
            inside = start - (self._ends[index] - _size(piece))
            part = piece[inside : inside + missing] if isinstance(piece, bytes) else self._read(piece, inside, missing)
            parts.append(part)
            start, missing = start + len(part), missing - len(part)
        return b"".join(parts)

    def _read(self, file: File, start: int, size: int) -> bytes:
        """Read a file that must be what it was when it was listed: opened anew each time, so that nothing stays open for a slow reader."""
        try:
            opened = open_listed(self._root, self._folder / file.path)
        except FileNotFoundError:
            raise _changed(file) from None
        try:
            now = os.fstat(opened)
            found = os.pread(opened, size, start)
        finally:
            os.close(opened)
        if (now.st_size, now.st_mtime) != (file.size, file.modified_at) or len(found) < min(size, file.size - start):
            raise _changed(file)
        return found


def content_of(root: Path, run: Run, artifact: Artifact, path: str | None) -> Content:
    """Find an artifact's bytes below the training directory, those of one file of it where `path` says so. Blocks on the disk.

    Conflict says why it cannot be had here, NotFound that it has no such file, Invalid that the path is no plain one.
    """
    artifact.require_complete()
    if not (root / run.folder).is_dir():
        message = f"the files of run {run.name} are not on this server's disk but on host {run.host}, which does not share its folder"
        raise Conflict(message, artifact=artifact.id, host=run.host)
    group = group_of(OutputFolder(root / run.folder / "output").listing(), artifact.type, artifact.place)
    if group is None:
        raise Conflict(f"{artifact.name} cannot be had any more: {DELETED}", artifact=artifact.id)
    _require_unchanged(artifact, group)
    files = {group.inside(file): file for file in group.files}
    if path is not None or list(files) == ["."]:
        return _one(root, artifact, files, "." if path is None else str(relative(path)))
    stem = f"{run.name}-{artifact.name}".replace("/", "-")
    etag = artifact.sha256 and f"{artifact.sha256}-tar"
    return Content(f"{stem}.tar", etag, root, _output(artifact), list(_tar(stem, files, int(artifact.created_at.timestamp()))))


def content_of_blob(root: Path, stored_name: str, name: str, sha256: str) -> Content:
    """Find uploaded bytes; Conflict when they are not on this disk. Blocks on the disk."""
    try:
        found = (root / stored_name).stat()
    except FileNotFoundError:
        raise Conflict(f"the bytes of {name} are not on this server's disk any more; upload it again", sha256=sha256) from None
    path = PurePosixPath(stored_name)
    file = File(path=path.name, size=found.st_size, modified_at=found.st_mtime)
    return Content(name, sha256, root, path.parent, [file])


def _require_unchanged(artifact: Artifact, group: Group) -> None:
    now = {group.inside(file): file.size for file in group.files}
    if artifact.sha256 and now != {file.path: file.size_bytes for file in artifact.manifest}:
        message = f"{artifact.name} has been changed on the disk since its sums were taken; what is there is not what the run left"
        raise Conflict(message, artifact=artifact.id)


def _one(root: Path, artifact: Artifact, files: dict[str, File], path: str) -> Content:
    if path not in files:
        message = f"{artifact.name} has no file {path}" if "." not in files else f"{artifact.name} is a single file; leave the path out"
        raise NotFound(message, artifact=artifact.id, path=path)
    file = files[path]
    known = next((each.sha256 for each in artifact.manifest if each.path == path), None)
    return Content(PurePosixPath(file.path).name, known, root, _output(artifact), [file])


def _tar(stem: str, files: dict[str, File], at: int) -> Iterator[Piece]:
    """Give the pieces of a tar with a folder `stem`: the same files always make the same bytes, whoever wrote them and when."""
    size = 0
    for path, file in files.items():
        header = tarfile.TarInfo(f"{stem}/{path}")
        header.size, header.mtime = file.size, at
        head, padding = header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"), bytes(-file.size % tarfile.BLOCKSIZE)
        size += len(head) + file.size + len(padding)
        yield from (head, file, padding)
    end = 2 * tarfile.BLOCKSIZE
    yield bytes(end + -(size + end) % tarfile.RECORDSIZE)


def _output(artifact: Artifact) -> PurePosixPath:
    return PurePosixPath(folder_of(artifact.run_id), "output")


def _size(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else piece.size


def _changed(file: File) -> Unavailable:
    return Unavailable(f"{file.path} has changed while it was read")
