"""Paths and file names from outside: only plain ones pass, and they are opened step by step beneath their root.

No symbolic link is followed below the root, wherever it leads; the root itself is the operator's and may be one.
"""

import errno
import os
import re
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from domain.errors import Invalid

LONGEST_NAME = 255
"""Bytes of UTF-8 that Linux file systems keep for one name."""
LONGEST_PATH = 4095
"""Bytes; the kernel's own limit."""

_INVISIBLE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""Unicode categories of what a person does not see: control characters, direction marks, surrogates, line separators."""
_ENCODED = re.compile(r"%(?:25)*(?:00|2e|2f|5c)", re.IGNORECASE)
"""A dot, a slash, a backslash or a NUL that some later reader might decode, however often it was encoded."""
_STEP = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Without O_NONBLOCK, opening a pipe that someone laid there would wait for its writer."""


def relative(path: str) -> PurePosixPath:
    """Return a path that can only lead downwards; Invalid says what is wrong with it."""
    if not path:
        raise Invalid("The path is empty; give one relative to the training directory.")
    if path.startswith("/"):
        raise Invalid(f"The path {_shown(path)} is absolute; give one relative to the training directory.")
    for name in path.split("/"):
        if reason := _wrong_with(name):
            raise Invalid(f"The path {_shown(path)} cannot be used: {reason}.")
    if len(path.encode()) > LONGEST_PATH:
        raise Invalid(f"The path {_shown(path)} is longer than {LONGEST_PATH} bytes; shorten it.")
    return PurePosixPath(path)


def file_name(name: str) -> str:
    """Return the name of an uploaded file, which must be one plain component; Invalid says what is wrong with it."""
    reason = "a file name holds no '/'" if "/" in name else _wrong_with(name)
    if reason:
        raise Invalid(f"The file name {_shown(name)} cannot be used: {reason}.")
    return name


def open_beneath(root: Path, path: str | PurePosixPath) -> int:
    """Open a regular file for reading and return its descriptor, which the caller closes.

    FileNotFoundError when nothing is there; Invalid when the path is not plain, crosses a symbolic link, or ends at no regular file.
    """
    return open_listed(root, relative(str(path)))


def open_listed(root: Path, path: PurePosixPath) -> int:
    """Do the same for a path that a listing of ours gave: a trainer may call its files what it likes."""
    with _folder_of(root, path) as folder:
        file = _open(path.name, _FILE, folder, path)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise Invalid(f"{_shown(str(path))} is not a regular file; name a file.")
    return file


def stat_beneath(root: Path, path: str | PurePosixPath) -> os.stat_result | None:
    """Return what is known of a regular file, None when nothing is there; Invalid as for `open_beneath`."""
    try:
        file = open_beneath(root, path)
    except FileNotFoundError:
        return None
    try:
        return os.fstat(file)
    finally:
        os.close(file)


def _wrong_with(name: str) -> str | None:
    """Why one component of a path is refused; None when it is plain."""
    reasons = {
        "a component is empty (a '/' too many)": not name,
        "'.' and '..' are not followed": name in (".", ".."),
        "a component ends with a dot": name.endswith("."),
        "a component begins or ends with a space": name != name.strip(),
        "a component begins with '-', which a program would take for an option": name.startswith("-"),
        "it holds a backslash": "\\" in name,
        "it holds an encoded dot, slash or NUL ('%2e' and the like)": bool(_ENCODED.search(name)),
        "it holds an invisible character": any(unicodedata.category(character) in _INVISIBLE for character in name),
        f"a component is longer than {LONGEST_NAME} bytes": len(name.encode(errors="replace")) > LONGEST_NAME,
    }
    return next((reason for reason, wrong in reasons.items() if wrong), None)


def _shown(text: str) -> str:
    """Quoted and short; what is invisible or would turn the direction of writing is shown by its number."""
    return repr(text if len(text) <= 80 else text[:80] + "…")  # noqa: PLR2004 - enough to recognise it


@contextmanager
def _folder_of(root: Path, path: PurePosixPath) -> Iterator[int]:
    """Open the folder that holds the path's last component, one step at a time."""
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in path.parts[:-1]:
            inner = _open(name, _STEP, folder, path)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def _open(name: str, flags: int, folder: int, path: PurePosixPath) -> int:
    try:
        return os.open(name, flags, dir_fd=folder)
    except PermissionError as error:
        raise Invalid(f"{_shown(str(path))} may not be read; give the server's user the right to read it.") from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR) and stat.S_ISLNK(os.lstat(name, dir_fd=folder).st_mode):
            raise Invalid(f"{_shown(str(path))} crosses a symbolic link at {_shown(name)}; lay the file itself there.") from error
        if error.errno == errno.ENOTDIR:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from error
        if error.errno == errno.ENXIO:
            raise Invalid(f"{_shown(str(path))} is not a regular file; name a file.") from error
        raise
