"""What the training says: sentences for people, one JSON object a line for programs, and the same numbers for TensorBoard."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from events import EventFile
from optimizer import Schedule

# The names that transformers gives to these numbers in a trainer_state.json.
HISTORY_NAMES = {"train/loss": "loss", "eval/loss": "eval_loss", "grad_clip/norm": "grad_norm", "learning_rate": "learning_rate"}


@dataclass(frozen=True)
class Report:
    """The voice of one training; `history` is what its checkpoints remember."""

    events: EventFile
    schedule: Schedule
    history: list[dict[str, float]]

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Publish the numbers of a step, in full precision."""
        epoch = step / self.schedule.steps_per_epoch
        say(json.dumps({"step": step, "max_steps": self.schedule.steps, "epoch": epoch, **values}))
        self.events.scalars(step, values)
        remembered = {HISTORY_NAMES[name]: value for name, value in values.items() if name in HISTORY_NAMES}
        self.history.append({"step": step, "epoch": epoch, **remembered})


def say(line: str) -> None:
    """Print a line at once, in a single write."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
