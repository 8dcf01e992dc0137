"""LoRA fine-tuning: conversations as for supervised fine-tuning, which may say the adapter's rank and where it is put."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from domain.training.problem import Problem, shown
from domain.training.rule import Rule
from domain.training.sample import Facts, Sifted, wrong_kind
from domain.training.sft import Sft

LARGEST_RANK = 1024
MARKS = ("rank", "target_modules")
"""What must agree within a file: it trains one adapter."""


class Lora:
    """The kind `lora`."""

    metrics = ("train/loss", "eval/loss", "weight norms")
    artifacts = ("adapter_config.json", "adapter_model.safetensors", "checkpoint-N/")

    _chat = Sft()

    def line_type(self, extras: tuple[str, ...]) -> type[Struct]:
        """Return the type that reads a plain line with these further fields."""
        return self._chat.line_type(extras)

    def sift(self, records: Sequence[Any], extras: tuple[str, ...]) -> Sifted:
        """Look at plain conversations."""
        found = self._chat.sift(records, extras)
        fields = [(name, f"extra_{extras.index(name)}") for name in MARKS if name in extras]
        for index, record in enumerate(records if fields else ()):
            marks = {name: value for name, field in fields if (value := _read(getattr(record, field))) is not None}
            if marks:
                found.marks.append((index, marks))
                if next(_marks(marks), None):
                    found.odd.add(index)
        return found

    def judge(self, record: dict[str, Any]) -> Iterator[Problem]:
        """Say what is wrong with a conversation, and with what it says of the adapter."""
        yield from self._chat.judge(record)
        yield from _marks(record)

    def facts(self, record: dict[str, Any]) -> Facts:
        """Measure a conversation."""
        found = self._chat.facts(record)
        found.marks = {name: record[name] for name in MARKS if record.get(name) is not None}
        return found


def _read(value: Raw | None) -> object:
    try:
        return None if value is None else msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # its line is looked at carefully


def disagreement(field: str, first: int, before: object, found: object) -> Problem:
    """Say that a sample and an earlier one mean different adapters."""
    rule = Rule.rank_differs if field == "rank" else Rule.modules_differ
    return Problem(rule=rule, place=field, facts={"found": _listed(found), "before": _listed(before), "first": f"{first:,}"})


def _marks(record: dict[str, Any]) -> Iterator[Problem]:
    rank, modules = record.get("rank"), record.get("target_modules")
    if rank is not None and (type(rank) is not int or not 1 <= rank <= LARGEST_RANK):
        yield Problem(
            rule=Rule.bad_rank,
            place="rank",
            facts={"found": f'"{shown(rank)}"' if isinstance(rank, str) else shown(rank), "limit": str(LARGEST_RANK)},
        )
    if modules is None:
        return
    if not isinstance(modules, list):
        yield wrong_kind("target_modules", list, modules)
        return
    for index, module in enumerate(modules):
        if not isinstance(module, str):
            yield wrong_kind(f"target_modules[{index}]", str, module)
    if not modules:
        yield Problem(rule=Rule.empty_text, place="target_modules", facts={"field": "target_modules"})


def _listed(value: object) -> str:
    return shown(", ".join(map(str, value)) if isinstance(value, list) else value)
