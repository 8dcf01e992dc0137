"""Which training folder this is: hosts that see the same id in it share the folder, wherever each has mounted it."""

import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from infra.files.atomic import replace_file

NAME = ".tuneyard-folder"


def folder_id(root: Path) -> str:
    """Return the folder's id, which whoever comes first leaves in it, whole."""
    path, own = root / NAME, root / f"{NAME}.{uuid4().hex}"
    if not path.exists():
        replace_file(own, uuid4().hex.encode())  # on the disk before anyone sees it: two folders with an emptied id would count as one
        with suppress(FileExistsError):
            os.link(own, path)
        own.unlink()
    return path.read_text("ascii")
