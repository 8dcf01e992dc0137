"""What to watch for while a training runs, and whether it is only noted or the training is let save and stopped."""

from typing import Annotated

from msgspec import Meta, Struct


class Watch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A project's wishes; they are frozen into each of its runs."""

    stalled_after_seconds: Annotated[float, Meta(gt=0)] = 1800.0
    """A training that has said nothing for so long has stalled."""
    stop_when_stalled: bool = False
    stop_on_nan: bool = False
    """Stop when the training loss is not a number any more."""
