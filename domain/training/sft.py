"""Supervised fine-tuning: conversations whose answers are learned."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from domain.training.problem import Problem, shown
from domain.training.rule import Rule
from domain.training.sample import METADATA, Facts, Sifted, blank, further, missing, optional, text_at, with_extras, wrong_kind

ROLES = ("system", "user", "assistant", "tool")
OTHER_FORMATS = {"conversations": "ShareGPT", "instruction": "Alpaca"}
"""Fields by which people's other formats are known."""
SILENT = frozenset({"tool"})
"""Roles that may have nothing to say: a tool may return nothing."""
OPTIONAL: dict[str, type] = {"system_prompt": str, "input_template": str} | METADATA


class Message(Struct, gc=False):
    """A plain message."""

    role: Literal["system", "user", "assistant", "tool"]
    content: Annotated[str, Meta(min_length=1)]


class Line(Struct, gc=False):
    """A plain conversation."""

    messages: Annotated[list[Message], Meta(min_length=2)]


class Sft:
    """The kind `sft`."""

    metrics = ("train/loss", "eval/loss", "eval/rougeL")
    artifacts = ("model_final/", "checkpoint-N/", "tokenizer files")

    def line_type(self, extras: tuple[str, ...]) -> type[Struct]:
        """Return the type that reads a plain line with these further fields."""
        return with_extras(Line, extras)

    def sift(self, records: Sequence[Any], extras: tuple[str, ...]) -> Sifted:
        """Look at plain conversations."""
        rows = [record.messages for record in records]
        contents = [[message.content for message in messages] for messages in rows]
        orders = [tuple([message.role for message in messages]) for messages in rows]
        texts, turns = list(map("".join, contents)), list(map(len, rows))
        colons, odd = further(records, extras, OPTIONAL)
        if any(map(str.isspace, chain.from_iterable(contents))):
            odd |= blank(contents)
        if not all(map(_plain_order, set(orders))):
            odd |= {index for index, order in enumerate(orders) if not _plain_order(order)}
        colons += len(rows) + 2 * sum(turns) + sum([text.count(":") for text in texts])
        return Sifted(texts=texts, turns=turns, odd=odd, colons=colons)

    def judge(self, record: dict[str, Any]) -> Iterator[Problem]:
        """Say what is wrong with a conversation."""
        messages = record.get("messages")
        if "messages" not in record:
            yield _no_messages(record)
        elif not isinstance(messages, list):
            yield wrong_kind("messages", list, messages)
        else:
            for index, message in enumerate(messages):
                yield from _message(message, f"messages[{index}]")
            yield from _order([each.get("role") if isinstance(each, dict) else None for each in messages])
        yield from optional(record, OPTIONAL)

    def facts(self, record: dict[str, Any]) -> Facts:
        """Measure a conversation."""
        messages = record["messages"]
        return Facts(text="".join(each.get("content") or "" for each in messages), turns=len(messages))


@lru_cache(maxsize=4096)
def _plain_order(roles: tuple[str, ...]) -> bool:
    return next(_order(roles), None) is None


def _no_messages(record: dict[str, Any]) -> Problem:
    name = next((name for field, name in OTHER_FORMATS.items() if field in record), None)
    if name:
        return Problem(rule=Rule.other_format, facts={"format": name})
    return missing("messages", "messages", list)


def _message(message: object, place: str) -> Iterator[Problem]:
    if not isinstance(message, dict):
        yield wrong_kind(place, dict, message)
        return
    role = message.get("role")
    if "role" not in message and {"from", "value"} <= set(message):
        yield Problem(rule=Rule.other_format, place=place, facts={"format": "ShareGPT"})
        return
    if "role" not in message:
        yield missing("role", f"{place}.role", str)
    elif not isinstance(role, str):
        yield wrong_kind(f"{place}.role", str, role)
    elif role not in ROLES:
        yield Problem(rule=Rule.unknown_role, place=f"{place}.role", facts={"role": shown(role)})
    if message.get("tool_calls") and not message.get("content"):
        return
    if role in SILENT and message.get("content") == "":
        return
    yield from text_at(message, "content", place)


def _order(roles: Sequence[object]) -> Iterator[Problem]:
    """Look at who speaks when; where a role is no role at all, that has been said and the order means nothing."""
    if not all(role in ROLES for role in roles):
        return
    if "user" not in roles:
        yield Problem(rule=Rule.no_user, place="messages")
    if "assistant" not in roles:
        yield Problem(rule=Rule.no_assistant, place="messages")
    if not {"user", "assistant"} <= set(roles):
        return
    spoken = [(index, str(role)) for index, role in enumerate(roles) if role != "system"]
    first, role = spoken[0]
    if role != "user":
        yield Problem(rule=Rule.assistant_first, place=f"messages[{first}]", facts={"role": role})
    for index in range(1, len(roles)):
        yield from _after(str(roles[index - 1]), str(roles[index]), f"messages[{index}]")
    last, role = spoken[-1]
    if role != "assistant":
        yield Problem(rule=Rule.no_last_answer, place=f"messages[{last}]", facts={"role": role})


def _after(before: str, role: str, place: str) -> Iterator[Problem]:
    if role == "system":
        yield Problem(rule=Rule.late_system, place=place)
    elif role == "tool" and before not in ("assistant", "tool"):
        yield Problem(rule=Rule.lost_tool, place=place)
    elif role == before and role != "tool":
        yield Problem(rule=Rule.same_role_twice, place=place, facts={"role": role})
