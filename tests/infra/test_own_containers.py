"""Which GPUs a container of an attempt's own is given, and what they are called inside."""

import pytest

from domain.processes.ports import Spec
from infra.executors.own import Own, renumbered


@pytest.mark.parametrize(
    ("given", "asked", "inside"),
    [
        ("GPU-8a5b,GPU-11ce", ["GPU-8a5b", "GPU-11ce"], "GPU-8a5b,GPU-11ce"),
        ("2,5", ["2", "5"], "0,1"),
    ],
)
def test_the_given_gpus_are_asked_for_and_found_inside(given: str, asked: list[str], inside: str) -> None:
    spec = _spec({"CUDA_VISIBLE_DEVICES": given, "A": "b"})

    requests = _requests(spec)

    assert [{"DeviceIDs": asked, "Capabilities": [["gpu"]]}] == requests
    assert {"CUDA_VISIBLE_DEVICES": inside, "A": "b"} == renumbered(spec).env


@pytest.mark.parametrize("env", [{}, {"CUDA_VISIBLE_DEVICES": ""}])
def test_without_gpus_none_are_asked_for(env: dict[str, str]) -> None:
    spec = _spec(env)

    assert [] == _requests(spec)
    assert env == renumbered(spec).env


def _requests(spec: Spec) -> list[dict[str, object]]:
    requests: list[dict[str, object]] = Own(image="any", mounts=[]).describe(spec, "/run")["HostConfig"]["DeviceRequests"]
    return requests


def _spec(env: dict[str, str]) -> Spec:
    return Spec(process_id="prc_1", attempt=1, argv=["true"], env=env, cwd="/")
