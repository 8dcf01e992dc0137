"""What every training here does alike, whichever trainer of transformers or trl takes the steps: stop, resume, save.

A stop ends the training after the step at hand, with a checkpoint of that step. A checkpoint keeps the file
`checkpoint-is-incomplete.txt`, the mark that Hugging Face itself uses, until all of it is written.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import transformers.trainer
from transformers import PreTrainedModel, PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from .recipe import Recipe
from .stop import Stop
from .voice import Voice, say

MARKER = "checkpoint-is-incomplete.txt"
READABLE = 0o644
"""safetensors writes files that only their owner may read; whoever serves or downloads a model is often somebody else."""

if TYPE_CHECKING:
    from transformers import Trainer
else:
    Trainer = object


class CutShort(Exception):
    """An evaluation ended early because the training is to stop."""


class Course(Trainer):
    """Mixed into a trainer, before its own class."""

    stop: Stop
    was_stopped = False
    """Whether the training ended because it was told to."""

    def begin(self, recipe: Recipe, stop: Stop) -> None:
        """Listen and report from now on; called once, before `train`."""
        self.stop = stop
        self.remove_callback(PrinterCallback)
        self.add_callback(Voice(recipe.output_dir / "runs", recipe.max_grad_norm))
        self.add_callback(_Listener(self))

    def is_to_stop(self) -> bool:
        """Whether any of the processes was told to stop; all of them ask at the same point, so that none waits for another."""
        told = self.stop.by is not None
        if self.args.world_size > 1:
            flag = torch.tensor(int(told), device=self.args.device)
            torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
            told = bool(flag.item())
        return told

    def evaluate(self, *args: object, **kwargs: object) -> dict[str, float]:
        """Evaluate; a stop meanwhile ends it without a result, and the training with a checkpoint."""
        try:
            metrics: dict[str, float] = super().evaluate(*args, **kwargs)
        except CutShort:
            self.control.should_save = self.control.should_training_stop = True
            return {}
        return metrics

    def create_model_card(self, *_: object, **__: object) -> None:
        """Write none: what is known of a run is in its records, not in a template."""

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:  # noqa: FBT001, FBT002 - as in transformers
        """Save what can be loaded again, readable by others."""
        super().save_model(output_dir, _internal_call)
        if self.args.should_save and output_dir:
            for path in Path(output_dir).rglob("*"):
                if path.is_file():
                    path.chmod(READABLE | path.stat().st_mode)

    def _save_checkpoint(self, model: PreTrainedModel, trial: object) -> None:
        folder = Path(self.args.output_dir) / f"{transformers.trainer.PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        if self.args.should_save:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / MARKER).write_text("this checkpoint is being written\n")
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            (folder / MARKER).unlink()
            say(f"saved {folder}")

    def _init_training_state(self, max_steps: int, *rest: object) -> tuple[int, int]:
        position: tuple[int, int] = super()._init_training_state(max_steps, *rest)
        # A checkpoint brings along how often its own run saved, logged and evaluated; this run's YAML decides for this run.
        self.state.compute_steps(self.args, max_steps)
        return position

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Take the optimizer's memory from the checkpoint, but the learning rate and the like from this run's YAML."""
        asked = [{name: value for name, value in group.items() if name not in {"params", "lr"}} for group in self.optimizer.param_groups]
        super()._load_optimizer_and_scheduler(checkpoint)
        for group, settings in zip(self.optimizer.param_groups, asked, strict=True):
            group.update(settings)
        schedule = self.lr_scheduler
        if not hasattr(schedule, "lr_lambdas"):
            return
        schedule.base_lrs = [group["initial_lr"] for group in self.optimizer.param_groups]
        schedule.last_epoch = self.state.global_step
        rates = [rate * factor(schedule.last_epoch) for rate, factor in zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)]
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        schedule._last_lr = rates  # noqa: SLF001 - what the scheduler gives out as the present rate


class _Listener(TrainerCallback):
    """Ends the training when it is told to stop; the last of the callbacks, so that its word counts."""

    def __init__(self, course: Course) -> None:
        self._course = course

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Save and stop after this step; nothing is evaluated any more."""
        if self._course.is_to_stop():
            self._course.was_stopped = control.should_log = control.should_save = control.should_training_stop = True
            control.should_evaluate = False

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Do nothing twice: the last step has been saved."""
        if self._course.was_stopped:
            control.should_evaluate = control.should_save = False

    def on_prediction_step(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Leave an evaluation; it may take longer than the grace."""
        if self._course.is_to_stop():
            self._course.was_stopped = True
            raise CutShort


def in_place(folder: Path, write: Callable[[str], None], *, owner: bool) -> None:
    """Write a folder under a hidden name, and give it its own when all of it is there; every process calls this, one owns the folder."""
    hidden = folder.with_name(f".{folder.name}")
    if owner:
        shutil.rmtree(hidden, ignore_errors=True)
    write(str(hidden))
    if owner:
        shutil.rmtree(folder, ignore_errors=True)
        hidden.rename(folder)
