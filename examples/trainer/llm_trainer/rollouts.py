"""RL from rewards (GRPO, RLOO, PPO): the policy answers, a judge scores the answers, the better ones become likelier.

PPO as such is no longer in trl, and is trained here as GRPO with PPO's settings: the same clipped objective for each token,
`update_epochs` passes over each rollout, advantages scaled over the whole rollout, and a KL coefficient that is steered
towards `kl_target`. One thing differs: what an answer is compared with is not a learned value but the mean of its prompt's other answers.
"""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from .arguments import arguments
from .corpus import Preference
from .course import Course
from .keys import BadInput
from .recipe import Recipe, Reinforcement
from .rewards import judge
from .voice import say
from .weights import load_model, load_tokenizer

FEWEST, USUAL = 2, 4
"""Answers to a prompt: with one there is nothing to compare it with; four where the rollout allows it."""
MOST_CHANGE = 0.2
"""So much at most, as a share, the KL coefficient is changed after a step; as in the controller that PPO has had since 2019."""


class GroupTrainer(Course, GRPOTrainer):
    """GRPO."""


class LeaveOneOutTrainer(Course, RLOOTrainer):
    """RLOO."""


class SteerKl(TrainerCallback, ExportableState):
    """Raises the KL coefficient while the policy is farther from where it began than the target, and lowers it while it is nearer."""

    def __init__(self, trainer: Course, target: float) -> None:
        self._trainer, self._target = trainer, target

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Go on with the coefficient that a checkpoint remembers."""
        earlier = state.stateful_callbacks.get(type(self).__name__)
        if isinstance(earlier, dict) and state.global_step:
            self._trainer.beta = earlier["attributes"]["beta"]

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, float], **_: object) -> None:
        """Compare the KL of these steps with the target."""
        if "kl" in logs:
            logs["kl_coefficient"] = self._trainer.beta
            error = max(-MOST_CHANGE, min(MOST_CHANGE, logs["kl"] / self._target - 1))
            self._trainer.beta *= 1 + MOST_CHANGE * error

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"args": {}, "attributes": {"beta": self._trainer.beta}}


def build(recipe: Recipe, asked: Reinforcement, preferences: list[Preference]) -> Course:
    """Load the policy and its judge and put a trainer together; BadInput with what is wrong."""
    answers = _answers(recipe, asked, prompts=len(preferences))
    tokenizer = load_tokenizer(recipe)
    reward, how = judge(recipe, asked)
    model = load_model(recipe, tokenizer)
    if asked.algorithm == "ppo":
        say("ppo: trl has no PPO any more, so this is GRPO with PPO's settings: clipped per token, update_epochs passes over each rollout,")
        say("     advantages scaled over the rollout, KL steered to kl_target; instead of a learned value, the prompt's mean reward")
    size = recipe.batch.size
    say(f"{recipe.dataset.name}: {len(preferences)} prompts; a rollout is {size} answers, {answers} to each of {size // answers} prompts")
    say(f"rewards: {how}")
    shared: dict[str, Any] = {
        **arguments(recipe, evaluates=False),
        "num_generations": answers,
        "num_iterations": asked.update_epochs,
        "max_completion_length": asked.max_completion_length,
        "temperature": asked.temperature,
        "beta": asked.kl_coefficient,
    }
    parts: dict[str, Any] = {
        "model": model,
        "reward_funcs": reward,
        "train_dataset": _as_chats(preferences),
        "processing_class": tokenizer,
    }
    trainer: Any
    if asked.algorithm == "rloo":
        trainer = LeaveOneOutTrainer(args=RLOOConfig(**shared), **parts)
    else:
        trainer = GroupTrainer(args=GRPOConfig(**shared, scale_rewards="batch" if asked.algorithm == "ppo" else "group"), **parts)
    if asked.kl_target and asked.kl_coefficient:
        trainer.add_callback(SteerKl(trainer, asked.kl_target))
    course: Course = trainer
    return course


def _answers(recipe: Recipe, asked: Reinforcement, prompts: int) -> int:
    """Give how many answers each prompt gets: they fill the rollout, and there are prompts enough for it."""
    size = recipe.batch.size
    wanted = [asked.num_generations] if asked.num_generations else [*range(USUAL, size + 1), *range(FEWEST, USUAL)]
    for answers in wanted:
        if answers >= FEWEST and size % answers == 0 and size // answers <= prompts:
            return answers
    if asked.num_generations:
        raise BadInput(
            f"rollout_batch_size {size} is not num_generations {asked.num_generations} (at least {FEWEST}) times a number of prompts"
            f" that the {prompts} of {recipe.dataset} suffice for"
        )
    raise BadInput(f"rollout_batch_size {size} is too small: each prompt needs at least {FEWEST} answers to compare")


def _as_chats(preferences: list[Preference]) -> Dataset:
    return Dataset.from_list(
        [
            {"prompt": [{"role": "user", "content": each.prompt}], "better": each.chosen, "worse": each.rejected or ""}
            for each in preferences
        ]
    )
