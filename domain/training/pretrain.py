"""Pretraining: plain text, one document per line, as JSON with `text` or as it stands in a .txt file."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from msgspec import Meta, Struct

from domain.training.problem import Problem
from domain.training.sample import METADATA, Facts, Sifted, further, optional, text_at, with_extras


class Line(Struct, gc=False):
    """A plain document."""

    text: Annotated[str, Meta(min_length=1)]


class Pretrain:
    """The kind `pretrain`."""

    metrics = ("train/loss", "tokens/s", "train/grad_norm")
    artifacts = ("step-N/", "model_final/", "tokenizer files")

    def line_type(self, extras: tuple[str, ...]) -> type[Struct]:
        """Return the type that reads a plain line with these further fields."""
        return with_extras(Line, extras)

    def sift(self, records: Sequence[Any], extras: tuple[str, ...]) -> Sifted:
        """Look at plain documents."""
        texts = [record.text for record in records]
        colons, odd = further(records, extras, METADATA)
        odd.update(index for index, text in enumerate(texts) if text.isspace())
        colons += len(texts) + sum([text.count(":") for text in texts])
        return Sifted(texts=texts, turns=[1] * len(texts), odd=odd, colons=colons)

    def judge(self, record: dict[str, Any]) -> Iterator[Problem]:
        """Say what is wrong with a document."""
        yield from text_at(record, "text")
        yield from optional(record, METADATA)

    def facts(self, record: dict[str, Any]) -> Facts:
        """Measure a document."""
        return Facts(text=record["text"], turns=1)
