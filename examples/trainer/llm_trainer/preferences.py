"""RL from preferences (DPO): of two answers to a prompt, one is preferred."""

from __future__ import annotations

from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from .arguments import arguments
from .corpus import Preference
from .course import Course
from .keys import BadInput
from .parting import parted
from .recipe import Recipe, Reinforcement
from .voice import say
from .weights import load_model, load_tokenizer


class PreferenceTrainer(Course, DPOTrainer):
    """Trains on pairs of answers."""


def build(recipe: Recipe, asked: Reinforcement, preferences: list[Preference]) -> PreferenceTrainer:
    """Load the policy and put a trainer together; BadInput with what is wrong."""
    pairs = [each for each in preferences if each.rejected is not None]
    if len(pairs) < len(preferences):
        say(
            f"note: {len(preferences) - len(pairs)} prompts have no second answer that is worse, and DPO learns from two: they are left out"
        )
    training, held_out = parted(pairs, recipe)
    if not training:
        raise BadInput(f"dataset {recipe.dataset} holds no pair of a better and a worse answer; with rewards, use algorithm: grpo or ppo")
    if asked.reward_model:
        say("note: dpo learns from the pairs alone, so reward_model is not used")
    say(f"{recipe.dataset.name}: {len(training)} pairs to train on, {len(held_out)} held out")
    tokenizer = load_tokenizer(recipe)
    return PreferenceTrainer(
        model=load_model(recipe, tokenizer),
        args=DPOConfig(
            **arguments(recipe, evaluates=bool(held_out)),
            max_length=recipe.sequence_length,
            # How far the policy may go from where it began: the KL coefficient of the objective that DPO solves.
            beta=asked.kl_coefficient,
        ),
        train_dataset=_as_chats(training),
        eval_dataset=_as_chats(held_out) if held_out else None,
        processing_class=tokenizer,
    )


def _as_chats(pairs: list[Preference]) -> Dataset:
    return Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": each.prompt}],
                "chosen": [{"role": "assistant", "content": each.chosen}],
                "rejected": [{"role": "assistant", "content": each.rejected}],
            }
            for each in pairs
        ]
    )
