"""The trainer in examples/ really learns, stops with what it has, and goes on exactly where it stopped."""

from __future__ import annotations

import gzip
import importlib
import json
import os
import signal
import struct
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
import zstandard

EXAMPLES = Path(__file__).parents[2] / "examples"
TRAINER = EXAMPLES / "tiny_trainer"
SAMPLE = EXAMPLES / "data" / "sample.jsonl"
# Seconds after which a training of a second or two is taken to hang.
LIMIT = 60


@dataclass
class Trained:
    """A training that ended: its exit code, and what it said."""

    code: int
    out: str
    error: str
    output_dir: Path

    def series(self, name: str) -> dict[int, float]:
        """The values of a metric by step."""
        return {each["step"]: each[name] for each in _metrics(self.out) if name in each}


@dataclass
class Started:
    """A training that runs."""

    process: subprocess.Popen[str]
    output_dir: Path
    heard: list[str] = field(default_factory=list)

    def wait_for_step(self, step: int) -> None:
        """Read its lines until that step is reported."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.heard.append(line)
            if any(metrics["step"] >= step for metrics in _metrics(line)):
                return
        pytest.fail(f"the training ended before step {step}: {''.join(self.heard)}")

    def ended(self) -> Trained:
        """What it became, once it has ended."""
        out, error = self.process.communicate(timeout=LIMIT)
        return Trained(self.process.returncode, "".join(self.heard) + out, error, self.output_dir)


@dataclass
class Lab:
    """A folder in which trainings are started as the platform starts them."""

    folder: Path

    def start(self, name: str, **keys: object) -> Started:
        """Start a training whose YAML is the sample's with these keys changed."""
        recipe: dict[str, object] = {
            "task_type": "sft",
            "dataset": str(SAMPLE),
            "learning_rate": "1e-2",
            "max_steps": 40,
            "num_train_epochs": 3,
            "output_dir": str(self.folder / name),
        }
        config = self.folder / f"{name}.yaml"
        config.write_text(yaml.safe_dump(recipe | keys, allow_unicode=True), encoding="utf-8")
        process = subprocess.Popen(
            ["bash", "run_train_full_sft.sh", str(config)],
            cwd=TRAINER,
            env=os.environ | {"PYTHON": sys.executable, "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        return Started(process, self.folder / name)

    def train(self, name: str, **keys: object) -> Trained:
        """Train to the end."""
        return self.start(name, **keys).ended()

    def write(self, name: str, *lines: str) -> str:
        """A data file beside the configs; gives its name."""
        (self.folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return name


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_losses_fall_on_chinese_conversations(lab: Lab) -> None:
    trained = lab.train("sft", max_steps=120, num_train_epochs=20)

    losses = list(trained.series("train/loss").values())
    evaluations = list(trained.series("eval/loss").values())
    assert trained.code == 0, trained.error
    assert len(losses) == 120
    assert losses[0] > 5.5, "an untrained model knows nothing: ln 260 nats per byte"
    assert sum(losses[-10:]) / 10 < 3.5
    assert evaluations[-1] < evaluations[0]


def test_losses_fall_in_pretraining(lab: Lab) -> None:
    data = str(EXAMPLES / "data" / "pretrain.jsonl")

    trained = lab.train("pretrain", task_type="pretrain", dataset=data, sequence_length=256, global_batch_size=4, num_train_epochs=20)

    losses = list(trained.series("train/loss").values())
    assert trained.code == 0, trained.error
    assert losses[-1] < losses[0] - 1


def test_a_packed_dataset_trains_as_the_plain_one(lab: Lab) -> None:
    (lab.folder / "a.jsonl.gz").write_bytes(gzip.compress(SAMPLE.read_bytes()))
    (lab.folder / "a.jsonl.zst").write_bytes(zstandard.compress(SAMPLE.read_bytes()))

    plain, gz, zst = (
        lab.train(f"from-{Path(name).suffix[1:]}", dataset=name, max_steps=5) for name in (str(SAMPLE), "a.jsonl.gz", "a.jsonl.zst")
    )

    assert plain.series("train/loss") == gz.series("train/loss") == zst.series("train/loss") != {}


def test_a_finished_training_leaves_everything_it_promises(lab: Lab) -> None:
    trained = lab.train("sft", save_steps=15)

    found = {path.name for path in trained.output_dir.iterdir()}
    results = json.loads((trained.output_dir / "eval_results.json").read_text())
    assert found == {"checkpoint-15", "checkpoint-30", "checkpoint-40", "model_final", "eval_results.json", "runs"}
    assert set(_shapes(trained.output_dir / "model_final" / "model.safetensors")) == set(_shapes_expected())
    assert results["eval/loss"] == trained.series("eval/loss")[40]
    assert _event_steps(trained.output_dir / "runs") >= 40


def test_every_metric_line_says_how_far_the_training_is(lab: Lab) -> None:
    trained = lab.train("sft", max_steps=5)

    assert {metrics["max_steps"] for metrics in _metrics(trained.out)} == {5}
    assert {"step", "epoch", "train/loss", "learning_rate", "tokens_per_second", "grad_clip/norm"} <= set(_metrics(trained.out)[0])


def test_a_term_leaves_a_complete_checkpoint_and_says_143(lab: Lab) -> None:
    started = lab.start("sft", step_delay_seconds=0.02, save_steps=1000)
    started.wait_for_step(7)

    started.process.send_signal(signal.SIGTERM)

    trained = started.ended()
    last = max(trained.series("train/loss"))
    state = json.loads((trained.output_dir / f"checkpoint-{last}" / "trainer_state.json").read_text())
    assert trained.code == 143
    assert "stopped after step" in trained.out.splitlines()[-1]
    assert [path.name for path in trained.output_dir.glob("*checkpoint*")] == [f"checkpoint-{last}"]
    assert not (trained.output_dir / "model_final").exists()
    assert (state["global_step"], state["max_steps"]) == (last, 40)
    assert [entry["step"] for entry in state["log_history"] if "loss" in entry] == list(range(1, last + 1))
    assert _shapes(trained.output_dir / f"checkpoint-{last}" / "model.safetensors") == _shapes_expected()


def test_a_resumed_training_repeats_the_unbroken_one_bit_for_bit(lab: Lab) -> None:
    unbroken = lab.train("unbroken")
    started = lab.start("first", step_delay_seconds=0.02)
    started.wait_for_step(17)
    started.process.send_signal(signal.SIGTERM)
    first = started.ended()
    stopped_at = max(first.series("train/loss"))

    second = lab.train("second", resume_from_checkpoint=str(first.output_dir / f"checkpoint-{stopped_at}"))

    assert second.code == 0, second.error
    assert min(second.series("train/loss")) == stopped_at + 1
    for name in ("train/loss", "eval/loss", "grad_clip/norm", "learning_rate"):
        assert unbroken.series(name) == first.series(name) | second.series(name)
    final = [(each.output_dir / "model_final" / "model.safetensors").read_bytes() for each in (unbroken, second)]
    assert final[0] == final[1]


def test_a_resumed_training_takes_the_new_learning_rate(lab: Lab) -> None:
    first = lab.train("first", save_steps=20)

    second = lab.train("second", resume_from_checkpoint=str(first.output_dir / "checkpoint-20"), learning_rate="2e-3")

    assert second.series("learning_rate")[21] == pytest.approx(first.series("learning_rate")[21] / 5)
    assert second.series("train/loss")[21] == first.series("train/loss")[21], "the first step starts from the same weights"
    assert second.series("train/loss")[40] != first.series("train/loss")[40]


def test_a_folder_that_is_no_whole_checkpoint_is_refused(lab: Lab) -> None:
    first = lab.train("first", max_steps=2)
    checkpoint = first.output_dir / "checkpoint-2"
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])

    second = lab.train("second", resume_from_checkpoint=str(checkpoint))

    assert second.code == 2
    assert f"{checkpoint} is not a complete checkpoint" in second.error


@pytest.mark.parametrize("written", ["2e-3", "2E-3", 0.002, "0.002"])
def test_a_learning_rate_is_a_number_however_it_is_written(lab: Lab, written: object) -> None:
    trained = lab.train("sft", learning_rate=written, max_steps=1, warmup_ratio=0)

    assert trained.series("learning_rate") == {1: 0.002}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"messages": [', "not valid JSON"),
        ("[1, 2]", "must be a JSON object"),
        ('{"messages": [{"role": "user", "content": "你好"}]}', "needs at least one user turn and one assistant turn"),
        ('{"messages": [{"role": "user", "content": "你好"}, {"role": "assistant", "content": null}]}', "content must be text"),
        ('{"messages": [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "\\ud800"}]}', "surrogate"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_bad_line_is_named(lab: Lab, line: str, reason: str) -> None:
    good = SAMPLE.read_text(encoding="utf-8").splitlines()[:2]
    data = lab.write("data.jsonl", *good, "", line)

    trained = lab.train("sft", dataset=data)

    assert trained.code == 2
    assert "data.jsonl, line 4: " in trained.error
    assert reason in trained.error
    assert trained.error.count("\n") == 1


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"dataset": "datasets/missing.jsonl"}, "dataset datasets/missing.jsonl does not exist"),
        ({"dataset": os.devnull}, "does not exist"),
        ({"max_seq_length": 4}, "nothing to learn from within 4 bytes"),
        ({"learning_rate": "fast"}, "learning_rate must be a number of at least 0, not 'fast'"),
        ({"num_train_epochs": "1e999"}, "num_train_epochs must be"),
        ({"per_device_train_batch_size": 1.5}, "per_device_train_batch_size must be a whole number"),
        ({"task_type": "rl"}, "GRPOTrainer"),
        ({"task_type": "lora"}, "peft"),
        ({"task_type": None}, "task_type must be sft or pretrain"),
    ],
)
def test_what_cannot_be_trained_is_said_in_one_sentence(lab: Lab, keys: dict[str, object], reason: str) -> None:
    trained = lab.train("sft", **keys)

    assert trained.code == 2
    assert reason in trained.error
    assert trained.error.count("\n") == 1


def test_a_diverging_loss_fails_the_training(lab: Lab) -> None:
    trained = lab.train("sft", learning_rate=1e38, max_grad_norm=0)

    assert trained.code == 1
    assert "lower learning_rate" in trained.error
    assert "NaN" not in trained.out


def test_a_key_it_does_not_use_is_only_noted(lab: Lab) -> None:
    trained = lab.train("sft", max_steps=1, tokenizer="configs/tokenizer.model")

    assert trained.code == 0
    assert trained.out.splitlines()[0] == "note: keys this trainer does not use: tokenizer"


def test_the_written_backward_pass_agrees_with_small_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(TRAINER)
    network = importlib.import_module("network")
    random = np.random.default_rng(7)
    weights = {name: weight.astype(np.float64) for name, weight in network.fresh_weights(7).items()}
    windows = random.integers(0, network.VOCABULARY, (9, network.WINDOW))
    targets = random.integers(0, network.VOCABULARY, 9)

    _, gradients = network.loss_and_gradients(weights, windows, targets)

    for name, weight in weights.items():
        place = np.unravel_index(np.abs(gradients[name]).argmax(), weight.shape)
        losses = []
        for shift in (1e-5, -2e-5):
            weight[place] += shift
            losses.append(network.loss_of(weights, windows, targets))
        weight[place] += 1e-5
        assert gradients[name][place] == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-5), name


def _metrics(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def _shapes(path: Path) -> dict[str, list[int]]:
    """The shapes in a safetensors file, once its length has been found to be what the header says."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__")
    assert len(content) == 8 + length + max(entry["data_offsets"][1] for entry in header.values())
    return {name: entry["shape"] for name, entry in header.items()}


def _shapes_expected() -> dict[str, list[int]]:
    return {
        "embedding.weight": [260, 16],
        "hidden.weight": [192, 24],
        "hidden.bias": [24],
        "output.weight": [24, 260],
        "output.bias": [260],
    }


def _event_steps(folder: Path) -> int:
    """How many records a TensorBoard file frames, its version record left out."""
    (path,) = folder.iterdir()
    content, at, records = path.read_bytes(), 0, 0
    while at < len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        at += 8 + 4 + length + 4
        records += 1
    assert at == len(content)
    return records - 1
