"""The sums of what a run left: every file of an artifact is read once, where it lies, and stands in its manifest with its sha256.

No manifest is ever wrong: what is read was judged again just before, and has not changed when the last byte is through.
"""

import os
from hashlib import sha256
from pathlib import Path, PurePosixPath
from threading import Event

from domain.runs.artifact import DELETED, Artifact, FileSum, Found, Summed
from domain.runs.findings import group_of
from domain.runs.run import folder_of
from infra.files.beneath import open_listed
from infra.files.output import OutputFolder

BATCH = 2**20
"""Bytes read at once; whoever wants the reading to stop waits for one of them."""


def reckon(root: Path, artifact: Artifact, stop: Event) -> Summed | None:
    """Read an artifact whose run has ended, below the training directory; blocks for as long as that takes, or until `stop` is set.

    None when nothing can be said here and now: it was stopped, a file changed meanwhile, or the run's folder is not on this disk.
    OSError or Invalid when a file cannot be read.
    """
    folder = folder_of(artifact.run_id)
    if not (root / folder).is_dir():
        return None
    output = OutputFolder(root / folder / "output")
    group = group_of(output.listing(), artifact.type, artifact.place)
    if group is None:
        return Summed(missing=DELETED)
    if missing := _missing(group.found(output.judge), artifact):
        return Summed(missing=missing)
    manifest = []
    for file in group.files:
        digest = _sum(root, PurePosixPath(folder, "output", file.path), stop)
        if digest is None:
            return None
        manifest.append(FileSum(path=group.inside(file), size_bytes=file.size, sha256=digest))
    unchanged = group == group_of(output.listing(), artifact.type, artifact.place)
    return Summed(manifest=manifest) if unchanged else None


def _missing(now: Found, registered: Artifact) -> str | None:
    """Say what has gone from it since its run ended; more bytes are no loss, fewer are."""
    if now.missing is not None or now.size_bytes >= registered.size_bytes:
        return now.missing
    return f"it has {now.size_bytes} bytes where {registered.size_bytes} were left when the run ended"


def _sum(root: Path, path: PurePosixPath, stop: Event) -> str | None:
    """Return a file's sum; None when it was stopped."""
    digest, batch = sha256(), memoryview(bytearray(BATCH))
    with os.fdopen(open_listed(root, path), "rb", buffering=0) as file:
        while count := file.readinto(batch):
            if stop.is_set():
                return None
            digest.update(batch[:count])
    return digest.hexdigest()
