"""Who judges the policy's answers: a reward model on a disk, a reward service, or the answers that the data itself prefers."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from .keys import BadInput
from .places import find
from .recipe import Recipe, Reinforcement
from .rouge import rouge_l
from .voice import Diverged

SECONDS = 120.0
"""A service that has not judged a rollout by then is taken to be gone."""
Judge = Callable[..., list[float]]


def judge(recipe: Recipe, asked: Reinforcement) -> tuple[Judge | PreTrainedModel, str]:
    """Give the judge, as trl takes one, and a sentence about it."""
    name = asked.reward_model
    if not name:
        return closeness, "no reward_model, so an answer is judged by its ROUGE-L to the better answer of the data, less that to the worse"
    if name.startswith(("http://", "https://")):
        return _service(name), f"{name} judges"
    return _model(name, recipe), f"the reward model {name} judges"


def closeness(completions: list[Any], better: list[str], worse: list[str], **_: object) -> list[float]:
    """Judge answers by how much nearer they come to the better answer than to the worse; from -1 to 1."""
    said = [completion[0]["content"] for completion in completions]
    return [rouge_l(answer, good) - rouge_l(answer, bad) for answer, good, bad in zip(said, better, worse, strict=True)]


def _model(name: str, recipe: Recipe) -> PreTrainedModel:
    place = find(name, "reward_model", recipe.config)
    try:
        model = AutoModelForSequenceClassification.from_pretrained(place, num_labels=1)
        tokenizer = AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError, KeyError) as problem:
        raise BadInput(f"reward_model: {name} cannot be loaded: {str(problem).split(chr(10), 1)[0]}") from None
    model.config.pad_token_id = model.config.pad_token_id or tokenizer.pad_token_id or tokenizer.eos_token_id
    return model


def _service(url: str) -> Judge:
    """Ask a service as OpenRLHF's reward servers are asked: `query` and `prompts` go, `rewards` come back."""

    def served(prompts: list[Any], completions: list[Any], **_: object) -> list[float]:
        asked = [prompt[-1]["content"] for prompt in prompts]
        said = [completion[0]["content"] for completion in completions]
        body = {
            "query": [f"{question}\n{answer}" for question, answer in zip(asked, said, strict=True)],
            "prompts": asked,
            "responses": said,
        }
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310 - http(s), see judge
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310 - likewise
                rewards = json.load(answer)["rewards"]
            return [float(reward) for reward in rewards]
        except (OSError, urllib.error.URLError, ValueError, KeyError, TypeError) as problem:
            raise Diverged(f"the reward model {url} gave no rewards: {problem!r}") from None

    return served
