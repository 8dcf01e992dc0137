"""A gigabyte of conversations judged line by line, beside the same file merely decoded; then preflights and launches of it."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from benchmarks.report import Figure, Section
from domain.training.report import Report
from tests.house import REPOSITORY, House

SIZE = 10**9
MB, MIB = 10**6, 2**20
RATE_GOAL, MEMORY_GOAL = 100 * MB, 200 * MIB
SHARE_GOAL = 0.5
"""Of the rate of a bare decode."""
PREFLIGHTS, PREFLIGHT_GOAL = 50, 0.1
WORDS = [
    "训练",
    "数据",
    "模型",
    "检查点",
    "恢复",
    "损失",
    "学习率",
    "梯度",
    "批次",
    "权重",
    "the",
    "loss",
    "of",
    "a",
    "model:",
    "resume,",
    "batch",
    "size",
    "4",
    "and",
    "10:30",
    '"quoted"',
]

MEASURE = """
import sys, time
begin = time.process_time()
{work}
seconds = time.process_time() - begin
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
sys.stderr.write(f"{{seconds}} {{peak}}")
"""
OURS = "from infra.files.inspection import main; main(*sys.argv[1:])"
BARE = "import msgspec; decode = msgspec.json.Decoder().decode\nfor line in open(sys.argv[1] + '/' + sys.argv[2], 'rb'): decode(line)"
PLAIN = "import json\nfor line in open(sys.argv[1] + '/' + sys.argv[2], 'rb'): json.loads(line)"


def section(folder: Path) -> Section:
    """Measure each in a process of its own, by the CPU time it takes."""
    path = folder / "large.jsonl"
    with path.open("wb") as file:
        file.writelines(_lines())
    size = path.stat().st_size
    (ours, memory, output), (bare, _, _), (plain, _, _) = (_measured(work, path) for work in (OURS, BARE, PLAIN))
    report = msgspec.json.decode(output, type=Report)
    assert report.usable
    assert report.sound == report.lines
    figures = [
        _rate("inspection", size, ours, goal=f"> {RATE_GOAL // MB} MB/s", met=size / ours > RATE_GOAL),
        _rate("bare msgspec.json decode, line by line", size, bare),
        _rate("json.loads, line by line", size, plain),
        Figure(
            what="inspection's share of the bare decode's rate",
            value=f"{bare / ours:.2f}",
            goal=f"> {SHARE_GOAL}",
            met=bare / ours > SHARE_GOAL,
        ),
        Figure(what="inspection, peak memory", value=f"{memory // MIB} MiB", goal=f"< {MEMORY_GOAL // MIB} MiB", met=memory < MEMORY_GOAL),
        *_answers(folder, path),
    ]
    how = (
        f"{report.lines:,} conversations of {size // report.lines:,} bytes, two thirds Chinese, no two alike; each program in a process "
        f"of its own, rates by its CPU time. Then {PREFLIGHTS} preflights and launches of that file as HTTP requests, one after another."
    )
    return Section(title="inspection of a data file", how=how, figures=figures)


def _answers(folder: Path, path: Path) -> list[Figure]:
    """Time preflights and launches of a file whose report is there."""
    house = House(folder / "house", f"sqlite:///{folder}/training.db").start()
    try:
        house.project("p")
        (house.training / "large.jsonl").hardlink_to(path)
        body = {"dataset": "large.jsonl"}
        while house.client.post("/projects/p/runs?dry_run=true", json=body).status_code != 200:  # noqa: PLR2004 - it is being inspected
            time.sleep(1)
        figures = []
        for what, address, goal in (("preflight", "?dry_run=true", PREFLIGHT_GOAL), ("launch", "", None)):
            seconds = sorted(_timed(house, address, body) for _ in range(PREFLIGHTS))
            p50, worst = seconds[len(seconds) // 2], seconds[-1]
            goal_text, met = (f"< {goal * 1000:.0f} ms", worst < goal) if goal else ("", None)
            figures.append(
                Figure(
                    what=f"{what} of it, once inspected", value=f"{p50 * 1000:.0f} ms, slowest {worst * 1000:.0f}", goal=goal_text, met=met
                )
            )
        return figures
    finally:
        house.close()


def _timed(house: House, address: str, body: dict[str, str]) -> float:
    begin = time.perf_counter()
    house.ok("POST", f"/projects/p/runs{address}", json=body)
    return time.perf_counter() - begin


def _measured(work: str, path: Path) -> tuple[float, int, bytes]:
    """Seconds of CPU, most bytes of memory, and what it printed."""
    command = [sys.executable, "-P", "-c", MEASURE.format(work=work), str(path.parent), path.name, "100", "sft", ""]
    done = subprocess.run(command, capture_output=True, check=True, cwd=REPOSITORY)
    seconds, kilobytes = done.stderr.split()
    return float(seconds), int(kilobytes) * 1024, done.stdout


def _lines() -> Iterator[bytes]:
    chance = random.Random(7)  # noqa: S311 - the same file every time
    bodies = [_body(chance, chinese=number % 3 > 0) for number in range(997)]
    size = number = 0
    while size < SIZE:
        line = (
            b'{"conversation_id": "c-%d", "messages": [{"role": "user", "content": "%d ' % (number, number) + bodies[number % len(bodies)]
        )
        size, number = size + len(line), number + 1
        yield line


def _body(chance: random.Random, *, chinese: bool) -> bytes:
    words = WORDS[:10] if chinese else WORDS[10:]

    def text(size: int) -> str:
        said = ""
        while len(said.encode()) < size:
            said += chance.choice(words) + ("" if chinese else " ")
        return json.dumps(said + "\n", ensure_ascii=False)

    turns = chance.choice((1, 1, 2, 3))
    each = 1850 // (2 * turns)
    first = text(each // 2)[1:] + '}, {"role": "assistant", "content": ' + text(each * 3 // 2) + "}"
    rest = "".join(
        f', {{"role": "user", "content": {text(each // 2)}}}, {{"role": "assistant", "content": {text(each * 3 // 2)}}}'
        for _ in range(turns - 1)
    )
    return f'{first}{rest}], "metadata": {{"language": "{"zh" if chinese else "en"}"}}}}\n'.encode()


def _rate(what: str, size: int, seconds: float, *, goal: str = "", met: bool | None = None) -> Figure:
    return Figure(what=what, value=f"{size / seconds / MB:,.0f} MB/s", goal=goal, met=met)
