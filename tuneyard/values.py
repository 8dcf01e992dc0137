"""`--set KEY=VALUE` as a person types it, made into what JSON would have said: numbers, true and false, lists, else text."""

import json
import math
from typing import Any

import click


def from_option(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    """Each KEY=VALUE, the value read as JSON where it is JSON: 3, 2e-5, true, null, [1, 2], "3"."""
    return {key: _value(text) for key, text in _pairs(given)}


def texts(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """Each KEY=VALUE, the value kept as text."""
    return dict(_pairs(given))


def _pairs(given: tuple[str, ...]) -> list[tuple[str, str]]:
    pairs = []
    for text in given:
        key, sign, value = text.partition("=")
        if not sign or not key.strip():
            raise click.BadParameter(f"{text!r} is not KEY=VALUE, such as num_epochs=3")
        pairs.append((key.strip(), value))
    return pairs


def _value(text: str) -> Any:  # noqa: ANN401 - JSON
    try:
        # NaN and infinity, 1e999 too, are no JSON: they stay text, and the server says what it thinks of it.
        return json.loads(text, parse_constant=str, parse_float=lambda digits: float(digits) if math.isfinite(float(digits)) else digits)
    except ValueError:
        return text
