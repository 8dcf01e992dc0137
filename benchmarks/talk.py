"""A trainer that talks: so many numbered lines a second, at an even pace, for so many seconds; then it says how long that took.

`python -S talk.py LINES_PER_SECOND SECONDS REPORT` prints lines that `line` makes, and writes to REPORT when it began and ended.
"""

import os
import sys
import time
from pathlib import Path

BEATS_PER_SECOND = 100


def line(number: int) -> str:
    """Return line `number`: it carries its number twice, so that a damaged one is noticed."""
    return f"L {number} {number * 2654435761 % 2**32:08x} the loss is falling as it should"


def _main(per_second: int, seconds: int, report: Path) -> None:
    each = per_second // BEATS_PER_SECOND
    began = time.time()
    for beat in range(seconds * BEATS_PER_SECOND):
        content = "".join(f"{line(number)}\n" for number in range(beat * each, (beat + 1) * each)).encode()
        time.sleep(max(0.0, began + beat / BEATS_PER_SECOND - time.time()))
        while content:
            content = content[os.write(1, content) :]
    report.write_text(f"{began} {time.time()}\n")


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
