"""Reinforcement learning: a prompt with a better and a worse answer, or with several answers and their scores."""

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from domain.training.problem import Problem, kind
from domain.training.rule import Rule
from domain.training.sample import METADATA, Facts, Sifted, blank, further, missing, optional, text_at, with_extras, wrong_kind

Text = Annotated[str, Meta(min_length=1)]
PAIR = ("chosen", "rejected")


class Response(Struct, gc=False):
    """A plain answer with its score."""

    content: Text
    score: float


class Line(Struct, gc=False):
    """A plain preference."""

    prompt: Text
    chosen: Text | UnsetType = UNSET
    rejected: Text | UnsetType = UNSET
    responses: Annotated[list[Response], Meta(min_length=2)] | UnsetType = UNSET


class Rl:
    """The kind `rl`."""

    metrics = ("reward/mean", "kl_divergence", "episode_length")
    artifacts = ("model_final/", "checkpoint-N/", "tokenizer files")

    def line_type(self, extras: tuple[str, ...]) -> type[Struct]:
        """Return the type that reads a plain line with these further fields."""
        return with_extras(Line, extras)

    def sift(self, records: Sequence[Any], extras: tuple[str, ...]) -> Sifted:
        """Look at plain preferences."""
        answers = list(map(_plain_answers, records))
        contents = [[record.prompt, *given] for record, (given, _) in zip(records, answers, strict=True)]
        colons, odd = further(records, extras, METADATA)
        odd |= {index for index, (given, _) in enumerate(answers) if not given} | blank(contents)
        texts, turns = list(map("".join, contents)), [len(given) for given, _ in answers]
        colons += len(records) + sum(keys for _, keys in answers) + sum([text.count(":") for text in texts])
        return Sifted(texts=texts, turns=turns, odd=odd, colons=colons)

    def judge(self, record: dict[str, Any]) -> Iterator[Problem]:
        """Say what is wrong with a preference."""
        yield from text_at(record, "prompt")
        given = [field for field in PAIR if record.get(field) is not None]
        responses = record.get("responses")
        if len(given) == 1:
            absent = next(field for field in PAIR if field not in given)
            yield Problem(rule=Rule.half_pair, facts={"present": given[0], "absent": absent})
        for field in given:
            yield from text_at(record, field)
        if len(given) == len(PAIR):
            if record["chosen"] == record["rejected"]:
                yield Problem(rule=Rule.same_pair)
            if responses is not None:
                yield Problem(rule=Rule.two_styles)
        elif responses is not None:
            yield from _responses(responses)
        elif not given:
            yield Problem(rule=Rule.no_pair)
        yield from optional(record, METADATA)

    def facts(self, record: dict[str, Any]) -> Facts:
        """Measure a preference."""
        pair = [record[field] for field in PAIR if isinstance(record.get(field), str)]
        answers = pair or [each["content"] for each in record["responses"]]
        return Facts(text="".join([record["prompt"], *answers]), turns=len(answers))


def _plain_answers(record: Any) -> tuple[list[str], int]:  # noqa: ANN401 - of a type made by `with_extras`
    """Return the answers of a plain preference, none where anything is unusual, and how many keys they take."""
    chosen, rejected, responses = record.chosen, record.rejected, record.responses
    if responses is UNSET:
        if chosen is UNSET or rejected is UNSET or chosen == rejected:
            return [], 0
        return [chosen, rejected], 2
    if chosen is not UNSET or rejected is not UNSET:
        return [], 0
    if responses[0].score == responses[-1].score:
        return [], 0  # perhaps all are the same
    return [each.content for each in responses], 1 + 2 * len(responses)


def _responses(responses: object) -> Iterator[Problem]:
    if not isinstance(responses, list):
        yield wrong_kind("responses", list, responses)
        return
    scores = []
    for index, response in enumerate(responses):
        place = f"responses[{index}]"
        if not isinstance(response, dict):
            yield wrong_kind(place, dict, response)
            continue
        yield from text_at(response, "content", place)
        score = response.get("score")
        if "score" not in response:
            yield missing("score", f"{place}.score", float)
        elif isinstance(score, bool) or not isinstance(score, int | float) or not isfinite(score):
            yield Problem(rule=Rule.bad_score, place=f"{place}.score", facts={"field": "score"} | kind("found", type(score)))
        scores.append(score)
    if not responses:
        yield Problem(rule=Rule.no_pair, place="responses")
    elif len(responses) == 1:
        yield Problem(rule=Rule.one_response, place="responses")
    elif len({repr(score) for score in scores}) == 1:
        yield Problem(rule=Rule.same_scores, place="responses")
