"""De-identification: megabytes a second that one core reads, with Hyperscan and without, clean text and text with personal data."""

import json
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import msgspec

from benchmarks.report import Figure, Section
from domain.deid.find import Detectors, Everywhere, Span, find
from domain.deid.people import PEOPLE
from domain.deid.policy import BUILT_IN
from infra.deid.engine import Engine, detectors
from infra.settings import load
from tests.deid import card, resident_id

BYTES = 10_000_000
SPANS_IN_10_MB = 5_860
"""So many values in 10 MB of text are the "3 %" of the goals."""
TEXTS = {"clean": 0, "3 %": SPANS_IN_10_MB}
GOALS = {"clean": 150, "3 %": 60}
SLOW = 150_000
"""Characters of the text for the plain engine, which takes its time."""
TURNS = 5
PLAIN = Detectors(BUILT_IN, Everywhere(BUILT_IN))
WANTED = frozenset(range(len(BUILT_IN) - len(PEOPLE)))

_CHINESE = (
    "大模型训练需要大量高质量语料，数据清洗是其中最重要的一步。",
    "今天的天气很好，适合外出散步。",
    "本文介绍了一种基于注意力机制的方法，准确率从87.3%提升到91.5%。",
    "系统将于2024年3月15日进行维护（约2小时），届时服务不可用。",
    "问：如何用Python读取CSV文件？答：可以使用pandas库的read_csv函数。",
    "公司2023年营收达到1,234.5亿元，同比增长15%。",
)
_ENGLISH = (
    "The scheduler retries failed jobs with exponential backoff.",
    "We report the average over five random seeds, see section 3.2.",
    "def forward(self, x):\n    return self.linear(x) + self.bias[0]\n",
)


def section(_: Path) -> Section:
    """Measure detection on one text, and whole JSONL lines from bytes to bytes."""
    figures = []
    ready = Engine(load({"TUNEYARD_DEID_KEYS": "k1:" + "ab" * 32})).ready("default", 42)
    for name, spans in TEXTS.items():
        goal, texts = GOALS[name], made_texts(spans, BYTES)
        whole = "\n".join(texts)
        assert len(_spans(detectors(people=False), whole)) >= spans * 0.99
        figures += [
            _figure(f"detect, {name}, Hyperscan", _rate(partial(_spans, detectors(people=False), whole), whole), goal),
            _figure(
                f"detect, {name}, plain re",
                _rate(partial(_spans, Detectors(BUILT_IN, Everywhere(BUILT_IN)), whole[:SLOW]), whole[:SLOW], turns=1),
            ),
        ]
        lines = [json.dumps({"id": number, "text": text}, ensure_ascii=False).encode() for number, text in enumerate(texts)]
        figures += [
            _figure(f"JSONL from bytes to bytes, {name}", _rate(partial(ready.json_lines, lines), *lines), goal),
            _figure(f"its ceiling: msgspec decodes and encodes, {name}", _rate(partial(_there_and_back, lines), *lines)),
        ]
    how = (
        f"{BYTES // 1_000_000} MB of Chinese and English text, lines of 300 bytes; processor time of one core, median of {TURNS} turns. "
        "Quality and speed beside Presidio and jionlp: `python -m benchmarks.deid_quality`, table in benchmarks/deid-quality.md."
    )
    return Section(title="De-identification", how=how, figures=figures)


def _spans(by: Detectors, text: str) -> list[Span]:
    return find(by, [text], None, WANTED)[0]


def made_texts(spans: int, size: int) -> list[str]:
    """Return so many bytes of text in lines, with so many values in them; the same in every run."""
    chance = random.Random(7)  # noqa: S311 - chance that can be repeated is what a measurement needs
    texts, made = [], 0
    while made < size:
        texts.append(" ".join(chance.choice(chance.choice((_CHINESE, _ENGLISH))) for _ in range(chance.randint(3, 8))))
        made += len(texts[-1].encode()) + 1
    values: Sequence[Callable[[], str]] = (
        lambda: f"电话138{chance.randrange(10**8):08}",
        lambda: f"邮箱zhang{chance.randrange(10**6)}@qq.com",
        lambda: f"身份证{resident_id(order=f'{chance.randrange(1000):03}')}",
        lambda: f"来自10.2.{chance.randrange(256)}.{chance.randrange(1, 250)}",
        lambda: f"银行卡号{card(middle=chance.randrange(10**6))}",
    )
    for _ in range(spans):
        texts[chance.randrange(len(texts))] += f"。{chance.choice(values)()}，"
    return texts


def _there_and_back(lines: list[bytes]) -> None:
    for line in lines:
        msgspec.json.encode(msgspec.json.decode(line))


def _rate(work: Callable[[], object], *texts: str | bytes, turns: int = TURNS) -> float:
    """Megabytes of these texts a second of one core."""
    size = sum(len(text.encode() if isinstance(text, str) else text) for text in texts)
    taken = []
    for _ in range(turns):
        begin = time.process_time()
        work()
        taken.append(time.process_time() - begin)
    return size / median(taken) / 1e6


def _figure(what: str, rate: float, goal: float | None = None) -> Figure:
    if goal is None:
        return Figure(what=what, value=f"{rate:,.1f} MB/s")
    return Figure(what=what, value=f"{rate:,.0f} MB/s", goal=f"≥ {goal:g} MB/s", met=rate >= goal)
