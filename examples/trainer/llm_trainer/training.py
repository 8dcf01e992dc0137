"""One training from the recipe to what it leaves behind."""

from __future__ import annotations

import json

import torch
import transformers
from datasets import disable_progress_bars

from . import conversations, plain_text, rollouts
from . import preferences as preference_pairs
from .corpus import read_preferences
from .course import Course, in_place
from .keys import Failed
from .recipe import Recipe
from .stop import EXIT_CODE, Stop
from .voice import Diverged, is_first, say


def train(recipe: Recipe, stop: Stop) -> int:
    """Train; gives the exit code. Failed with the reason when the loss diverges or the GPU's memory does not suffice."""
    disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    # Pretraining's checkpoints are step-10000/ and the like, as the documents have it.
    transformers.trainer.PREFIX_CHECKPOINT_DIR = "step" if recipe.task_type == "pretrain" else "checkpoint"
    try:
        return _train(recipe, stop)
    except Diverged as problem:
        raise Failed(str(problem)) from None
    except torch.OutOfMemoryError as problem:
        message = str(problem).split(". ", 1)[0]
        raise Failed(f"{message}: lower per_device_train_batch_size or the sequence length, or set gradient_checkpointing: true") from None
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _train(recipe: Recipe, stop: Stop) -> int:
    if recipe.ignored_keys:
        say(f"note: keys this trainer does not use: {', '.join(recipe.ignored_keys)}")
    trainer = _build(recipe)
    trainer.begin(recipe, stop)
    _introduce(recipe, trainer)
    stop.training = True
    trainer.train(resume_from_checkpoint=str(recipe.resume_from_checkpoint) if recipe.resume_from_checkpoint else None)
    stop.training = False
    (recipe.output_dir / ".tokens").unlink(missing_ok=True)
    return _stopped(trainer, stop) if trainer.was_stopped else _finished(trainer, recipe)


def _build(recipe: Recipe) -> Course:
    if recipe.task_type == "pretrain":
        return plain_text.build(recipe)
    if recipe.reinforcement is None:
        return conversations.build(recipe)
    preferences = read_preferences(recipe.dataset)
    asked = recipe.reinforcement.chosen_for(pairs=any(each.rejected is not None for each in preferences))
    if asked.algorithm == "dpo":
        return preference_pairs.build(recipe, asked, preferences)
    return rollouts.build(recipe, asked, preferences)


def _introduce(recipe: Recipe, trainer: Course) -> None:
    parameters = trainer.model.num_parameters()
    learned = trainer.model.num_parameters(only_trainable=True)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    batch = recipe.batch
    dealt = f"{batch.per_device} at a time on {batch.devices} {device}, {batch.accumulation} accumulated"
    say(f"{recipe.task_type} of {recipe.model}: {learned} of {parameters} parameters learn; {batch.size} sequences a step, {dealt}")
    if recipe.resume_from_checkpoint:
        say(f"resuming from {recipe.resume_from_checkpoint}")


def _stopped(trainer: Course, stop: Stop) -> int:
    say(f"{stop.by or 'another process'}: stopped after step {trainer.state.global_step} of {trainer.state.max_steps}")
    return EXIT_CODE


def _finished(trainer: Course, recipe: Recipe) -> int:
    """Leave the model, or the adapter, and what the last evaluation said."""
    folder = recipe.output_dir / ("adapter_final" if recipe.lora else "model_final")
    in_place(folder, trainer.save_model, owner=is_first())
    if not is_first():
        return 0
    results: dict[str, float] = {}
    for entry in trainer.state.log_history:
        results |= {f"eval/{name[5:]}": value for name, value in entry.items() if name.startswith("eval_")}
    if results:
        results = {"step": trainer.state.global_step, "epoch": trainer.state.epoch, **results}
        (recipe.output_dir / "eval_results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    say(f"finished after step {trainer.state.global_step}: the {'adapter' if recipe.lora else 'model'} is in {folder}")
    return 0
