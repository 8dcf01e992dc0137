"""The documents' five steps with the tiny trainer, which really trains: from nothing to a checkpoint, a model and metrics."""

from collections.abc import Callable

import pytest

from tests.e2e.steps import PRETRAIN, SFT, five_steps, left
from tests.house import PATIENCE, REPOSITORY, House


@pytest.fixture
def tiny(make_house: Callable[..., House], sqlite_url: str, redis_url: str) -> House:
    """A house whose trainings are the tiny trainer's."""
    return make_house(sqlite_url, redis_url, TUNEYARD_WORKING_DIR=str(REPOSITORY / "examples" / "tiny_trainer"))


def test_sft_by_the_documents_five_steps(tiny: House) -> None:
    run = five_steps(tiny, "sft", SFT, within=PATIENCE)

    assert {"train/loss", "eval/loss", "learning_rate", "tokens/s"} <= run["metrics"].keys()
    assert 2e-5 == run["config"]["learning_rate"]
    assert {("checkpoint", "checkpoint-3"), ("model", "model_final"), ("tokenizer", "model_final")} <= left(run)
    assert {"evaluation", "event"} <= {kind for kind, _ in left(run)}


def test_pretraining_by_the_documents_five_steps(tiny: House) -> None:
    run = five_steps(tiny, "pretrain", PRETRAIN, within=PATIENCE)

    assert {"train/loss", "learning_rate", "tokens/s"} <= run["metrics"].keys()
    assert {("model", "model_final"), ("tokenizer", "model_final")} <= left(run)
    assert "checkpoint" in {kind for kind, _ in left(run)}
