"""`python -m benchmarks.deid_quality EVALUATION [--rivals VENV]`: ours beside Presidio and jionlp, by one scorer: how well, and how fast.

EVALUATION is a folder with `gen.py`, `score.py`, `systems.py` and `templates_dev.py`; the set is made anew, seeded, and not kept.
The rivals are installed from PyPI into a virtual environment of their own (VENV, else a temporary one), never into ours.
The table is written to benchmarks/deid-quality.md.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.deid import BYTES, TEXTS, made_texts
from domain.deid.find import Detectors, Everywhere, find
from domain.deid.people import PEOPLE
from domain.deid.policy import BUILT_IN
from infra.deid import engine

RIVALS = ("presidio-analyzer==2.2.366", "jionlp==1.5.31")
SYSTEMS = ("presidio_en_default", "presidio_zh_default", "presidio_zh_cnphone", "jionlp", "regex_naive")
SEED, EXAMPLES = 20251, 2000
TABLE = Path(__file__).with_name("deid-quality.md")
HEADINGS = ("", "P", "R", "F1", "leak", "hard negatives", "worst kind", "MB/s")

SLOWEST = "presidio_zh_default"
"""Presidio as it comes, for Chinese: what the speeds are multiples of."""
SPEED_BYTES, PART = 1_000_000, 64_000
"""The text of `make bench ARGS=deid`, handed over in parts of so many characters, that no system pays for many little calls."""

Predict = Callable[[str], list[tuple[int, int, str]]]


def main() -> int:
    """Make the set, score everybody, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("evaluation", type=Path)
    parser.add_argument("--rivals", type=Path, help="a virtual environment for the rivals; made when it is not there")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="deid-quality-") as folder:
        labelled = Path(folder, "dev.jsonl")
        templates = asked.evaluation / "templates_dev.py"
        _run(sys.executable, asked.evaluation / "gen.py", "--templates", templates, "--seed", SEED, "--n", EXAMPLES, "--out", labelled)
        rival = _rivals(asked.rivals or Path(folder, "rivals"))
        score = _module(asked.evaluation / "score.py")
        documents = [json.loads(line) for line in labelled.read_text().splitlines()]
        structural = list(score.subset(documents, score.STRUCT))
        everything = [*{each["type"] for document in documents for each in document["spans"]}]
        context = list(score.subset(documents, set(everything) - {"PERSON", "ADDRESS"}))
        theirs = {each: _theirs(rival, asked.evaluation, labelled, folder, each) for each in ("--struct", "-v")}
        speeds = {name: _speeds(score, rival, asked.evaluation, Path(folder), spans) for name, spans in TEXTS.items()}
        tables = {
            "Structural types (a checksum, a prefix or the shape suffices)": _ours(score, structural) | theirs["--struct"],
            "All types but names and addresses (words and JSON fields beside the value)": _ours(score, context),
            "All types, names and addresses opted in": _ours(score, documents, people=True) | theirs["-v"],
        }
    TABLE.write_text(_written(tables, speeds))
    sys.stdout.write(TABLE.read_text())
    return 0


def _rivals(folder: Path) -> Path:
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        _run(python, "-m", "pip", "install", "-q", *RIVALS)
    return python


def _theirs(python: Path, evaluation: Path, labelled: Path, folder: str, option: str) -> dict[str, Any]:
    out = Path(folder, "scores.json")
    _run(python, evaluation / "score.py", labelled, *SYSTEMS, "--json", out, option)
    scores: dict[str, Any] = json.loads(out.read_text())
    return scores


def _ours(score: Any, documents: list[Any], *, people: bool = False) -> dict[str, Any]:  # noqa: ANN401 - the scorer, loaded from a file
    rules = BUILT_IN if people else BUILT_IN[: -len(PEOPLE)]
    wanted, labels = frozenset(range(len(rules))), {rule.type: {rule.type} for rule in rules}

    def by(detectors: Detectors) -> Predict:
        return lambda text: [(each.start, each.end, each.type) for each in find(detectors, [text], None, wanted)[0]]

    plain = Detectors(BUILT_IN, Everywhere(rules))
    return {
        "**Tuneyard**": score.score(documents, by(engine.detectors(people=people)), labels),
        "Tuneyard without Hyperscan": score.score(documents, by(plain), labels),
    }


def _speeds(score: Any, rival: Path, evaluation: Path, folder: Path, spans: int) -> dict[str, float]:  # noqa: ANN401 - as above
    """Return megabytes a second of everybody on one text."""
    whole = "\n".join(made_texts(spans * SPEED_BYTES // BYTES, SPEED_BYTES))
    parts = [whole[at : at + PART] for at in range(0, len(whole), PART)]
    # The scorer wants a value in every document; here only its clock is read.
    value = {"type": "CN_MOBILE", "variant": "", "start": 0, "end": 1, "ostart": 0, "oend": 1}
    documents = [{"text": part, "spans": [value], "ignore": [], "negatives": []} for part in parts]
    file = folder / "speed.jsonl"
    file.write_text("\n".join(map(json.dumps, documents)))
    scores = _ours(score, documents) | _theirs(rival, evaluation, file, str(folder), "-v")
    return {name: each["MBps"] for name, each in scores.items()}


def _written(tables: dict[str, dict[str, Any]], speeds: dict[str, dict[str, float]]) -> str:
    text = [
        "# De-identification: quality beside others\n",
        "Made by `python -m benchmarks.deid_quality EVALUATION`; the labelled set is synthetic and not kept here.",
        f"{EXAMPLES:,} examples, seed {SEED}; {', '.join(RIVALS)}. Typed precision, recall and F1;",
        "*leak*: characters of values that nothing covers; *hard negatives*: share of look-alikes (order numbers, versions,",
        "wrong checksums …) that were taken for personal; MB/s: wall time on this set; compare, do not quote.\n",
    ]
    for title, scores in tables.items():
        text += [f"## {title}\n", f"| {' | '.join(HEADINGS)} |", "| --- |" + " ---: |" * (len(HEADINGS) - 1)]
        text += [_row(name, each) for name, each in scores.items()]
        text.append("")
    text += ["## Speed, on the text of `make bench ARGS=deid`", "", "Megabytes a second, and how many times the last one's.", ""]
    text += [f"|  | {' | '.join(speeds)} |", "| --- |" + " ---: |" * len(speeds)]
    for name in sorted(next(iter(speeds.values())), key=lambda name: -sum(each[name] for each in speeds.values())):
        text.append(f"| {name} | {' | '.join(f'{each[name]:.3g} ({each[name] / each[SLOWEST]:,.0f} ×)' for each in speeds.values())} |")
    return "\n".join([*text, ""])


def _row(name: str, scored: dict[str, Any]) -> str:
    typed = scored["typed"]
    kind, (worst, _) = max(scored["neg_fp"].items(), key=lambda item: item[1][0])
    figures = [f"{typed[each]:.3f}" for each in ("p", "r", "f1")]
    figures += [
        f"{scored['leak']:.3f}",
        f"{scored['neg_fp_all']:.3f}",
        f"{worst:.2f} {kind if worst else ''}".strip(),
        f"{scored['MBps']:.3g}",
    ]
    return f"| {name} | {' | '.join(figures)} |"


def _module(path: Path) -> Any:  # noqa: ANN401 - whatever the file defines
    spec = importlib.util.spec_from_file_location("scorer", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run(*command: object) -> None:
    subprocess.run([str(each) for each in command], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
