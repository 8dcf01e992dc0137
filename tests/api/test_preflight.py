"""Before a GPU is taken: everything that is wrong with a run's config and data is said at once, with its place and its fix."""

import asyncio
import sqlite3
import time
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from domain.hosts.actions import register
from domain.hosts.gpu import SeenGpu
from infra.settings import Settings
from tests.api.test_hosts import yard as _yard
from tests.things import SAMPLES, a_registration

YAML = """\
task_type: sft
model_name: qwen-7b
dataset: datasets/d/a.jsonl
max_seq_length: 2048
per_device_train_batch_size: 1
learning_rate: 2e-5
num_train_epochs: 3
"""
yard = _yard


async def furnish(api: httpx.AsyncClient, yaml: str = YAML, data: bytes = SAMPLES["sft"] * 4, **project: Any) -> None:
    """A dataset `d` with a file, a config, and a project `p` that uses both."""
    await api.post("/v1/datasets", json={"name": "d", "task_type": "sft"})
    await api.put("/v1/datasets/d/files", files={"file": ("a.jsonl", data)})
    await api.put("/v1/train-config", files={"file": ("a.yaml", yaml.encode())})
    named = {"dataset_name": "datasets/d/a.jsonl", "training_yaml_name": "configs/a.yaml"}
    created = await api.post("/projects", json={"name": "p"} | named | project)
    assert 201 == created.status_code, created.text


async def checked(api: httpx.AsyncClient, language: str = "en", **asked: Any) -> dict[str, Any]:
    answer = await api.post("/projects/p/runs?dry_run=true", json=asked, headers={"Accept-Language": language})
    assert 200 == answer.status_code, answer.text
    found: dict[str, Any] = answer.json()
    assert (found["problems"] == []) is found["ok"]
    return found


def said(found: dict[str, Any], kind: str = "problems") -> list[tuple[str, str]]:
    return [(each["code"], each["where"]) for each in found[kind]]


async def test_a_sound_run_is_shown_as_it_would_be_frozen_and_nothing_is_written(api: httpx.AsyncClient) -> None:
    await furnish(api)

    found = await checked(api, hyperparameters={"num_epochs": 5})
    launched = (await api.post("/projects/p/runs", json={"hyperparameters": {"num_epochs": 5}})).json()

    assert ("run-001", found["config"]) == (launched["name"], launched["config"])
    assert {"datasets/d/a.jsonl": {"samples": 4, "sound": 4, "errors": 0, "warnings": 3, "complete": True}} == found["data"]
    assert {("repeated", "datasets/d/a.jsonl, line 2"), ("no_host", "resources")} <= set(said(found, "warnings"))
    assert (4, {"per_epoch": 4, "total": 20}) == (found["estimates"]["samples"], found["estimates"]["steps"])
    assert ("train/loss" in found["metrics"], "model_final/" in found["artifacts"]) == (True, True)


async def test_all_that_is_wrong_is_said_at_once_with_its_place_and_its_fix(api: httpx.AsyncClient) -> None:
    yaml = YAML.replace("2e-5", '"2e-5"').replace("epochs: 3", "epochs: many").replace("length: 2048", "length: 0.5")
    await furnish(api, yaml + "lora_rnak: 8\nwarmup_ratio: 7\n", SAMPLES["sft"] + b'{"messages": []}\n{"a": 1, "a": 2}\n')

    found = await checked(api)

    assert {
        ("not_a_number", "configs/a.yaml, line 6, column 16, learning_rate"),
        ("not_a_number", "configs/a.yaml, line 7, column 19, num_train_epochs"),
        ("not_whole", "configs/a.yaml, line 4, column 17, max_seq_length"),
        ("out_of_range", "configs/a.yaml, line 9, column 15, warmup_ratio"),
        ("no_user", "datasets/d/a.jsonl, line 2, messages"),
        ("no_assistant", "datasets/d/a.jsonl, line 2, messages"),
        ("duplicate_key", "datasets/d/a.jsonl, line 3"),
    } == set(said(found))
    assert all(each["message"] and each["fix"] for each in found["problems"] + found["warnings"])


async def test_errors_keep_a_launch_back_and_name_all_while_warnings_do_not(api: httpx.AsyncClient) -> None:
    await furnish(api, YAML + "lerning_rate: 1\n", SAMPLES["sft"] + b"{\n" * 30)

    refused = await api.post("/projects/p/runs", json={"hyperparameters": {"learning_rate": 5}})
    await api.put("/v1/datasets/d/files?replace=true", files={"file": ("a.jsonl", SAMPLES["sft"] + b"\n" + SAMPLES["sft"])})
    found = await checked(api)
    taken = await api.post("/projects/p/runs")

    assert (400, ["hyperparameters.learning_rate", *["dataset"] * 3]) == (
        refused.status_code,
        [each["field"] for each in refused.json()["errors"]],
    )
    assert "第 2 行第 2 列" in refused.text
    assert "共 30 处" in refused.text
    assert {"blank_line", "repeated", "likely_typo"} <= {code for code, _ in said(found, "warnings")}
    assert 201 == taken.status_code


@pytest.mark.parametrize(
    ("language", "words"), [("zh", ("第 6 行第 16 列", "应为数值")), ("en", ("line 6, column 16", "must be a number"))]
)
async def test_it_is_said_in_the_language_of_the_caller(api: httpx.AsyncClient, language: str, words: tuple[str, str]) -> None:
    await furnish(api, YAML.replace("2e-5", "fast"))

    (problem,) = (await checked(api, language))["problems"]
    refused = await api.post("/projects/p/runs", headers={"Accept-Language": language})

    assert (words[0] in problem["where"], words[1] in problem["message"]) == (True, True)
    assert all(word in refused.json()["detail"] for word in words)


async def test_what_is_missing_is_a_problem_among_others(api: httpx.AsyncClient) -> None:
    await api.post("/projects", json={"name": "p", "dataset_name": "datasets/a.jsonl", "training_yaml_name": "configs/a.yaml"})
    await api.patch("/projects/p", json={"status": "archived"})

    found = await checked(api, hyperparameters={"output_dir": "/x"})

    places = {"dataset", "training_yaml_name", "hyperparameters.output_dir", "project"}
    assert {("not_launchable", place) for place in places} == set(said(found))
    assert (None, None, {}) == (found["config"], found["estimates"], found["data"])


async def test_a_name_that_is_taken_is_a_problem(api: httpx.AsyncClient) -> None:
    await furnish(api)
    await api.post("/projects/p/runs", json={"name": "基线"})

    assert [("not_launchable", "name")] == said(await checked(api, name="基线"))


@pytest.mark.parametrize(
    ("said_by_config", "gpus", "code"),
    [
        ("global_batch_size: 32\nper_device_batch_size: 8\n", 4, None),
        ("global_batch_size: 32\nper_device_batch_size: 8\n", 3, "batch_mismatch"),
        ("global_batch_size: 32\nper_device_batch_size: 8\n", 2, "batch_accumulates"),
        ("global_batch_size: 32\nper_device_batch_size: 8\ngradient_accumulation_steps: 2\n", 2, None),
        ("global_batch_size: 32\nper_device_batch_size: 8\ngradient_accumulation_steps: 2\n", 4, "batch_mismatch"),
        ("global_batch_size: 32\nper_device_batch_size: 8\ntensor_parallel_size: 2\n", 8, None),
        ("global_batch_size: 32\n", 5, None),
    ],
)
async def test_the_global_batch_is_that_of_a_device_times_data_parallel(
    api: httpx.AsyncClient, said_by_config: str, gpus: int, code: str | None
) -> None:
    yaml = "task_type: pretrain\nmodel_name: tiny\ndataset: datasets/d/a.jsonl\nsequence_length: 64\nlearning_rate: 1e-4\n"
    await furnish(api, yaml + said_by_config, SAMPLES["pretrain"])

    found = await checked(api, resources={"gpu_count": gpus})

    assert ([code] if code else []) == [each for each, _ in said(found) + said(found, "warnings") if each.startswith("batch")]


async def test_data_and_config_are_held_against_each_other(api: httpx.AsyncClient) -> None:
    long = SAMPLES["lora"].replace(b'"q"', f'"{"长" * 3000}"'.encode())
    yaml = "task_type: lora\nbase_model: llama2-7b\ndataset: datasets/d/a.jsonl\nlora_r: 16\nmax_seq_length: 2048\ntrain_batch_size: 64\n"
    await furnish(api, yaml, SAMPLES["lora"] + long)

    found = await checked(api)

    warnings = {each["code"]: each for each in found["warnings"]}
    assert {"over_long", "few_samples", "marks_override"} <= set(warnings)
    assert "50.0%" in warnings["over_long"]["message"]
    assert "line 2" in warnings["over_long"]["fix"]
    assert "`lora_alpha`, `lora_dropout`" in warnings["missing_keys"]["message"]


async def test_other_paths_are_looked_up_where_the_data_is(api: httpx.AsyncClient, settings: Settings) -> None:
    yaml = YAML.replace("qwen-7b", "Qwen/Qwen2.5-7B") + "tokenizer: configs/tokenizer.model\nreward_model: http:/nowhere\n"
    await furnish(api, yaml)

    before = await checked(api)
    (Path(settings.training_path) / "configs").mkdir()
    (Path(settings.training_path) / "configs" / "tokenizer.model").write_text("t")
    after = await checked(api)

    assert ("path_missing", "configs/a.yaml, line 8, column 12, tokenizer") in said(before, "warnings")
    assert "path_missing" not in {code for code, _ in said(after, "warnings")}
    assert [("bad_url", "configs/a.yaml, line 9, column 15, reward_model")] == said(after)


async def test_what_no_host_could_run_is_said(api: httpx.AsyncClient, yard: Any) -> None:
    await furnish(api)
    gpu = SeenGpu(number=0, uuid="GPU-0", type="A100", memory_bytes=80 * 2**30)
    await yard.run(register, a_registration(gpus=[gpu]))

    one, eight = await checked(api), await checked(api, resources={"gpu_count": 8})

    assert "no_host" not in {code for code, _ in said(one, "warnings")}
    assert "the most that any host offers is 1" in {each["code"]: each["message"] for each in eight["warnings"]}["no_host"]
    assert ("no_memory", "resources") in said(one, "warnings")
    memory = one["estimates"]["gpu_memory"]
    assert 7 * 10**9 * 16 < memory["bytes"] < 7 * 10**9 * 20
    assert all(word in memory["formula"] for word in ("7e9 × 16 bytes", "2,048 tokens", "nothing sharded"))


async def test_a_preflight_of_inspected_data_is_fast(api: httpx.AsyncClient) -> None:
    await furnish(api, data=SAMPLES["sft"] * 3000)
    await checked(api)

    seconds = []
    for _ in range(10):
        begin = time.perf_counter()
        await checked(api)
        seconds.append(time.perf_counter() - begin)

    assert min(seconds) < 0.1


async def test_a_report_has_lines_words_and_statistics(api: httpx.AsyncClient) -> None:
    await furnish(api, data=SAMPLES["sft"] * 2 + b"{\n")

    zh = (await api.get("/v1/datasets/d/report")).json()
    en = (await api.get("/v1/datasets/d/report?max_seq_length=1&task_type=lora", headers={"Accept-Language": "en"})).json()

    assert ("done", "a.jsonl", "sft", "监督微调", False, 3, 2) == tuple(
        zh[field] for field in ("status", "file", "task_type", "task_type_label", "usable", "samples", "sound")
    )
    (broken, repeated) = zh["findings"]
    assert ("broken_json", "错误", 1, "第 3 行第 2 列") == (
        *(broken[field] for field in ("code", "severity_label", "count")),
        broken["problems"][0]["where"],
    )
    assert "repeated" == repeated["code"]
    assert ("lora", "LoRA fine-tuning", 0.0) == (en["task_type"], en["task_type_label"], en["statistics"]["over_long"])
    assert "line 3, column 2" == en["findings"][0]["problems"][0]["where"]


async def test_a_report_asks_which_file_where_there_are_several(api: httpx.AsyncClient) -> None:
    await furnish(api)
    await api.put("/v1/datasets/d/files", files={"file": ("b.jsonl", SAMPLES["pretrain"])})

    answers = [
        await api.get(f"/v1/datasets/d/report{query}") for query in ("", "?file=b.jsonl", "?file=c.jsonl", "?file=b.jsonl&task_type=x")
    ]

    assert [400, 200, 404, 400] == [answer.status_code for answer in answers]
    assert ["a.jsonl", "b.jsonl"] == answers[0].json()["candidates"]
    assert "other_task" == answers[1].json()["findings"][0]["code"]


async def test_a_large_file_is_judged_by_a_child_and_only_once(api: httpx.AsyncClient) -> None:
    lines = b"".join(SAMPLES["sft"].replace(b'"q"', b'"q%d"' % number) for number in range(6000))
    await api.post("/v1/datasets", json={"name": "d", "task_type": "sft"})
    await api.post("/v1/datasets", json={"name": "e", "task_type": "sft"})
    await api.put("/v1/datasets/d/files", files={"file": ("a.jsonl", lines)})

    making = await api.get("/v1/datasets/d/report", headers={"Prefer": "wait=0"})
    made = await api.get("/v1/datasets/d/report", headers={"Prefer": "wait=30"})
    await api.put("/v1/datasets/e/files", files={"file": ("b.jsonl", lines)})
    again = await api.get("/v1/datasets/e/report", headers={"Prefer": "wait=0"})

    assert (202, "inspecting", "1") == (making.status_code, making.json()["status"], making.headers["Retry-After"])
    assert (200, 6000) == (made.status_code, made.json()["sound"])
    assert made.json() | {"file": "b.jsonl"} == again.json()


async def test_a_file_is_judged_as_it_arrives_however_it_comes(api: httpx.AsyncClient, settings: Settings) -> None:
    await api.post("/v1/datasets", json={"name": "d", "task_type": "sft"})
    tus = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream", "Upload-Metadata": "filename Yi5qc29ubA=="}
    other = SAMPLES["sft"] * 2

    await api.put("/v1/datasets/d/files", files={"file": ("a.jsonl", SAMPLES["sft"])})
    sent = await api.post("/v1/datasets/d/uploads", headers=tus | {"Upload-Length": str(len(other))}, content=other)

    assert 201 == sent.status_code, sent.text
    expected = {f"sha256:{sha256(content).hexdigest()}" for content in (SAMPLES["sft"], other)}
    async with asyncio.timeout(20):
        while expected != reported(settings):  # noqa: ASYNC110 - nobody asks for the report, so nobody is told
            await asyncio.sleep(0.01)


def reported(settings: Settings) -> set[str]:
    """The contents that reports are there of."""
    with closing(sqlite3.connect(settings.database_url.removeprefix("sqlite:///"))) as database:
        return {content for (content,) in database.execute("SELECT content FROM reports")}


BOMBS = [b"[" * 3_000_000, b'{"a":' * 600_000, b'{"messages": ' + b"9" * 3_000_000, b'"' + b"\\u0000" * 500_000]


@pytest.mark.parametrize("bomb", BOMBS, ids=["brackets", "braces", "digits", "escapes"])
async def test_a_bomb_in_the_data_keeps_a_launch_back_within_a_second(api: httpx.AsyncClient, bomb: bytes) -> None:
    await furnish(api, data=SAMPLES["sft"] + bomb)

    begin = time.process_time()
    answer = await api.post("/projects/p/runs")

    assert (400, "第 2 行" in answer.text) == (answer.status_code, True)
    assert time.process_time() - begin < 1


MERGES = "a0: &a0 {k: v}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}], x{n}: 1}}\n" for n in range(1, 12))
YAML_BOMBS = ["[" * 100_000, "a: " + "{b: " * 50_000, MERGES, "%TAG ! x\n" * 100_000]


@pytest.mark.parametrize("bomb", YAML_BOMBS, ids=["brackets", "braces", "merges", "directives"])
async def test_a_bomb_in_a_config_is_refused_within_a_second(api: httpx.AsyncClient, settings: Settings, bomb: str) -> None:
    await furnish(api, training_yaml_name="by-hand.yaml")
    (Path(settings.training_path) / "by-hand.yaml").write_text(bomb)

    begin = time.process_time()
    sent = await api.put("/v1/train-config", files={"file": ("b.yaml", bomb.encode())})
    launched = await api.post("/projects/p/runs")

    assert (400, 400) == (sent.status_code, launched.status_code)
    assert time.process_time() - begin < 2


async def test_data_laid_by_hand_is_judged_too_and_anew_when_it_changes(api: httpx.AsyncClient, settings: Settings) -> None:
    await furnish(api, YAML.replace("datasets/d/a.jsonl", "hand.jsonl"), dataset_name="hand.jsonl")
    by_hand = Path(settings.training_path) / "hand.jsonl"
    by_hand.write_bytes(b"{}\n")

    refused = await api.post("/projects/p/runs")
    by_hand.write_bytes(SAMPLES["sft"])
    taken = await api.post("/projects/p/runs")

    assert (400, 201) == (refused.status_code, taken.status_code)
    assert "hand.jsonl，第 1 行" in refused.json()["detail"]
