"""Training configs over HTTP: the documents' one config, and the named collection behind it."""

import time
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


async def test_every_version_of_a_config_can_be_read_and_compared(api: httpx.AsyncClient) -> None:
    texts = [
        b"# one\nlearning_rate: 2e-5\nepochs: 1\nopt: {name: adam, betas: [0.9, 0.99]}\ngone: 1\n",
        b"# two\nlearning_rate: 0.00002\nepochs: 1.0\nopt: {name: adamw, betas: [0.9, 0.99]}\nnew: x",
    ]
    for text in texts:
        await put(api, text)

    versions = (await api.get("/v1/train-configs/finetune.yaml/versions")).json()
    first = (await api.get("/v1/train-configs/finetune.yaml/versions/1")).json()
    compared = (await api.get("/v1/train-configs/finetune.yaml/diff")).json()
    back = (await api.get("/v1/train-configs/finetune.yaml/diff?from=2&to=1")).json()

    assert [2, 1] == [each["version"] for each in versions]
    assert versions[1] == first
    assert (1, 2) == (compared["from"], compared["to"])
    assert [
        {"key": "epochs", "change": "changed", "before": 1, "after": 1.0},
        {"key": "opt.name", "change": "changed", "before": "adam", "after": "adamw"},
        {"key": "new", "change": "added", "before": None, "after": "x"},
        {"key": "gone", "change": "removed", "before": 1, "after": None},
    ] == compared["values"]
    assert ["-# one", "+# two", "+new: x", "\\ No newline at end of file"] == [
        line for line in compared["text"].splitlines()[2:] if line[1:].startswith(("#", "new", " No"))
    ]
    assert ["removed", "added"] == [each["change"] for each in back["values"] if each["key"] in {"new", "gone"}][::-1]
    for version, text in ((1, texts[0]), (2, texts[1])):
        assert text == (await api.get(f"/v1/train-configs/finetune.yaml/content?version={version}")).content
    assert [404, 404, 404] == [
        (await api.get(f"/v1/train-configs/{path}")).status_code
        for path in ("finetune.yaml/versions/3", "finetune.yaml/diff?from=0", "no/versions")
    ]


async def test_a_config_is_deleted_by_its_name(api: httpx.AsyncClient) -> None:
    await put(api, SFT, "a.yaml")
    await put(api, SFT)

    assert {"status": "train_config_deleted"} == (await api.delete("/v1/train-configs/a.yaml")).json()
    assert ["finetune.yaml"] == [each["filename"] for each in (await api.get("/v1/train-configs")).json()]
    assert "finetune.yaml" == (await api.get("/v1/train-config")).json()["filename"]
    assert 404 == (await api.delete("/v1/train-configs/a.yaml")).status_code


async def test_bombs_end_in_a_400_within_a_second(api: httpx.AsyncClient) -> None:
    merges = "a0: &a0 {k: 1}\n" + "".join(f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
    for bomb in (merges.encode(), b"[" * 2**20, b"a: " + b"{b: " * 200_000, b"a: [" + b"1," * 500_000 + b"]"):
        began = time.process_time()

        assert 400 == (await put(api, bomb)).status_code
        assert time.process_time() - began < 1
