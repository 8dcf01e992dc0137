"""What a container is like that is made for one attempt alone: its image, its mounts, its GPUs, and nothing in the way of the training."""

from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from domain.processes.ports import Spec
from infra.executors import hold

LABEL = "tuneyard.process"
DEVICES = "CUDA_VISIBLE_DEVICES"
SHARED_MEMORY_BYTES = 16 * 1024**3
"""Size of /dev/shm: a limit, not a reservation. Data loaders and NCCL pass tensors through it, and the engine's 64 MiB kill them."""


class Own(Struct, frozen=True, kw_only=True):
    """How to make the containers."""

    image: str
    mounts: list[str]
    """`HOST:CONTAINER[:ro]`, the training directory among them."""
    user: str | None = None
    """`uid` or `uid:gid`; unless it is given, the image's own user."""

    def describe(self, spec: Spec, seen: str) -> dict[str, Any]:
        """Return what the engine is to make for this attempt, whose run directory is seen there."""
        host = {
            "Binds": self.mounts,
            "Init": True,  # reaps what the training orphans
            "NetworkMode": "host",  # ranks on several hosts find each other, models are downloaded
            "ShmSize": SHARED_MEMORY_BYTES,
            "DeviceRequests": _requests(spec),
            "LogConfig": {"Type": "none"},
        }
        return {
            "Image": self.image,
            "Entrypoint": ["python3", "-I", "-S", "-c"],
            "Cmd": [Path(hold.__file__).read_text("utf-8"), seen],
            "Labels": {LABEL: spec.process_id, "tuneyard.attempt": str(spec.attempt)},
            "HostConfig": host,
        } | ({"User": self.user} if self.user else {})


def name_of(spec: Spec) -> str:
    """Return the name of the attempt's container: whoever starts it again finds the same."""
    return f"tuneyard-{spec.process_id}-{spec.attempt}"


def renumbered(spec: Spec) -> Spec:
    """Return it as it is inside: there the GPUs that were given by number are the only ones, and counted from 0. UUIDs stay."""
    devices = _devices(spec)
    if not devices or not all(map(str.isdigit, devices)):
        return spec
    return replace(spec, env={**spec.env, DEVICES: ",".join(map(str, range(len(devices))))})


def _requests(spec: Spec) -> list[dict[str, Any]]:
    devices = _devices(spec)
    return [{"DeviceIDs": devices, "Capabilities": [["gpu"]]}] if devices else []


def _devices(spec: Spec) -> list[str]:
    return [device for device in spec.env.get(DEVICES, "").split(",") if device]
