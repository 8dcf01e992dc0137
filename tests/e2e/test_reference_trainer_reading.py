"""The reference trainer says what is wrong with a config or its data before it loads torch, in one sentence; so these tests need none."""

import gzip
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
import zstandard

TRAINER = Path(__file__).parents[2] / "examples" / "trainer"
LINE = {"messages": [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "您好"}]}


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Read a YAML of these keys as the trainer does; its recipe."""
    monkeypatch.syspath_prepend(TRAINER)
    recipe = importlib.import_module("llm_trainer.recipe")
    (tmp_path / "data.jsonl").write_text(json.dumps(LINE))

    def recipe_of(text: str = "", **keys: object) -> Any:
        config = tmp_path / "config.yaml"
        config.write_text(text + yaml.safe_dump({"dataset": "data.jsonl"} | keys, allow_unicode=True))
        return recipe.read_recipe(config)

    return recipe_of


@pytest.fixture
def corpus(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(TRAINER)
    return importlib.import_module("llm_trainer.corpus")


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"task_type": "dance"}, "task_type must be one of sft, rl, lora, pretrain, not 'dance'"),
        ({"model_name": None}, "model_name is missing"),
        ({"dataset": "datasets/missing.jsonl"}, "dataset datasets/missing.jsonl does not exist"),
        ({"learning_rate": "fast"}, "learning_rate must be a number of at least 0, not 'fast'"),
        ({"num_train_epochs": "1e999"}, "num_train_epochs must be a number"),
        ({"per_device_train_batch_size": 1.5}, "per_device_train_batch_size must be a whole number of at least 1, not 1.5"),
        ({"lr_scheduler_type": "wavy"}, "lr_scheduler_type must be one of"),
        ({"task_type": "lora", "base_model": "m", "use_8bit": "maybe"}, "use_8bit must be true or false, not 'maybe'"),
        ({"task_type": "lora", "use_8bit": True, "use_4bit": True}, "use_8bit and use_4bit are both true"),
        ({"task_type": "lora", "peft_target_modules": [1]}, "peft_target_modules must be a list of words"),
        ({"task_type": "lora", "train_batch_size": 10, "gradient_accumulation_steps": 4}, "train_batch_size 10 cannot be dealt out evenly"),
        ({"task_type": "rl", "policy_model": "m", "algorithm": "sarsa"}, "algorithm must be one of"),
        ({"resume_from_checkpoint": "nowhere"}, "resume_from_checkpoint: nowhere is not a complete checkpoint"),
    ],
)
def test_a_wrong_value_ends_with_one_clear_line(tmp_path: Path, keys: dict[str, object], reason: str) -> None:
    (tmp_path / "data.jsonl").write_text(json.dumps(LINE))
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"task_type": "sft", "model_name": "m", "dataset": "data.jsonl"} | keys))

    ended = subprocess.run(
        ["bash", TRAINER / "run_train_full_sft.sh", config],
        cwd=tmp_path,
        env=os.environ | {"PYTHON": sys.executable, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )

    assert (2, "") == (ended.returncode, ended.stdout)
    assert reason in ended.stderr
    assert 1 == ended.stderr.count("\n")


@pytest.mark.parametrize("written", ["2e-5", "2E-5", "0.00002", "2.0e-5"])
def test_a_learning_rate_is_a_number_however_it_is_written(read: Callable[..., Any], written: str) -> None:
    recipe = read(f"learning_rate: {written}\n", task_type="sft", model_name="m")

    assert 2e-5 == recipe.learning_rate


def test_keys_it_does_not_use_are_kept_for_a_note(read: Callable[..., Any]) -> None:
    recipe = read(task_type="sft", model_name="m", fancy=1, lora_r=8)

    assert ("fancy", "lora_r") == recipe.ignored_keys


@pytest.mark.parametrize(
    ("world", "keys", "dealt"),
    [
        (1, {"task_type": "sft", "per_device_train_batch_size": 4}, (4, 1, 4)),
        (2, {"task_type": "sft", "per_device_train_batch_size": 4, "gradient_accumulation_steps": 3}, (4, 3, 24)),
        (1, {"task_type": "pretrain", "global_batch_size": 1024}, (8, 128, 1024)),
        (4, {"task_type": "pretrain", "global_batch_size": 1024, "per_device_train_batch_size": 256}, (256, 1, 1024)),
        (1, {"task_type": "lora", "train_batch_size": 64, "gradient_accumulation_steps": 4}, (16, 4, 64)),
        (1, {"task_type": "rl", "rollout_batch_size": 16}, (8, 2, 16)),
        (1, {"task_type": "pretrain", "global_batch_size": 7}, (7, 1, 7)),
        (1, {"task_type": "pretrain", "global_batch_size": 11}, (1, 11, 11)),
    ],
)
def test_a_step_has_as_many_sequences_as_the_yaml_asks_for(
    read: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, world: int, keys: dict[str, object], dealt: tuple[int, int, int]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(world))

    batch = read(model_name="m", **keys).batch

    assert dealt == (batch.per_device, batch.accumulation, batch.size)


def test_pairs_are_for_preference_learning_unless_a_reward_model_judges(read: Callable[..., Any]) -> None:
    unsaid = read(task_type="rl", policy_model="m").reinforcement
    judged = read(task_type="rl", policy_model="m", reward_model="r").reinforcement

    chosen = [asked.chosen_for(pairs=pairs).algorithm for asked, pairs in ((unsaid, True), (unsaid, False), (judged, True))]
    assert ["dpo", "grpo", "grpo"] == chosen


def test_of_several_responses_the_highest_score_is_preferred_to_the_lowest(corpus: Any, tmp_path: Path) -> None:
    responses = [{"content": each, "score": score} for each, score in (("b", 0.5), ("a", 0.9), ("a2", 0.9), ("c", -1))]
    data = tmp_path / "rl.jsonl"
    data.write_text("\n".join(json.dumps({"prompt": "p", "responses": each}) for each in (responses, responses[1:3], responses[:1])))

    read = [(each.chosen, each.rejected) for each in corpus.read_preferences(data)]

    assert [("a", "c"), ("a", None), ("b", None)] == read


def test_a_system_prompt_goes_first_and_a_template_holds_what_the_user_says(corpus: Any, tmp_path: Path) -> None:
    data = tmp_path / "sft.jsonl"
    data.write_text(json.dumps(LINE | {"system_prompt": "简短", "input_template": "问：{input}"}), encoding="utf-8")

    (conversation,) = corpus.read_conversations(data)

    assert [("system", "简短"), ("user", "问：你好"), ("assistant", "您好")] == [
        (each["role"], each["content"]) for each in conversation.messages
    ]


def test_samples_that_ask_for_different_ranks_are_refused_with_what_to_do(corpus: Any, tmp_path: Path) -> None:
    data = tmp_path / "lora.jsonl"
    data.write_text("\n".join(json.dumps(LINE | each) for each in ({"rank": 8}, {"rank": 4}, {})))
    conversations = corpus.read_conversations(data)

    assert (8, ()) == corpus.agreed([conversations[0], conversations[2]], data)
    with pytest.raises(Exception, match="different rank .4 and 8., and an adapter has one: make a file for each"):
        corpus.agreed(conversations, data)


@pytest.mark.parametrize("name", ["t.txt", "t.jsonl", "t.jsonl.gz", "t.txt.zst"])
def test_plain_and_packed_texts_are_read_alike(corpus: Any, tmp_path: Path, name: str) -> None:
    texts = ["第一段", "第二段"]
    content = "\n\n".join(texts if ".txt" in name else [json.dumps({"text": each}) for each in texts]).encode()
    packers: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "zst": zstandard.compress}
    (tmp_path / name).write_bytes(packers.get(name.rpartition(".")[2], bytes)(content))

    assert texts == list(corpus.read_texts(tmp_path / name))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"messages": [', "line 2: not valid JSON"),
        ("[1, 2]", "line 2: must be a JSON object"),
        ('{"messages": [{"role": "user", "content": "你好"}]}', "line 2: messages needs at least one user turn and one assistant turn"),
        ('{"messages": [{"role": "user", "content": null}]}', "line 2: content must be text"),
        ('{"messages": [], "rank": 0}', "line 2: messages needs at least one user turn"),
        ("[" * 100_000, "line 2: nested too deeply"),
    ],
)
def test_a_bad_line_is_named(corpus: Any, tmp_path: Path, line: str, reason: str) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text(json.dumps(LINE) + "\n" + line, encoding="utf-8")

    with pytest.raises(Exception, match=reason):
        corpus.read_conversations(data)


def test_rouge_l_counts_chinese_by_characters_and_english_by_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(TRAINER)
    rouge_l = importlib.import_module("llm_trainer.rouge").rouge_l

    # Of four and five characters, three stand in both in this order: 2 * 3 / (4 + 5).
    assert pytest.approx(2 * 3 / 9) == rouge_l("保存权重", "先保存好重")
    assert pytest.approx(2 * 2 / 6) == rouge_l("vLLM部署", "vllm, the 部")
    assert 1.0 == rouge_l("The model.", "the MODEL")
    assert 0.0 == rouge_l("", "什么") == rouge_l("猫", "狗")
