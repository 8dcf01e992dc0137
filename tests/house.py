"""A whole house for tests: a real API server and real workers as processes, on a database, a Redis and a folder of their own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, ClassVar, Literal, Protocol, TypeVar

import httpx

from tests.nursery import Child

T = TypeVar("T")

PATIENCE = 20.0
"""Seconds within which anything a test waits for happens, on a busy machine too."""
REPOSITORY = Path(__file__).parent.parent
TERMINAL = ("succeeded", "failed", "cancelled")


def eventually(look: Callable[[], T | Literal[False] | None], *, within: float = PATIENCE) -> T:
    """Return what `look` gives as soon as it is true; AssertionError when it never is."""
    end = time.monotonic() + within
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            message = f"did not happen within {within:g} s; last seen: {found!r}"
            raise AssertionError(message)
        time.sleep(0.02)


def begin(module: str, environment: dict[str, str], cwd: Path, log: IO[bytes]) -> "subprocess.Popen[bytes]":
    """Start it from nothing."""
    command = [sys.executable, "-P", "-m", module]
    return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True, cwd=cwd)


class Begin(Protocol):
    """What starts a part."""

    def __call__(self, module: str, environment: dict[str, str], cwd: Path, log: IO[bytes]) -> "subprocess.Popen[bytes] | Child":
        """Start `python -m <module>` in a session of its own, in this environment and folder; what it says goes to the log."""
        ...


class Part:
    """One process of the house: `python -m <module>` with the house's environment."""

    begin: ClassVar[Begin] = staticmethod(begin)

    def __init__(self, module: str, environment: dict[str, str], log: Path) -> None:
        self._module = module
        self.environment = environment
        self.log = log
        self.process: subprocess.Popen[bytes] | Child | None = None

    def start(self) -> None:
        """Start it in a session of its own."""
        with self.log.open("ab") as log:
            self.process = self.begin(self._module, self.environment, self.log.parent, log)

    def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        return self.end(signal.SIGTERM)

    def kill(self) -> int:
        """End it as a power cut would."""
        return self.end(signal.SIGKILL)

    def end(self, number: int) -> int:
        """Send a signal and wait for the end."""
        assert self.process is not None
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, number)
        return self.process.wait(PATIENCE)


class House:
    """An API and the worker of one host, or of several; `url` answers once `start` has returned."""

    def __init__(self, folder: Path, database_url: str, redis_url: str | None = None, **settings: str) -> None:
        self.folder = folder
        self.training = folder / "training"
        self.scripts = folder / "scripts"
        for each in (self.training, self.scripts):
            each.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = inherited() | {
            "HOST_TRAINING_PATH": str(self.training),
            "TRAINING_DB_URL": database_url,
            "TUNEYARD_PORT": str(self.port),
            "TUNEYARD_EXECUTOR": "local",
            "TUNEYARD_WORKING_DIR": str(self.scripts),
            "TUNEYARD_HOST": "testhost",
            "PYTHON": sys.executable,
            "PYTHONPATH": str(REPOSITORY),
        }
        if redis_url:
            self.environment["REDIS_URL"] = redis_url
        self.environment |= settings
        self.api = Part("api", self.environment, folder / "api.log")
        self.worker = Part("workers", self.environment, folder / "worker.log")
        self._others: list[Part] = []
        headers = {"Authorization": f"Bearer {settings['TUNEYARD_TOKEN']}"} if settings.get("TUNEYARD_TOKEN") else {}
        self.client = httpx.Client(base_url=self.url, timeout=PATIENCE, trust_env=False, headers=headers)

    def start(self) -> "House":
        """Start both parts and wait until the API is ready and the host has registered."""
        self.api.start()
        self.worker.start()
        eventually(self.ready)
        eventually(lambda: any(host["live"] for host in self.client.get("/_internal/health").json()["hosts"]))
        return self

    def another(self, host: str, **settings: str) -> Part:
        """Start the worker of one more host, and wait until it has registered."""
        worker = Part("workers", self.environment | {"TUNEYARD_HOST": host} | settings, self.folder / f"worker-{host}.log")
        self._others.append(worker)
        worker.start()
        eventually(lambda: self.hosts().get(host) == "live")
        return worker

    def hosts(self) -> dict[str, str]:
        """Return the status of every host by its name."""
        return {host["name"]: host["status"] for host in self.ok("GET", "/v1/hosts")}

    def ready(self) -> bool:
        """Whether the API answers and reaches its database."""
        with suppress(httpx.TransportError):
            return self.client.get("/readyz").status_code == 200
        return False

    def close(self) -> None:
        """End all parts, and every training that a test left running."""
        self.client.close()
        parts = [self.worker, *self._others, self.api]
        for part in parts:
            if part.process is not None and part.process.poll() is None:
                part.kill()
        for training in {part.environment["HOST_TRAINING_PATH"] for part in parts}:
            end_trainings(Path(training))

    def project(self, name: str = "项目", *, script: str = "true\n", task_type: str = "sft", **config: Any) -> str:
        """Make a project whose trainings run this bash script (its `$1` is the run's config); its name."""
        (self.scripts / "run_train_full_sft.sh").write_text(script)
        dataset = f"{name}-data"
        self.ok("POST", "/v1/datasets", json={"name": dataset, "task_type": task_type})
        line = '{"messages": [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "您好"}]}\n'
        self.ok("PUT", f"/v1/datasets/{dataset}/files", files={"file": ("train.jsonl", line.encode())})
        body = {"name": name, "dataset_name": f"datasets/{dataset}/train.jsonl", "task_type": task_type, "default_hyperparameters": config}
        self.ok("POST", "/projects", json=body)
        return name

    def launch(self, project: str, **asked: Any) -> str:
        """Launch a run; its name."""
        name: str = self.ok("POST", f"/projects/{project}/runs", json=asked)["name"]
        return name

    def run(self, project: str, run: str) -> dict[str, Any]:
        """Show a run."""
        shown: dict[str, Any] = self.ok("GET", f"/projects/{project}/runs/{run}")
        return shown

    def ended(self, project: str, run: str, *, within: float = PATIENCE) -> dict[str, Any]:
        """Wait for a run's end and show it."""

        def over() -> dict[str, Any] | None:
            shown = self.run(project, run)
            return shown if shown["status"] in TERMINAL else None

        return eventually(over, within=within)

    def lines(self, project: str, run: str) -> list[str]:
        """Return every line of a run's log, page by page."""
        return [item["message"] for item in self.log_items(project, run)]

    def log_items(self, project: str, run: str) -> Iterator[dict[str, Any]]:
        """Give every item of a run's log, page by page."""
        page = 1
        while items := self.ok("GET", f"/projects/{project}/runs/{run}/logs?page={page}&page_size=500")["items"]:
            yield from items
            page += 1

    def ok(self, method: str, path: str, **request: Any) -> Any:
        """Make a call that must succeed; its JSON."""
        answer = self.client.request(method, path, **request)
        assert answer.is_success, answer.text
        return answer.json()


def inherited() -> dict[str, str]:
    """Return the environment without settings of ours: no test depends on who runs it."""
    ours = ("TUNEYARD_", "HOST_TRAINING", "TRAINING_DB", "REDIS_URL", "DOCKER_", "MAX_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def end_trainings(training: Path) -> None:
    """Kill what still lives of the run directories below this folder, by the pids they record."""
    for state in training.glob("*s/*/attempt-*/state.json"):
        recorded = json.loads(state.read_text())
        stat = Path(f"/proc/{recorded['pid']}/stat")
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[19]) == recorded["start_ticks"]:
                os.killpg(recorded["pid"], signal.SIGKILL)
