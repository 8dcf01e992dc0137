"""The GPUs of a machine: by the driver where there is one, else by the settings.

There is no driver where these tests run. What it would answer is played by functions in the place of NVML's own: those are
NVIDIA's, not ours, and what they answer is written down in their documentation.
"""

import logging
from types import SimpleNamespace
from typing import Any

import pynvml  # type: ignore[import-untyped]  # NVIDIA ships no types
import pytest

from domain.hosts.gpu import SeenGpu
from infra.gpus import Gpus

GIB = 1024**3


class Driver:
    """What NVML answers: whole GPUs by number, and the slices of those that are cut."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, units: dict[str, str], cut: dict[int, list[str]] | None = None) -> None:
        self.units = units
        """Type by uuid, in the driver's order; those of slices too, which are no GPUs by themselves."""
        self.cut = cut or {}
        self.opened = 0
        self.mute: dict[str, int] = {}
        """NVML's error by uuid; "" for all."""
        self.whole = [uuid for uuid in units if not uuid.startswith("MIG-")]
        for name, answer in {
            "nvmlInit": self.init,
            "nvmlShutdown": self.shutdown,
            "nvmlDeviceGetCount": lambda: len(self.whole),
            "nvmlDeviceGetHandleByIndex": lambda number: self.whole[number],
            "nvmlDeviceGetHandleByUUID": self.told,
            "nvmlDeviceGetUUID": self.told,
            "nvmlDeviceGetName": lambda uuid: self.units[self.told(uuid)],
            "nvmlDeviceGetMemoryInfo": lambda uuid: self.told(uuid) and SimpleNamespace(total=80 * GIB, used=20 * GIB),
            "nvmlDeviceGetUtilizationRates": self.rates,
            "nvmlDeviceGetMigMode": self.mig_mode,
            "nvmlDeviceGetMaxMigDeviceCount": lambda _: 7,
            "nvmlDeviceGetMigDeviceHandleByIndex": self.slice,
        }.items():
            monkeypatch.setattr(pynvml, name, answer)

    def init(self) -> None:
        self.told("")
        self.opened += 1

    def shutdown(self) -> None:
        self.opened -= 1

    def told(self, uuid: str) -> str:
        error = self.mute.get(uuid) or self.mute.get("")
        if error:
            raise pynvml.NVMLError(error)
        return uuid

    def rates(self, uuid: str) -> Any:
        if uuid.startswith("MIG-"):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return self.told(uuid) and SimpleNamespace(gpu=37, memory=5)

    def mig_mode(self, uuid: str) -> list[int]:
        if "V100" in self.units[uuid]:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        on = int(self.whole.index(uuid) in self.cut)
        return [on, on]

    def slice(self, uuid: str, number: int) -> str:
        slices = self.cut[self.whole.index(uuid)]
        if number >= len(slices):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return slices[number]


def test_without_a_driver_there_are_as_many_as_the_settings_say(caplog: pytest.LogCaptureFixture) -> None:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        pass
    else:
        pynvml.nvmlShutdown()
        pytest.skip("this machine has a driver")

    with Gpus(2, "A100") as gpus:
        assert [SeenGpu(number=0, type="A100"), SeenGpu(number=1, type="A100")] == gpus.seen()
    with Gpus(None, "A100") as gpus:
        assert [] == gpus.seen()
    assert [] == caplog.records


def test_the_driver_says_which_there_are_and_how_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(monkeypatch, {"GPU-a": "NVIDIA H100 80GB HBM3", "GPU-b": "Tesla V100-SXM2-16GB"})

    with Gpus(9, "set") as gpus:
        assert [
            SeenGpu(
                number=0, uuid="GPU-a", type="NVIDIA H100 80GB HBM3", memory_bytes=80 * GIB, utilization=0.37, memory_used_bytes=20 * GIB
            ),
            SeenGpu(
                number=1, uuid="GPU-b", type="Tesla V100-SXM2-16GB", memory_bytes=80 * GIB, utilization=0.37, memory_used_bytes=20 * GIB
            ),
        ] == gpus.seen()
        assert 1 == driver.opened

    assert 0 == driver.opened


def test_a_count_of_zero_hides_what_the_driver_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(monkeypatch, {"GPU-a": "NVIDIA A100-SXM4-40GB"})

    with Gpus(0, "set") as gpus:
        assert [] == gpus.seen()
    assert 0 == driver.opened


def test_a_driver_without_gpus_leaves_it_to_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(monkeypatch, {})

    with Gpus(1, "set") as gpus:
        assert [SeenGpu(number=0, type="set")] == gpus.seen()
        assert 0 == driver.opened


def test_a_gpu_in_mig_mode_counts_as_its_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    a100, slice_ = "NVIDIA A100-SXM4-40GB", "NVIDIA A100-SXM4-40GB MIG 3g.20gb"
    Driver(monkeypatch, {"GPU-a": a100, "GPU-b": a100, "MIG-x": slice_, "MIG-y": slice_}, cut={0: ["MIG-x", "MIG-y"]})

    with Gpus(None, "set") as gpus:
        seen = gpus.seen()

    assert [(0, "MIG-x", slice_, None), (1, "MIG-y", slice_, None), (2, "GPU-b", a100, 0.37)] == [
        (gpu.number, gpu.uuid, gpu.type, gpu.utilization) for gpu in seen
    ]


def test_a_gpu_that_is_lost_hides_only_how_busy_it_is(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    driver = Driver(monkeypatch, {"GPU-a": "H100", "GPU-b": "H100"})

    with Gpus(None, "set") as gpus:
        driver.mute = {"GPU-a": pynvml.NVML_ERROR_GPU_IS_LOST}
        seen = [gpus.seen() for _ in range(3)]

    assert [[("GPU-a", 80 * GIB, None, None), ("GPU-b", 80 * GIB, 0.37, 20 * GIB)]] * 3 == [
        [(gpu.uuid, gpu.memory_bytes, gpu.utilization, gpu.memory_used_bytes) for gpu in each] for each in seen
    ]
    assert ["NVIDIA's driver does not answer (GPU is lost): how busy its GPUs are is unknown until it does"] == caplog.messages


def test_a_driver_that_breaks_is_told_of_once_and_asked_until_it_answers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    driver = Driver(monkeypatch, {"GPU-a": "H100", "GPU-b": "H100"})

    with Gpus(None, "set") as gpus:
        driver.mute = {"": pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH}
        broken = [gpus.seen() for _ in range(3)]
        driver.mute = {}
        well = [gpus.seen() for _ in range(2)]
        assert 1 == driver.opened

    assert [[("GPU-a", None), ("GPU-b", None)]] * 3 == [[(gpu.uuid, gpu.utilization) for gpu in each] for each in broken]
    assert [[("GPU-a", 0.37), ("GPU-b", 0.37)]] * 2 == [[(gpu.uuid, gpu.utilization) for gpu in each] for each in well]
    assert ["WARNING", "INFO"] == [record.levelname for record in caplog.records]
    assert 0 == driver.opened


def test_a_driver_that_is_broken_at_the_start_is_told_of(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    driver = Driver(monkeypatch, {"GPU-a": "H100"})
    driver.mute = {"": pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH}

    with Gpus(2, "set") as gpus:
        assert ["set", "set"] == [gpu.type for gpu in gpus.seen()]
    assert 1 == len(caplog.records)
