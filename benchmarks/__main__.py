"""`python -m benchmarks [SECTION …]`: measure, print, and say which goals were missed; exit code 1 only when something broke."""

import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from benchmarks import adoption, containers, deid, endpoints, gateway, ingest, inspection, pages, placement, starts
from benchmarks.report import Section, show, show_missed

SECTIONS: dict[str, Callable[[Path], Section]] = {
    "start": starts.section,
    "docker": containers.section,
    "adoption": adoption.section,
    "logs": ingest.section,
    "pages": pages.section,
    "http": endpoints.section,
    "placement": placement.section,
    "inspection": inspection.section,
    "gateway": gateway.section,
    "deid": deid.section,
}

WIDTH = 140
"""Columns where there is no terminal to ask."""


def main(names: list[str]) -> int:
    """Measure these sections, or all."""
    out = Console(highlight=False)
    if not out.is_terminal:
        out.width = WIDTH
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        out.print(f"there is no section {', '.join(unknown)}; known are {', '.join(SECTIONS)}")
        return 2
    done, broken = list[Section](), False
    out.print(
        f"{os.cpu_count()} cores; load average {os.getloadavg()[0]:.1f} before anything is measured (figures are meant for an idle machine)"
    )
    for name in names or SECTIONS:
        begin = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"bench-{name}-") as folder:
            try:
                section = SECTIONS[name](Path(folder))
            except Exception:  # noqa: BLE001 - the other sections are still worth measuring
                traceback.print_exc()
                broken = True
                continue
        done.append(section)
        show(section, out)
        out.print(f"[dim]{name} took {time.monotonic() - begin:.0f} s[/dim]")
    if done:
        show_missed(done, out)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
