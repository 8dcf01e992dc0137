"""The metrics file that LLaMA-Factory writes beside its output (`trainer_log.jsonl`): the same numbers as in the log, with their step."""

import os
from pathlib import Path

from msgspec import Struct

from domain.runs.measured import Measured, measured
from infra.files.beneath import open_beneath

NAME = "trainer_log.jsonl"
READ_BYTES = 256 * 1024


class Report(Struct, frozen=True, kw_only=True):
    """What was new in the file."""

    consumed: int = 0
    """Bytes of whole lines."""
    measured: list[Measured] = []
    progress: float | None = None


def read_report(output: Path, offset: int) -> Report:
    """Read what the file has gained since `offset`; nothing where there is no such file."""
    try:
        with os.fdopen(open_beneath(output, NAME), "rb") as file:
            file.seek(offset)
            data = file.read(READ_BYTES)
    except OSError:
        return Report()
    consumed = data.rfind(b"\n") + 1
    facts = [fact for index, line in enumerate(data[:consumed].splitlines()) if (fact := measured(line, index)) is not None]
    return Report(
        consumed=consumed,
        measured=[fact for fact in facts if fact.values],
        progress=max((fact.done for fact in facts if fact.done is not None), default=None),
    )
