"""What is held out of the data to judge the training by."""

from __future__ import annotations

import random
from typing import TypeVar

from .recipe import Recipe

Sample = TypeVar("Sample")


def parted(samples: list[Sample], recipe: Recipe) -> tuple[list[Sample], list[Sample]]:
    """Part the samples into those to train on and those held out; the same ones for the same seed."""
    order = list(samples)
    random.Random(recipe.seed).shuffle(order)  # noqa: S311 - a deal that can be repeated
    held = max(1, round(len(order) * recipe.eval_split)) if recipe.eval_split and len(order) > 1 else 0
    return order[held:], order[:held]
