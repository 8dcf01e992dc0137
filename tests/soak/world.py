"""A house that can be hurt: PostgreSQL, Redis, an API, and a worker on each of two hosts that share a training folder; all real processes.

What ends though nobody ended it is started again, as systemd would, and written down.
"""

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from infra import embedded
from tests.house import House, Part, eventually
from tests.soak.plan import GPUS, GRACE_SECONDS, HOSTS, LEASE_SECONDS
from tests.soak.record import Record
from tests.soak.servers import BRIEFLY, Postgresql, Redis
from tests.toys import ledger

PROJECT = "浸泡"
TOY = Path(ledger.__file__)
MARKER = b"TUNEYARD_RUN_DIRECTORY="
AT_WORK = (b"is at work (lease", b"Application startup complete")
"""What a worker or an API says once it is."""

WITNESS = """
CREATE TABLE soak_moves (id bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(), kind text, subject text, owner text,
    status text, attempt bigint);
CREATE FUNCTION soak_move() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF TG_TABLE_NAME = 'runs' THEN
        INSERT INTO soak_moves (kind, subject, owner, status, attempt) VALUES ('run', NEW.id, NEW.id, NEW.status, NEW.attempt);
    ELSE
        INSERT INTO soak_moves (kind, subject, owner, status, attempt) VALUES ('process', NEW.id, NEW.owner_id, NEW.phase, NEW.attempt);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER soak_runs AFTER INSERT OR UPDATE ON runs FOR EACH ROW EXECUTE FUNCTION soak_move();
CREATE TRIGGER soak_processes AFTER INSERT OR UPDATE OF phase, attempt ON processes FOR EACH ROW EXECUTE FUNCTION soak_move();
CREATE TABLE soak_grants (id bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(), host text, number bigint,
    before text, after text);
CREATE FUNCTION soak_grant() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO soak_grants (host, number, before, after) VALUES (NEW.host, NEW.number, OLD.holder, NEW.holder);
    RETURN NULL;
END $$;
CREATE TRIGGER soak_gpus AFTER UPDATE OF holder ON gpus FOR EACH ROW
    WHEN (OLD.holder IS DISTINCT FROM NEW.holder) EXECUTE FUNCTION soak_grant();
"""
"""Tables of the soak's own: every change of a run's, a process's and a GPU's row leaves a line here, whoever wrote it."""


class Watched:
    """A part that is started again when it ends by itself; whoever hurts it holds its lock meanwhile."""

    def __init__(self, name: str, part: Part, record: Record) -> None:
        self.name = name
        self.lock = threading.RLock()
        self.part = part
        self._record = record
        self._log_from = 0

    def start(self) -> None:
        """Start it."""
        self._log_from = self.part.log.stat().st_size if self.part.log.exists() else 0
        self.part.start()

    def end(self, number: int) -> None:
        """End it, and start it again."""
        with self.lock:
            self.part.end(number)
            self.start()

    def at_work(self) -> bool:
        """Whether it has come so far, and lives."""
        return self.part.process is not None and self.part.process.poll() is None and any(words in self.said() for words in AT_WORK)

    def send(self, number: int) -> None:
        """Send it a signal, if it lives."""
        if self.part.process is not None:
            self.part.process.send_signal(number)

    def tend(self) -> None:
        """Start it again if it has ended by itself, and write that down."""
        if not self.lock.acquire(blocking=False):
            return
        try:
            code = self.part.process.poll() if self.part.process else None
            if code is None:
                return
            said = self.said()
            if not any(words in said for words in AT_WORK):  # as it may be, while its host is spoken for or the database is away
                self._record.refused[
                    f"{self.name}, code {code}: {said.splitlines()[-1][-150:].decode(errors='replace') if said else ''}"
                ] += 1
            else:
                self._record.exits.append(f"{self.name} ended by itself with code {code}: {said[-400:].decode(errors='replace')}")
            self.start()
        finally:
            self.lock.release()

    def said(self) -> bytes:
        """Return the log of its present life."""
        with self.part.log.open("rb") as log:
            log.seek(self._log_from)
            return log.read()


class World:
    """All of it."""

    def __init__(self, folder: Path, postgresql: Postgresql, redis: Redis, record: Record) -> None:
        self.folder = folder
        self.record = record
        self.postgresql = postgresql
        self.redis = redis
        self.ledger = folder / "ledger"
        settings = {
            "TUNEYARD_GPUS": str(GPUS),
            "TUNEYARD_LEASE_SECONDS": str(LEASE_SECONDS),
            "TUNEYARD_SWEEP_SECONDS": "0.5",
            "TUNEYARD_RETRY_SECONDS": "0.2",
            "TUNEYARD_GRACE_SECONDS": str(GRACE_SECONDS),
        }
        # What a frozen worker holds locked, PostgreSQL lets go after ten seconds; beside leases of three that is long.
        url = f"{postgresql.url}&options={quote('-c idle_in_transaction_session_timeout=2s')}"
        self.house = House(folder, url, redis.url, **settings)
        self.house.environment |= {"TUNEYARD_HOST": HOSTS[0]}
        self.api = Watched("API", self.house.api, record)
        self.workers = {host: Watched(host, self.worker(host), record) for host in HOSTS}
        self._closing = threading.Event()
        self._tending = threading.Thread(target=self._tend, name="tending")

    def worker(self, host: str, log: str = "") -> Part:
        """Return a worker of that host, not started."""
        return Part("workers", self.house.environment | {"TUNEYARD_HOST": host}, self.folder / f"worker-{host}{log}.log")

    def open(self) -> None:
        """Start everything, a witness in the database and a project included."""
        self.api.start()
        eventually(self.house.ready, within=BRIEFLY)
        self.postgresql.tell(WITNESS)
        for worker in self.workers.values():
            worker.start()
        eventually(self.all_live, within=BRIEFLY)
        self.house.project(PROJECT, script=f"exec \"$PYTHON\" -S '{TOY}' '{self.ledger}' \"$1\"\n")
        self._tending.start()

    def all_live(self) -> bool:
        """Whether both hosts have a worker."""
        with suppress(Exception):
            hosts = self.house.ok("GET", "/_internal/health")["hosts"]
            return {host["name"] for host in hosts if host["live"]} == set(HOSTS)
        return False

    def close(self) -> None:
        """End everything that was started here, trainings and what they left included."""
        self._closing.set()
        if self._tending.ident:
            self._tending.join()
        for part in (self.api, *self.workers.values()):
            if part.part.process is not None and part.part.process.poll() is None:
                part.part.kill()
        self.house.close()
        for pid in self.trainings():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def trainings(self) -> dict[int, str]:
        """Return what lives of any training here: its pid, and its run directory."""
        found = {}
        marker = MARKER + os.fsencode(self.house.training)
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (place / "environ").read_bytes().split(b"\0")
                directory = next((word for word in words if word.startswith(marker)), None)
                if directory and (place / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                    found[int(place.name)] = directory.decode().partition("/training/")[2]
        return found

    def _tend(self) -> None:
        while not self._closing.wait(0.2):
            for part in (self.api, *self.workers.values()):
                part.tend()


@contextmanager
def a_world(record: Record) -> Iterator[World]:
    """Give an open world, and end all of it, whatever happens."""
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        rows = folder / "postgresql"
        rows.mkdir()
        folder.chmod(0o755)  # PostgreSQL runs as a user of its own, who must be able to pass
        with embedded.postgresql(rows) as server:
            redis = Redis(folder / "redis")
            world = World(folder / "house", Postgresql(rows, server), redis, record)
            try:
                world.open()
                yield world
            except Exception:
                sys.stderr.write(_last_words(folder / "house"))
                raise
            finally:
                world.close()
                redis.kill()


def _last_words(folder: Path) -> str:
    return "\n".join(f"{log.name}: …{log.read_text(errors='replace')[-1500:]}" for log in folder.glob("*.log"))
