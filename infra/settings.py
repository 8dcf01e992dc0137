"""Every setting, from the environment: the documents' names where a document names one, the rest with a `TUNEYARD_` prefix."""

import os
import re
import shlex
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct, field

from domain.deployments.vllm import require_command
from domain.errors import Invalid

LAST_PORT = 65535
DEFAULT_TRAINING_PATH = "/data1/qwen2.5-14bxxxx"


class SettingsError(Exception):
    """A setting cannot be used; the message says which, why, and what works."""


class Settings(Struct, frozen=True, kw_only=True):
    """All that can be set. `tuneyard up` fills in what an all-in-one start needs."""

    database_url: str = field(default="sqlite:///./training.db", name="TRAINING_DB_URL")
    """Where the rows live: `sqlite:///file` or any PostgreSQL URL."""
    redis_url: str | None = field(default=None, name="REDIS_URL")
    """The bell. Without it everything still works; a host then notices work within one sweep."""
    training_path: str = field(default=DEFAULT_TRAINING_PATH, name="HOST_TRAINING_PATH")
    """The training directory: uploads, the operator's own files, and a folder per run."""
    container_training_path: Annotated[str, Meta(pattern="^/")] | None = field(default=None, name="TUNEYARD_CONTAINER_TRAINING_PATH")
    """Where the training directory is mounted in the training container; at the same path unless set."""
    docker_host: str = field(default="unix:///var/run/docker.sock", name="DOCKER_HOST")
    """The docker engine's own socket; trainings need the files of this machine, so a remote engine is of no use."""
    docker_container: str = field(default="qwen2.5-14b-instruct_xpytorch_full_sft", name="DOCKER_CONTAINER_NAME")
    """The running container that trainings are started in."""
    docker_working_dir: str = field(default="KTIP_Release_2.1.0/train/llm", name="DOCKER_WORKING_DIR")
    """Where a training in a container starts; a relative one lies below the container's own working directory."""
    docker_user: Annotated[str, Meta(pattern=r"^\d+(:\d+)?$")] | None = field(default=None, name="TUNEYARD_DOCKER_USER")
    """`uid` or `uid:gid` that trainings run as in the container; the container's own user unless set."""
    docker_mode: Literal["exec", "run"] = field(default="exec", name="TUNEYARD_DOCKER_MODE")
    """`exec` into the running container, or `run`: a container of its own for every training."""
    docker_image: str | None = field(default=None, name="TUNEYARD_DOCKER_IMAGE")
    """The image of those containers."""
    docker_mounts: str = field(default="", name="TUNEYARD_DOCKER_MOUNTS")
    """What else they see of this host: `HOST:CONTAINER` or `HOST:CONTAINER:ro`, separated by commas."""
    max_small_file_bytes: Annotated[int, Meta(ge=0)] = field(default=64 * 1024 * 1024, name="MAX_SMALL_FILE_BYTES")
    max_yaml_bytes: Annotated[int, Meta(ge=0)] = field(default=1024 * 1024, name="MAX_YAML_BYTES")
    max_file_bytes: Annotated[int, Meta(ge=0)] = field(default=256 * 1024**3, name="TUNEYARD_MAX_FILE_BYTES")
    """Of a resumable upload."""
    upload_expiry_seconds: Annotated[float, Meta(gt=0)] = field(default=7 * 24 * 3600.0, name="TUNEYARD_UPLOAD_EXPIRY_SECONDS")
    """How long a resumable upload is kept that comes no further."""
    blob_grace_seconds: Annotated[float, Meta(ge=0)] = field(default=24 * 3600.0, name="TUNEYARD_BLOB_GRACE_SECONDS")
    """How long uploaded bytes stay on the disk that no dataset, no config and no run needs any more."""
    max_unpack_ratio: Annotated[int, Meta(ge=1)] = field(default=100, name="TUNEYARD_MAX_UNPACK_RATIO")
    """How many times its own size a `.gz` or `.zst` file may hold, beyond its first 64 MiB: text holds 3 to 20 times."""
    token: str | None = field(default=None, name="TUNEYARD_TOKEN")
    """The bearer token that every call must show; required when the server listens beyond loopback."""
    bind: str = field(default="127.0.0.1", name="TUNEYARD_BIND")
    """The address the API listens on."""
    port: Annotated[int, Meta(ge=1, le=65535)] = field(default=8000, name="TUNEYARD_PORT")
    start_command: str = field(default="bash run_train_full_sft.sh <training_yaml>", name="TUNEYARD_START_COMMAND")
    """Template of the training's command, split as a shell splits words; `<training_yaml>` becomes the run's own config."""
    serve_command: str = field(default="vllm", name="TUNEYARD_SERVE_COMMAND")
    """vLLM's program on the hosts; or, with `<model>` and `<port>` in it, the whole command line of another server that speaks its API."""
    executor: Literal["docker", "local"] = field(default="docker", name="TUNEYARD_EXECUTOR")
    """`docker` (docker exec into the configured container) or `local` (a process of this machine; what `tuneyard up` uses)."""
    working_dir: str | None = field(default=None, name="TUNEYARD_WORKING_DIR")
    """Where a local training starts; the training directory unless set."""
    url: str = field(default="http://127.0.0.1:8000", name="TUNEYARD_URL")
    """Where workers and the command line reach the API; a worker needs it when it does not share the training folder."""
    host: Annotated[str, Meta(pattern=r"^[\w.-]+$")] = field(default_factory=socket.gethostname, name="TUNEYARD_HOST")
    """The name of this host, as plain as a file's; no two machines may share one."""
    address: str = field(default="127.0.0.1", name="TUNEYARD_ADDRESS")
    """Where the API reaches what is deployed on this host."""
    slots: Annotated[int, Meta(ge=0)] = field(default=8, name="TUNEYARD_SLOTS")
    """How many trainings may live on this host at once."""
    deployment_ports: Annotated[str, Meta(pattern=r"^\d{1,5}-\d{1,5}$")] = field(default="8200-8299", name="TUNEYARD_DEPLOYMENT_PORTS")
    """The ports of this host that deployments are given: the first and the last."""
    deployment_start_seconds: Annotated[float, Meta(gt=0)] = field(default=900.0, name="TUNEYARD_DEPLOYMENT_START_SECONDS")
    """How long a model may take to load before it counts as one that never will."""
    deployment_grace_seconds: Annotated[float, Meta(ge=0, le=3600)] = field(default=30.0, name="TUNEYARD_DEPLOYMENT_GRACE_SECONDS")
    """How long a deployment that is stopped may take to finish its requests."""
    deployment_retry_seconds: Annotated[float, Meta(gt=0)] = field(default=5.0, name="TUNEYARD_DEPLOYMENT_RETRY_SECONDS")
    """How long a server that ended waits before it is started again; twice as long each time, up to five minutes."""
    health_seconds: Annotated[float, Meta(gt=0)] = field(default=5.0, name="TUNEYARD_HEALTH_SECONDS")
    """How often a deployment is asked whether it is well."""
    probe_seconds: Annotated[float, Meta(gt=0)] = field(default=30.0, name="TUNEYARD_PROBE_SECONDS")
    """How often a deployment is asked for one token, and how long that may take: an engine that hangs says that it is well."""
    gpus: Annotated[int, Meta(ge=0)] | None = field(default=None, name="TUNEYARD_GPUS")
    """How many GPUs this host has, where no NVIDIA driver tells; 0 hides those it has."""
    gpu_type: str = field(default="GPU", name="TUNEYARD_GPU_TYPE")
    """What to call them, where no driver tells: `resources.gpu_type` of a run asks for it."""
    retry_seconds: Annotated[float, Meta(ge=0)] = field(default=10.0, name="TUNEYARD_RETRY_SECONDS")
    """How long a run waits for its second attempt after a failure of the infrastructure; four times as long for the third."""
    grace_seconds: Annotated[float, Meta(ge=0, le=3600)] = field(default=60.0, name="TUNEYARD_GRACE_SECONDS")
    """How long a cancelled training may take to save and leave by itself before it is killed."""
    policies: str | None = field(default=None, name="TUNEYARD_POLICIES")
    """A folder of de-identification policies (YAML) besides those that come with Tuneyard; one of the same id takes the place of ours."""
    deid_keys: str | None = field(default=None, name="TUNEYARD_DEID_KEYS")
    """The keys of de-identification, `name:64 hexadecimal digits`, the current one first, separated by commas."""
    deid_key_file: str | None = field(default=None, name="TUNEYARD_DEID_KEY_FILE")
    """A file with the keys, one a line, that only its owner may read (mode 0600)."""
    sweep_seconds: Annotated[float, Meta(gt=0)] = field(default=2.5, name="TUNEYARD_SWEEP_SECONDS")
    """How often a host looks for work by itself: with a lost bell a run still starts within three seconds."""
    lease_seconds: Annotated[float, Meta(gt=0)] = field(default=15.0, name="TUNEYARD_LEASE_SECONDS")
    """How long a silent worker still speaks for its host; after that another of the same machine may take over."""

    @property
    def ports(self) -> range:
        """Those that deployments are given."""
        first, _, last = self.deployment_ports.partition("-")
        return range(int(first), int(last) + 1)


SECRET = frozenset({"TUNEYARD_TOKEN", "TUNEYARD_DEID_KEYS"})
_FIELDS = {each.encode_name: each for each in msgspec.structs.fields(Settings)}


def load(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings; SettingsError names the variable that cannot be read."""
    given = {name: environment[name] for name in _FIELDS if environment.get(name)}
    for name in environment:
        if name.startswith("TUNEYARD_") and name not in _FIELDS and name not in CLIENT_ONLY:
            message = f"there is no setting {name}; known are {', '.join(sorted(_FIELDS))}"
            raise SettingsError(message)
    try:
        settings = msgspec.convert(given, Settings, strict=False)
    except msgspec.ValidationError as wrong:
        message = f"a setting cannot be read: {wrong}"
        raise SettingsError(message) from None
    _require_words(settings.start_command)
    if not settings.ports or settings.ports[0] < 1 or settings.ports[-1] > LAST_PORT:
        message = f"TUNEYARD_DEPLOYMENT_PORTS {settings.deployment_ports} is no range of ports, such as 8200-8299"
        raise SettingsError(message)
    try:
        require_command(settings.serve_command)
    except Invalid as wrong:
        message = f"TUNEYARD_SERVE_COMMAND {wrong.detail}"
        raise SettingsError(message) from None
    return msgspec.structs.replace(settings, training_path=str(Path(settings.training_path).absolute()))


def _require_words(start_command: str) -> None:
    try:
        words = shlex.split(start_command)
    except ValueError as wrong:
        message = f"TUNEYARD_START_COMMAND cannot be split into words ({wrong}): {start_command}"
        raise SettingsError(message) from None
    if not words:
        message = "TUNEYARD_START_COMMAND is empty; leave it out for the documented one"
        raise SettingsError(message)


CLIENT_ONLY = frozenset({"TUNEYARD_PYTHON", "TUNEYARD_FAILPOINT"})
"""Variables that are no settings: the command line client's, and the tests'."""


def masked(text: str) -> str:
    """Return a URL or message without the password in it, also where the URL is not quite one."""
    hidden = re.sub(r"(^|//)([^:/@\s]*):(?!//)\S*@", r"\1\2:***@", text)
    return re.sub(r"([?&]password=)[^&\s]*", r"\1***", hidden)


def shown(settings: Settings) -> list[str]:
    """Return each setting as `NAME=value`, secrets masked: what is printed at start."""
    values = msgspec.to_builtins(settings)
    return [
        f"{name}={'***' if name in SECRET and values[name] else masked(str(values[name] if values[name] is not None else ''))}"
        for name in _FIELDS
    ]
