"""Trains a language model of fifteen thousand parameters on one core: python train.py <yaml>.

Exit codes: 0 trained to the end; 1 the training itself failed; 2 the config or data cannot be used;
143 (128 + SIGTERM) stopped on request, with a checkpoint of the last finished step.
"""

from __future__ import annotations

import math
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from checkpoint import Progress, load_checkpoint, save_checkpoint, save_model, write_json
from corpus import Corpus, joined, read_corpus
from events import EventFile
from network import fresh_weights, loss_and_gradients, loss_of
from optimizer import AdamW, Schedule, clip
from recipe import BadInput, Recipe, read_recipe
from report import Report, say

FAILED, UNUSABLE = 1, 2
STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}


class Diverged(Exception):
    """The loss is no longer a number, so further steps are in vain."""


def main(arguments: list[str]) -> int:
    """Train what the YAML asks for; gives the exit code."""
    # Stop signals are kept back and looked for between steps, so that neither a step nor a save is ever cut in two.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    # A loss that overflows is reported by us, in one sentence.
    np.seterr(over="ignore", invalid="ignore")
    if len(arguments) != 1:
        return _fail("give exactly one YAML file: bash run_train_full_sft.sh <yaml>", UNUSABLE)
    try:
        return _train(read_recipe(Path(arguments[0])))
    except BadInput as problem:
        return _fail(problem, UNUSABLE)
    except (Diverged, OSError) as problem:
        return _fail(problem, FAILED)


def _fail(problem: object, code: int) -> int:
    sys.stderr.write(f"error: {problem}\n")
    return code


def _train(recipe: Recipe) -> int:
    corpus = read_corpus(recipe)
    schedule = Schedule.of(recipe, len(corpus.training))
    progress = _starting_point(recipe)
    _introduce(recipe, corpus, schedule, progress)
    with EventFile(recipe.output_dir / "runs") as events:
        return Training(recipe, corpus, schedule, progress, Report(events, schedule, progress.history)).run()


def _starting_point(recipe: Recipe) -> Progress:
    if recipe.resume_from_checkpoint:
        return load_checkpoint(recipe.resume_from_checkpoint, recipe.weight_decay)
    weights = fresh_weights(recipe.seed)
    return Progress(0, weights, AdamW.fresh(weights, recipe.weight_decay), [])


def _introduce(recipe: Recipe, corpus: Corpus, schedule: Schedule, progress: Progress) -> None:
    if recipe.ignored_keys:
        say(f"note: keys this trainer does not use: {', '.join(recipe.ignored_keys)}")
    parameters = sum(weight.size for weight in progress.weights.values())
    say(f"{recipe.task_type} of {recipe.model_name}: a byte-level model of {parameters} parameters on one core")
    say(f"{recipe.dataset.name}: {len(corpus.training)} sequences to train on, {len(corpus.held_out)} held out")
    plan = f"{schedule.steps} steps of {recipe.batch_size} sequences, {schedule.steps_per_epoch} an epoch"
    say(f"{plan}; learning rate {recipe.learning_rate}")
    if recipe.resume_from_checkpoint:
        say(f"resuming after step {progress.step} from {recipe.resume_from_checkpoint}")


@dataclass
class Training:
    """One training from where it stands to its last step, or to the step at which it is told to stop."""

    recipe: Recipe
    corpus: Corpus
    schedule: Schedule
    progress: Progress
    report: Report

    def run(self) -> int:
        """Train; gives the exit code."""
        since, tokens = time.perf_counter(), 0
        while self.progress.step < self.schedule.steps:
            if stop := signal.sigtimedwait(STOP_SIGNALS, self.recipe.step_delay_seconds):
                return self._stopped(signal.Signals(stop.si_signo))
            learned, values = self._step()
            tokens += learned
            if self._due(self.recipe.logging_steps):
                now = time.perf_counter()
                self.report.metrics(self.progress.step, {**values, "tokens_per_second": tokens / (now - since)})
                since, tokens = now, 0
            if self._due(self.schedule.eval_steps) and (values := self._evaluate()):
                self.report.metrics(self.progress.step, values)
            if self._due(self.schedule.save_steps):
                say(f"saved {self._save()}")
        return self._finished()

    def _due(self, every: int) -> bool:
        return self.progress.step % every == 0 or self.progress.step == self.schedule.steps

    def _step(self) -> tuple[int, dict[str, float]]:
        """Take one step; gives how many tokens were learned from, and the step's numbers.

        The loss is this step's own, not a mean since the last report, so that a resumed run reports the same numbers.
        """
        progress = self.progress
        windows, targets = joined(self.corpus.batch(progress.step, self.recipe.batch_size))
        loss, gradients = loss_and_gradients(progress.weights, windows, targets)
        norm, factor = clip(gradients, self.recipe.max_grad_norm)
        progress.step += 1
        self._check(loss, norm)
        rate = self.schedule.rate(progress.step)
        progress.optimizer.update(progress.weights, gradients, progress.step, rate)
        return len(targets), {"train/loss": loss, "learning_rate": rate, "grad_clip/norm": norm, "grad_clip/factor": factor}

    def _evaluate(self) -> dict[str, float]:
        """The loss on what was held out, if anything was."""
        if not self.corpus.held_out:
            return {}
        loss = loss_of(self.progress.weights, *joined(self.corpus.held_out))
        self._check(loss)
        return {"eval/loss": loss}

    def _check(self, *numbers: float) -> None:
        if not all(math.isfinite(number) for number in numbers):
            raise Diverged(f"the loss is no longer a number at step {self.progress.step}: lower learning_rate, or look at the data")

    def _save(self) -> Path:
        return save_checkpoint(self.progress, self.recipe, self.schedule)

    def _stopped(self, stop: signal.Signals) -> int:
        step = self.progress.step
        if step:
            say(f"{stop.name}: saved {self._save()}, stopped after step {step} of {self.schedule.steps}")
        else:
            say(f"{stop.name}: stopped before the first step, so there is nothing to save")
        return 128 + stop

    def _finished(self) -> int:
        step = self.progress.step
        results = {"step": step, "epoch": step / self.schedule.steps_per_epoch, **self._evaluate()}
        write_json(self.recipe.output_dir / "eval_results.json", results)
        say(f"finished after step {step}: the model is in {save_model(self.progress.weights, self.recipe)}")
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
