"""The GPUs of this machine, as NVIDIA's driver shows them, or as many as a setting says where there is no driver.

Which there are is read once, when the worker starts; how busy they are at each heartbeat. A driver that breaks midway hides only
that: what runs on the GPUs goes on, and so does their host.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import pynvml  # type: ignore[import-untyped]  # NVIDIA ships no types
from msgspec.structs import replace

from domain.hosts.gpu import SeenGpu

log = logging.getLogger("tuneyard.gpus")

_ERRORS: Any = pynvml
"""Its kinds of errors are made when it is imported, so that no type checker knows them."""
_NO_DRIVER = (_ERRORS.NVMLError_LibraryNotFound, _ERRORS.NVMLError_DriverNotLoaded)
"""What a machine without NVIDIA's driver answers; anything else is worth a word."""
_NOT_TOLD = (_ERRORS.NVMLError_NotSupported, _ERRORS.NVMLError_NotFound, _ERRORS.NVMLError_NoPermission)
"""What a healthy driver answers when it has no such figure or part: a slice of a GPU has no utilization of its own."""


SPARE_BYTES = 1 << 30
"""So much of a GPU's memory may be in use by nobody: drivers keep some for themselves."""


class Gpus:
    """The GPUs of this machine from now on; to be closed."""

    def __init__(self, count: int | None, type_: str) -> None:
        """`count` of them, of this type, where no driver shows any; 0 hides those there are."""
        self._open = False
        self._broken = False
        self._handles: list[Any] = []
        self._gpus = [] if count == 0 else self._by_driver()
        if not self._gpus:
            self.close()
            self._gpus = [SeenGpu(number=number, type=type_) for number in range(count or 0)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the driver."""
        self._handles = []
        if self._open:
            self._open = False
            with suppress(pynvml.NVMLError):
                pynvml.nvmlShutdown()

    def seen(self) -> list[SeenGpu]:
        """Return them all, with how busy each is at the moment, as far as the driver says. Never raises, and takes microseconds."""
        errors: list[pynvml.NVMLError] = []
        if self._broken and not self._handles:
            self._again(errors)
        gpus = (
            [_measured(gpu, handle, errors) for gpu, handle in zip(self._gpus, self._handles, strict=True)] if self._handles else self._gpus
        )
        if errors and len(errors) >= len(self._handles):
            self.close()  # nothing answers: the next heartbeat asks a driver that may be a new one
        self._tell(errors)
        return gpus

    def memory_held(self, devices: list[str]) -> str | None:
        """Say, in words, what memory of these devices is in use though no living process has it; None when there is none, or no driver."""
        for gpu, handle in zip(self._gpus, self._handles, strict=False):
            if str(gpu.uuid or gpu.number) not in devices:
                continue
            with suppress(pynvml.NVMLError):
                if pynvml.nvmlDeviceGetComputeRunningProcesses(handle):
                    continue  # somebody else's: all that was ours is verified dead
                used = int(pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2).used)
                if used > SPARE_BYTES:
                    return f"{used / 2**30:.1f} GiB of GPU {gpu.number} are still in use though no process has them; see nvidia-smi"
        return None

    def _by_driver(self) -> list[SeenGpu]:
        try:
            pynvml.nvmlInit()
            self._open = True
            self._handles = [unit for number in range(pynvml.nvmlDeviceGetCount()) for unit in _units(number)]
            return [_identified(number, handle) for number, handle in enumerate(self._handles)]
        except pynvml.NVMLError as error:
            if not isinstance(error, _NO_DRIVER):
                log.warning("NVIDIA's driver does not tell which GPUs there are (%s)", error)
            return []

    def _again(self, errors: list[pynvml.NVMLError]) -> None:
        """Find the same GPUs once more; after some have gone, their numbers would be others."""
        try:
            pynvml.nvmlInit()
            self._open = True
            self._handles = [pynvml.nvmlDeviceGetHandleByUUID(gpu.uuid) for gpu in self._gpus]
        except pynvml.NVMLError as error:
            errors.append(error)
            self.close()

    def _tell(self, errors: list[pynvml.NVMLError]) -> None:
        if errors and not self._broken:
            log.warning("NVIDIA's driver does not answer (%s): how busy its GPUs are is unknown until it does", errors[0])
        if self._broken and not errors:
            log.info("NVIDIA's driver answers again")
        self._broken = bool(errors)


def _units(number: int) -> list[Any]:
    """Return what a process can be given of a GPU: all of it, or in MIG mode each of the slices that it is cut into."""
    handle = pynvml.nvmlDeviceGetHandleByIndex(number)
    mode = _told(pynvml.nvmlDeviceGetMigMode, handle)
    if mode is None or mode[0] == pynvml.NVML_DEVICE_MIG_DISABLE:
        return [handle]
    most = pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)
    slices = [_told(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, each) for each in range(most)]
    return [each for each in slices if each is not None]


def _identified(number: int, handle: Any) -> SeenGpu:  # noqa: ANN401 - NVML's own handle
    memory = _told(pynvml.nvmlDeviceGetMemoryInfo, handle)
    return SeenGpu(
        number=number,
        uuid=pynvml.nvmlDeviceGetUUID(handle),
        type=pynvml.nvmlDeviceGetName(handle),
        memory_bytes=memory and memory.total,
    )


def _measured(gpu: SeenGpu, handle: Any, errors: list[pynvml.NVMLError]) -> SeenGpu:  # noqa: ANN401 - NVML's own handle
    try:
        rates = _told(pynvml.nvmlDeviceGetUtilizationRates, handle)
        memory = _told(pynvml.nvmlDeviceGetMemoryInfo, handle)
    except pynvml.NVMLError as error:
        errors.append(error)
        return gpu
    return replace(gpu, utilization=rates and rates.gpu / 100, memory_used_bytes=memory and memory.used)


def _told(ask: Callable[..., Any], *about: Any) -> Any:  # noqa: ANN401 - whatever NVML has to say
    """Return what the driver answers; None where it has no answer to give."""
    try:
        return ask(*about)
    except _NOT_TOLD:
        return None
