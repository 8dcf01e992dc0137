"""Where everything of one `tuneyard up` lies and listens, decided before anything starts; what cannot work is refused with the fix."""

import contextlib
import os
import secrets
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tuneyard.connection import TuneyardError, is_loopback

EXAMPLES = Path(__file__).parents[1] / "examples"
TRAINER = "run_train_full_sft.sh"


class UpError(TuneyardError):
    """Tuneyard cannot be started like this; the message carries the fix."""


@dataclass(frozen=True)
class Wish:
    """What was asked for on the command line."""

    host: str = "127.0.0.1"
    port: int = 8000
    data: Path | None = None
    verbose: bool = False


@dataclass(frozen=True)
class Plan:
    """Where everything lies, and the environment that tells the parts so."""

    url: str
    home: Path
    """Logs, Redis and the lock."""
    environment: Mapping[str, str]
    note: str | None = None


def home_of(wish: Wish) -> Path:
    """The folder of everything that has no other place; UpError when it cannot be had."""
    home = wish.data.absolute() if wish.data else Path.cwd() / ".tuneyard"
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UpError(f"{home} cannot be used ({problem.strerror}); choose another folder with --data") from problem
    return home


def plan_for(wish: Wish, home: Path, environment: Mapping[str, str]) -> Plan:
    """Decide where everything lies; UpError when it cannot be so."""
    _require_token_beyond_loopback(wish.host, environment)
    port = _free_port(wish.host, wish.port)
    settings = {"HOST_TRAINING_PATH": str(home / "training"), "TUNEYARD_EXECUTOR": "local", "PYTHON": sys.executable}
    if wish.data:
        settings["TRAINING_DB_URL"] = f"sqlite:///{home / 'training.db'}"
    # What is set but empty counts as not set, as the settings have it.
    settings |= {name: value for name, value in environment.items() if value}
    if not settings.keys() & {"TUNEYARD_DEID_KEYS", "TUNEYARD_DEID_KEY_FILE"}:
        settings["TUNEYARD_DEID_KEY_FILE"] = str(_deid_key(home))
    settings |= {"TUNEYARD_BIND": wish.host, "TUNEYARD_PORT": str(port)}
    plan = Plan(f"http://{_reachable(wish.host)}:{port}", home, settings)
    return _with_a_trainer(plan)


def _deid_key(home: Path) -> Path:
    """The file with the key of de-identification, made on the first start; whoever has it can open what was sealed."""
    path = home / "deid.keys"
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"k1:{secrets.token_hex(32)}\n")
    return path


def _with_a_trainer(plan: Plan) -> Plan:
    """A newcomer has no trainer yet; the one in examples/ really trains."""
    environment = plan.environment
    wanted = environment["TUNEYARD_EXECUTOR"] == "local" and not ({"TUNEYARD_WORKING_DIR", "TUNEYARD_START_COMMAND"} & environment.keys())
    tiny = EXAMPLES / "tiny_trainer"
    if not wanted or not (tiny / TRAINER).exists() or Path(environment["HOST_TRAINING_PATH"], TRAINER).exists():
        return plan
    note = f"the training directory has no {TRAINER}, so trainings use the tiny trainer of {tiny}"
    return replace(plan, environment={**environment, "TUNEYARD_WORKING_DIR": str(tiny)}, note=note)


def _require_token_beyond_loopback(host: str, environment: Mapping[str, str]) -> None:
    if environment.get("TUNEYARD_TOKEN") or is_loopback(host):
        return
    raise UpError(
        f"listening on {host} without a token would let anybody on the network run commands here; set one first:\n"
        f"  export TUNEYARD_TOKEN={secrets.token_hex(24)}"
    )


def _free_port(host: str, port: int) -> int:
    """The port, or a free one for 0; UpError when it cannot be listened on."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except socket.gaierror as problem:
        raise UpError(f"{host} is no address of this machine ({problem.strerror}); choose another --host") from problem
    except OSError as problem:
        raise UpError(
            f"port {port} of {host} cannot be used ({problem.strerror}); choose another, such as --port {port + 1}, or --port 0"
        ) from problem


def _reachable(host: str) -> str:
    """Where a client on this machine finds what listens there."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared with, not listened on
    return f"[{host}]" if ":" in host else host
