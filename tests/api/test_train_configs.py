"""Training configs over HTTP: the documents' one config, and the named collection behind it."""

from pathlib import Path

import httpx
from msgspec.structs import replace

from infra.settings import Settings
from tests.conftest import serving

SFT = b"task_type: sft\nlearning_rate: 2e-5\nnum_train_epochs: 3\n"


async def put(api: httpx.AsyncClient, content: bytes, name: str = "finetune.yaml") -> httpx.Response:
    return await api.put("/v1/train-config", files={"file": (name, content)})


async def test_the_newest_upload_is_the_one_config(api: httpx.AsyncClient) -> None:
    first = await put(api, SFT)
    second = await put(api, SFT, "训练.yml")

    assert {"filename": "finetune.yaml", "size": len(SFT)} == {k: first.json()["train_config"][k] for k in ("filename", "size")}
    assert second.json()["train_config"] == (await api.get("/v1/train-config")).json()
    assert "训练.yml" == second.json()["train_config"]["filename"]


async def test_without_an_upload_there_is_none(api: httpx.AsyncClient) -> None:
    shown = await api.get("/v1/train-config")
    deleted = await api.delete("/v1/train-config")

    assert (404, 404) == (shown.status_code, deleted.status_code)
    assert "PUT a .yaml file" in shown.json()["detail"]


async def test_a_deleted_config_is_gone(api: httpx.AsyncClient) -> None:
    await put(api, SFT)
    await put(api, SFT)

    deleted = await api.delete("/v1/train-config")

    assert {"status": "train_config_deleted"} == deleted.json()
    for address in ("/v1/train-config", "/v1/train-configs/finetune.yaml"):
        assert 404 == (await api.get(address)).status_code
    assert [] == (await api.get("/v1/train-configs")).json()


async def test_every_name_keeps_its_newest_version(api: httpx.AsyncClient) -> None:
    await put(api, SFT)
    await put(api, b"task_type: lora\n")
    await put(api, b"task_type: rl\n", "a.yaml")

    listed = (await api.get("/v1/train-configs")).json()
    named = (await api.get("/v1/train-configs/finetune.yaml")).json()

    assert [("a.yaml", 1), ("finetune.yaml", 2)] == [(each["filename"], each["version"]) for each in listed]
    assert {"task_type": "lora"} == named["values"]
    assert 404 == (await api.get("/v1/train-configs/nope.yaml")).status_code


async def test_numbers_mean_what_yaml_1_2_says(api: httpx.AsyncClient) -> None:
    await put(api, SFT)

    values = (await api.get("/v1/train-configs/finetune.yaml")).json()["values"]

    assert {"task_type": "sft", "learning_rate": 2e-5, "num_train_epochs": 3} == values


async def test_a_file_that_is_not_called_yaml_is_refused(api: httpx.AsyncClient) -> None:
    for name in ("finetune.json", "yaml", "finetune.yaml.txt", "../finetune.yaml"):
        answer = await put(api, SFT, name)

        assert 400 == answer.status_code, name
    assert 404 == (await api.get("/v1/train-config")).status_code


async def test_hostile_yaml_is_refused_with_its_line(api: httpx.AsyncClient) -> None:
    hostile = {
        "line 2": b"a: 1\nb: ]\n",
        "line 3": b"a: 1\nb: 2\nc: !!python/object/apply:os.system [id]\n",
        "line 1": b"a: &a [1]\nb: *a\n",
        "line 4": b"a: 1\nb: 2\nc: 3\na: 4\n",
        "line 5": b"\n\n\n\n" + b"[" * 100_000,
    }

    for line, content in hostile.items():
        answer = await put(api, content)

        assert 400 == answer.status_code
        assert line == answer.json()["errors"][0]["field"], answer.text
        assert line.capitalize() in answer.json()["detail"]
    assert 400 == (await put(api, b"")).status_code
    assert 404 == (await api.get("/v1/train-config")).status_code


async def test_a_yaml_too_large_is_refused_and_nothing_is_kept(settings: Settings) -> None:
    async with serving(replace(settings, max_yaml_bytes=1000)) as api:
        answer = await put(api, b"a: " + b"x" * 1000)

        assert 413 == answer.status_code
        assert [] == [path for path in Path(settings.training_path).rglob("*") if path.is_file()]


async def test_infinity_is_refused_where_it_stands(api: httpx.AsyncClient) -> None:
    refused = await put(api, b"task_type: sft\noptimizer:\n  clip: .inf\n")

    assert 400 == refused.status_code
    assert "optimizer" == refused.json()["errors"][0]["field"]
