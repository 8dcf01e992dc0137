"""When a checkpoint is complete: every single loss a crash can cause must be seen, and nothing else."""

import json
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.runs.checkpoint import Verdict, judge, judge_weights

TENSORS = {
    "embed.weight": {"dtype": "F32", "shape": [4, 2], "data_offsets": [0, 32]},
    "head.weight": {"dtype": "F32", "shape": [2], "data_offsets": [32, 40]},
}


class Memory:
    """A folder that is a dict of bytes."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        self.contents = contents

    def files(self) -> dict[str, int]:
        return {path: len(content) for path, content in self.contents.items()}

    def read(self, path: str, start: int, size: int) -> bytes:
        return self.contents[path][start : start + size]


def safetensors(tensors: dict[str, dict[str, object]] | None = None) -> bytes:
    header = json.dumps({"__metadata__": {"format": "pt"}} | (TENSORS if tensors is None else tensors)).encode()
    return struct.pack("<Q", len(header)) + header + b"\1" * (40 if tensors is None else 0)


def pickled() -> bytes:
    return b"PK\x03\x04" + b"weights" * 100 + b"PK\x05\x06" + b"\1" * 18


def hugging_face() -> dict[str, bytes]:
    """Return a checkpoint as Hugging Face trainers leave it."""
    return {
        "config.json": b"{}",
        "model.safetensors": safetensors(),
        "optimizer.pt": pickled(),
        "scheduler.pt": pickled(),
        "rng_state.pth": pickled(),
        "tokenizer.json": b"{}",
        "trainer_state.json": b'{"global_step": 20, "log_history": [{"loss": NaN}]}',
        "training_args.bin": pickled(),
    }


def sharded() -> dict[str, bytes]:
    """Return a checkpoint in two shards."""
    index = {"weight_map": {"embed.weight": "model-00001-of-00002.safetensors", "head.weight": "model-00002-of-00002.safetensors"}}
    return {
        "model-00001-of-00002.safetensors": safetensors(),
        "model-00002-of-00002.safetensors": safetensors(),
        "model.safetensors.index.json": json.dumps(index).encode(),
    }


def test_a_checkpoint_as_the_trainer_left_it_is_complete_and_tells_its_step() -> None:
    verdict = judge(Memory(hugging_face()))

    assert Verdict(complete=True, step=20) == verdict


@pytest.mark.parametrize(
    "contents",
    [
        {"model.safetensors": safetensors()},
        {"model.safetensors": safetensors(), "optimizer.npz": b"zip"},
        {"adapter_config.json": b"{}", "adapter_model.safetensors": safetensors()},
        {"pytorch_model.bin": pickled()},
        {"pytorch_model.bin": b"\x80\x02 an older pickle"},
        {"global_step20/mp_rank_00_model_states.pt": pickled()},
        {"pytorch_model_fsdp_0/__0_0.distcp": b"weights"},
        {"model.safetensors": safetensors({})},
        sharded(),
    ],
    ids=["weights alone", "numpy", "adapter", "torch", "old torch", "deepspeed", "fsdp", "no tensors", "sharded"],
)
def test_checkpoints_of_other_makes_are_complete(contents: dict[str, bytes]) -> None:
    verdict = judge(Memory(contents))

    assert Verdict(complete=True) == verdict


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ({"checkpoint-is-incomplete.txt": b""}, "the trainer has not finished writing it (checkpoint-is-incomplete.txt is there)"),
        ({"model.safetensors": None}, "no weights are there"),
        ({"model.safetensors": b""}, "model.safetensors is cut off at 0 bytes"),
        ({"model.safetensors": safetensors()[:100]}, "model.safetensors is cut off in its header"),
        ({"model.safetensors": safetensors()[:-1]}, "model.safetensors has 230 bytes where its header announces 231"),
        ({"model.safetensors": safetensors() + b"\0"}, "model.safetensors has 232 bytes where its header announces 231"),
        ({"model.safetensors": b"\xff" * 200}, "model.safetensors is no safetensors file"),
        ({"model.safetensors": b"\4\0\0\0\0\0\0\0nope"}, "model.safetensors has a broken header"),
        ({"model.safetensors.tmp": b""}, "model.safetensors.tmp was not finished"),
        ({"trainer_state.json": None}, "trainer_state.json, which the trainer writes last, is missing"),
        ({"trainer_state.json": b'{"global_step": 2'}, "trainer_state.json is cut off or no JSON"),
        ({"trainer_state.json": b"[" * 100_000}, "trainer_state.json is cut off or no JSON"),
        ({"trainer_state.json": b"[]"}, "trainer_state.json is no JSON object"),
        ({"optimizer.pt": b""}, "optimizer.pt is empty"),
        ({"optimizer.pt": pickled()[:-10]}, "optimizer.pt is cut off"),
        ({"optimizer.pt": b"\0" * 400}, "optimizer.pt holds only zeros"),
    ],
)
def test_what_a_crash_leaves_is_incomplete_and_says_why(change: dict[str, bytes | None], missing: str) -> None:
    contents = {path: content for path, content in (hugging_face() | change).items() if content is not None}

    verdict = judge(Memory(contents))

    assert (False, missing) == (verdict.complete, verdict.missing)


@pytest.mark.parametrize(
    "header", [{"a": {}}, {"a": {"data_offsets": [0]}}, {"a": {"data_offsets": ["0", "x"]}}, {"a": {"data_offsets": None}}]
)
def test_a_header_without_true_offsets_is_broken(header: dict[str, dict[str, object]]) -> None:
    verdict = judge(Memory({"model.safetensors": safetensors(header)}))

    assert verdict.missing == "model.safetensors has a broken header"


def test_a_killed_save_that_reached_no_optimizer_is_incomplete() -> None:
    contents = {
        path: content for path, content in hugging_face().items() if path in ("config.json", "model.safetensors", "training_args.bin")
    }

    assert judge(Memory(contents)).missing == "trainer_state.json, which the trainer writes last, is missing"
    assert judge_weights(Memory(contents)).complete, "a final model has just these files"


def test_a_missing_optimizer_is_no_loss_when_the_state_is_there() -> None:
    contents = {path: content for path, content in hugging_face().items() if path != "optimizer.pt"}

    assert judge(Memory(contents)).complete


@pytest.mark.parametrize(
    ("lose", "missing"),
    [
        (("model-00002-of-00002.safetensors",), "model-00002-of-00002.safetensors is missing"),
        (("model-00001-of-00002.safetensors", "model.safetensors.index.json"), "model-00001-of-00002.safetensors is missing"),
    ],
)
def test_every_shard_must_be_there(lose: tuple[str, ...], missing: str) -> None:
    contents = {path: content for path, content in sharded().items() if path not in lose}

    assert missing == judge(Memory(contents)).missing


def test_a_step_no_database_can_hold_is_none() -> None:
    contents = {"model.safetensors": safetensors(), "trainer_state.json": b'{"global_step": 99999999999999999999}'}

    assert Verdict(complete=True) == judge(Memory(contents))


def test_a_file_that_cannot_be_read_is_never_called_complete() -> None:
    class Forbidden(Memory):
        def read(self, path: str, start: int, size: int) -> bytes:  # noqa: ARG002 - nothing is readable
            return b""

    verdict = judge(Forbidden({"model.safetensors": safetensors()}))

    assert verdict.missing == "model.safetensors cannot be read"


@given(st.sampled_from(["model.safetensors", "optimizer.pt", "trainer_state.json"]), st.data())
def test_no_cut_off_file_is_called_complete(path: str, data: st.DataObject) -> None:
    contents = hugging_face()
    keep = data.draw(st.integers(min_value=0, max_value=len(contents[path]) - 1))

    verdict = judge(Memory(contents | {path: contents[path][:keep]}))

    assert not verdict.complete


@pytest.mark.parametrize("look", [judge, judge_weights])
@given(noise=st.binary(max_size=300))
def test_noise_is_judged_and_never_fails(look: Callable[[Memory], Verdict], noise: bytes) -> None:
    contents = {"model.safetensors": noise, "model.safetensors.index.json": noise, "trainer_state.json": noise, "pytorch_model.bin": noise}

    assert not look(Memory(contents)).complete
