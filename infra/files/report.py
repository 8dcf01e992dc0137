"""The metrics file that LLaMA-Factory writes beside its output (`trainer_log.jsonl`): the same numbers as in the log, with their step."""

import os
from pathlib import Path

from msgspec import Struct

from domain.errors import Invalid
from domain.runs.measured import Measured, measured
from infra.files.beneath import open_beneath

NAME = "trainer_log.jsonl"
READ_BYTES = 256 * 1024


class Report(Struct, frozen=True, kw_only=True):
    """What was new in the file."""

    end: int
    """Bytes of whole lines that were read of the file by now."""
    measured: list[Measured] = []
    progress: float | None = None


def read_report(output: Path, offset: int) -> Report:
    """Read what the file has gained since `offset`, or all of one that was begun anew; nothing where no plain file lies there."""
    try:
        with os.fdopen(open_beneath(output, NAME), "rb") as file:
            begin = offset if os.fstat(file.fileno()).st_size >= offset else 0
            file.seek(begin)
            data = file.read(READ_BYTES)
    except (OSError, Invalid):
        return Report(end=offset)
    consumed = data.rfind(b"\n") + 1
    facts = [fact for index, line in enumerate(data[:consumed].splitlines()) if (fact := measured(line, index)) is not None]
    return Report(
        end=begin + consumed,
        measured=[fact for fact in facts if fact.values],
        progress=max((fact.done for fact in facts if fact.done is not None), default=None),
    )
