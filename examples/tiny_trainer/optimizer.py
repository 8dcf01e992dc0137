"""AdamW with gradient clipping, and a learning rate that warms up and then falls to nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from network import Weights
from recipe import Recipe

FIRST_DECAY, SECOND_DECAY, EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class Schedule:
    """How many steps there are, and what happens at which."""

    steps: int
    steps_per_epoch: int
    save_steps: int
    eval_steps: int
    warmup_steps: int
    learning_rate: float

    @classmethod
    def of(cls, recipe: Recipe, examples: int) -> Schedule:
        """The schedule of a recipe over this many examples; by default it saves and evaluates four times."""
        steps_per_epoch = math.ceil(examples / recipe.batch_size)
        steps = max(1, math.ceil(recipe.num_train_epochs * steps_per_epoch))
        steps = min(steps, recipe.max_steps) if recipe.max_steps else steps
        quarter = math.ceil(steps / 4)
        return cls(
            steps=steps,
            steps_per_epoch=steps_per_epoch,
            save_steps=recipe.save_steps or quarter,
            eval_steps=recipe.eval_steps or quarter,
            warmup_steps=math.ceil(recipe.warmup_ratio * steps),
            learning_rate=recipe.learning_rate,
        )

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 1."""
        if step <= self.warmup_steps:
            return self.learning_rate * step / self.warmup_steps
        return self.learning_rate * (self.steps - step + 1) / (self.steps - self.warmup_steps)


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay; the first and second moments of the gradients are all that it remembers."""

    first: Weights
    second: Weights
    weight_decay: float

    @classmethod
    def fresh(cls, weights: Weights, weight_decay: float) -> AdamW:
        """An optimizer that has seen nothing yet."""
        first, second = ({name: np.zeros_like(weight) for name, weight in weights.items()} for _ in range(2))
        return cls(first, second, weight_decay)

    def update(self, weights: Weights, gradients: Weights, step: int, rate: float) -> None:
        """Change the weights in place by the gradients of this step, counted from 1."""
        for name, gradient in gradients.items():
            first, second, weight = self.first[name], self.second[name], weights[name]
            first += (1 - FIRST_DECAY) * (gradient - first)
            second += (1 - SECOND_DECAY) * (gradient**2 - second)
            direction = (first / (1 - FIRST_DECAY**step)) / (np.sqrt(second / (1 - SECOND_DECAY**step)) + EPSILON)
            weight -= rate * (direction + self.weight_decay * weight)


def clip(gradients: Weights, limit: float) -> tuple[float, float]:
    """Scale the gradients in place to a norm of at most `limit` (0: no limit); gives the norm before, and the factor."""
    norm = math.sqrt(sum(float((gradient.astype(np.float64) ** 2).sum()) for gradient in gradients.values()))
    factor = limit / norm if 0 < limit < norm else 1.0
    for name in gradients:
        gradients[name] *= factor
    return norm, factor
