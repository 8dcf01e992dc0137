"""`tuneyard doctor`: a look at everything that Tuneyard needs on this machine, and what to do about what is missing. It changes nothing."""

import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console
from rich.text import Text

from tuneyard import show
from tuneyard.children import module
from tuneyard.client import Client
from tuneyard.connection import TuneyardError, Unreachable

OK, WARNING, FAILURE = "ok", "warning", "failure"
SIGNS = {OK: ("✓", "green"), WARNING: ("!", "yellow"), FAILURE: ("✗", "red")}
PATIENCE = 5.0
"""Seconds for any one program or server to answer."""
ROOMY, TIGHT = 20 << 30, 1 << 30
"""Free bytes: a few checkpoints of a 7B model are tens of GiB; below the second not even a tiny one fits."""


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is, and what to do if it is not well."""

    subject: str
    state: str
    text: str
    fix: str | None = None


def doctor(client: Client, out: Console, *, as_json: bool) -> int:
    """Show every finding; the exit code is 1 when something that is needed is missing."""
    findings = [finding for check in _checks(client) for finding in check()]
    if as_json:
        show.print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            sign, style = SIGNS[finding.state]
            fix = f"\n    → {finding.fix}" if finding.fix else ""
            out.print(Text.assemble((f"{sign} ", style), (f"{finding.subject}: ", "bold"), finding.text, (fix, style)), soft_wrap=True)
    return int(any(finding.state == FAILURE for finding in findings))


def _checks(client: Client) -> list[Callable[[], Iterator[Finding]]]:
    return [_python, _bash, _redis, _training_directory, _database, lambda: _server(client), _docker, _gpus]


def _python() -> Iterator[Finding]:
    yield Finding("python", OK, f"{platform.python_version()} at {sys.executable}")


def _bash() -> Iterator[Finding]:
    if where := shutil.which("bash"):
        yield Finding("bash", OK, where)
    else:
        yield Finding("bash", FAILURE, "the usual start command needs it", "install bash, or set TUNEYARD_START_COMMAND")


def _redis() -> Iterator[Finding]:
    if url := os.environ.get("REDIS_URL"):
        yield _listening("redis", url, 6379)
        return
    code, said = _run(module("infra.embedded", "which"))
    if code == 0:
        yield Finding("redis", OK, f"`tuneyard up` starts {said}")
    else:
        yield Finding("redis", WARNING, "none here: a host then notices work only every few seconds", said)


def _training_directory() -> Iterator[Finding]:
    path = Path(os.environ.get("HOST_TRAINING_PATH") or Path.cwd() / ".tuneyard" / "training")
    there = next(place for place in (path, *path.parents) if place.exists())
    subject = "training directory"
    if not os.access(there, os.W_OK):
        yield Finding(subject, FAILURE, f"{there} cannot be written to", "set HOST_TRAINING_PATH to a folder of yours")
        return
    free = shutil.disk_usage(there).free
    state = OK if free > ROOMY else WARNING if free > TIGHT else FAILURE
    fix = None if state == OK else "make room, or set HOST_TRAINING_PATH to a larger disk: checkpoints are large"
    yield Finding(subject, state, f"{path}, {show.size(free)} free", fix)


def _database() -> Iterator[Finding]:
    url = os.environ.get("TRAINING_DB_URL") or "sqlite:///./training.db"
    if url.startswith("sqlite"):
        yield Finding("database", OK, f"{url}: one machine, no server needed")
    else:
        yield _listening("database", url, 5432)


def _server(client: Client) -> Iterator[Finding]:
    try:
        health = client.health()
    except Unreachable:
        yield _port_for(client.url)
        return
    except TuneyardError as wrong:
        yield Finding("server", FAILURE, f"{client.url} answers, but: {wrong}", "set TUNEYARD_TOKEN, or look into the server's log")
        return
    yield Finding("server", OK, f"{client.url}, database {health['database']}, {health['living']} trainings alive")
    if health["queue"] == "down":
        yield Finding(
            "server's redis", WARNING, "does not answer: hosts notice work only every few seconds", "start it again, or unset REDIS_URL"
        )
    hosts = [host["name"] for host in health["hosts"] if host["live"]]
    if hosts:
        yield Finding("hosts", OK, ", ".join(hosts))
    else:
        yield Finding("hosts", FAILURE, "no worker is alive, so nothing can start", "start one with `tuneyard worker`")


def _port_for(url: str) -> Finding:
    parts = urlsplit(url)
    port = parts.port or 80
    with socket.socket() as probe:
        probe.settimeout(PATIENCE)
        if probe.connect_ex((parts.hostname or "127.0.0.1", port)) == 0:
            return Finding("server", WARNING, f"something else listens at {url}", f"`tuneyard up --port {port + 1}`, and set TUNEYARD_URL")
    return Finding("server", OK, f"none at {url}, and the port is free: `tuneyard up` starts one")


def _docker() -> Iterator[Finding]:
    needed = os.environ.get("TUNEYARD_EXECUTOR") == "docker"
    bad = FAILURE if needed else WARNING
    why = "TUNEYARD_EXECUTOR=docker needs it" if needed else "only needed for trainings in containers"
    if not shutil.which("docker"):
        yield Finding("docker", bad, f"not installed; {why}", "install docker, or use TUNEYARD_EXECUTOR=local")
        return
    code, said = _run(["docker", "version", "--format", "{{.Server.Version}}"])
    if code:
        last = said.splitlines()[-1] if said else f"exit code {code}"
        yield Finding(
            "docker",
            bad,
            f"its engine does not answer ({last}); {why}",
            "start the engine, or check DOCKER_HOST and your rights on its socket",
        )
    else:
        yield Finding("docker", OK, f"engine {said}")


def _gpus() -> Iterator[Finding]:
    if not shutil.which("nvidia-smi"):
        yield Finding("gpus", WARNING, "no nvidia-smi here: trainings run on the CPU", "install the NVIDIA driver if this machine has GPUs")
        return
    code, said = _run(["nvidia-smi", "-L"])
    if code:
        yield Finding("gpus", WARNING, f"nvidia-smi fails: {said}", "check the NVIDIA driver")
    else:
        yield Finding("gpus", OK, f"{len(said.splitlines())}: {said.splitlines()[0] if said else 'none'}")


def _listening(subject: str, url: str, default_port: int) -> Finding:
    """Whether somebody listens where a URL points; a socket file only has to be there."""
    parts = urlsplit(url)
    where = f"{parts.hostname}:{parts.port or default_port}"
    if not parts.hostname:
        return Finding(subject, OK, f"by the socket {parts.path or parts.query}")
    try:
        with socket.create_connection((parts.hostname, parts.port or default_port), PATIENCE):
            return Finding(subject, OK, f"{where} accepts connections")
    except OSError as problem:
        return Finding(subject, FAILURE, f"{where} cannot be reached ({problem})", "start that server, or correct the URL")


def _run(command: list[str]) -> tuple[int, str]:
    """A program's exit code, and what it said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as problem:
        return 1, str(problem)
    return done.returncode, (done.stdout or done.stderr).strip()
