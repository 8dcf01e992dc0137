"""What a person sees: tables, bars and small curves on a terminal, plain lines in a pipe, the API's own JSON when asked for."""

import json
import math
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from os.path import commonpath
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tuneyard.answers import Artifact, Dataset, Host, Json, Line, Metric, Project, Run

BARS = "▁▂▃▄▅▆▇█"
WIDE = 200
"""Columns where there is no terminal whose width would count."""
STYLES = {
    "succeeded": "green",
    "active": "green",
    "ready": "green",
    "live": "green",
    "draining": "yellow",
    "lost": "red",
    "running": "cyan",
    "starting": "cyan",
    "cancelling": "yellow",
    "cancelled": "yellow",
    "failed": "red",
}
LEVELS = {"ERROR": "red", "CRITICAL": "red", "WARNING": "yellow", "DEBUG": "dim"}


def console(*, stderr: bool = False) -> Console:
    """A console that colours a terminal and leaves a pipe's lines as they are."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, width=None if stream.isatty() else WIDE)


def print_json(value: Any, *, one_line: bool = False) -> None:  # noqa: ANN401 - JSON
    """Print JSON for programs, Chinese as it is."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=None if one_line else 2) + "\n")
    sys.stdout.flush()


def sparkline(values: Sequence[float | None], width: int = 40) -> str:
    """A curve one line high; each character is the mean of the values it stands for."""
    numbers = [value for value in values if value is not None and math.isfinite(value)]
    columns = min(width, len(numbers))
    means = [_mean(numbers[i * len(numbers) // columns : (i + 1) * len(numbers) // columns]) for i in range(columns)]
    if not means:
        return ""
    low, high = min(means), max(means)
    step = (high - low) / (len(BARS) - 1) or 1.0
    return "".join(BARS[round((mean - low) / step)] for mean in means)


def number(value: float | None) -> str:
    """A measured value, short enough to read."""
    return "–" if value is None else f"{value:.4g}"


def size(count: int) -> str:
    """Bytes as people say them."""
    amount, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while amount >= 1024 and len(units) > 1:  # noqa: PLR2004 - what makes a KiB
        amount /= 1024
        units.pop(0)
    return f"{amount:.0f} {units[0]}" if units[0] == "B" else f"{amount:.1f} {units[0]}"


def seconds(run: Run) -> float | None:
    """How long a run has trained, or did."""
    start, end = run.get("started_at"), run.get("finished_at") or run.get("updated_at")
    return (_time(end) - _time(start)).total_seconds() if start and end else None


def status(noun: Any) -> Text:  # noqa: ANN401 - anything that has a status
    """Its status, in words of the caller's language and in colour."""
    code = str(noun.get("status", ""))
    return Text(str(noun.get("status_label") or code), style=STYLES.get(code, ""))


def projects(found: Iterable[Project]) -> Table:
    """Projects, one per line."""
    rows = ([each["id"], each["name"], status(each), each.get("owner"), clock(each["created_at"])] for each in found)
    return table(["id", "name", "status", "owner", "created"], rows)


def project(found: Project) -> Table:
    """One project, a field per line."""
    labels = {"status_label", "versions", "runs"}
    fields: Json = {name: value for name, value in found.items() if value not in (None, [], {}) and name not in labels}
    return _fields(fields | {"status": status(found)})


def datasets(found: Iterable[Dataset]) -> Table:
    """Datasets, one per line."""
    rows = ([each["id"], each.get("name"), status(each), each.get("task_type"), _files(each), clock(each["created_at"])] for each in found)
    return table(["id", "name", "status", "task type", "files", "created"], rows)


def configs(found: Iterable[Json]) -> Table:
    """Training configs, one per line."""
    rows = ([f"configs/{each['filename']}", size(each.get("size", 0)), clock(each.get("uploaded_at"))] for each in found)
    return table(["path", "size", "uploaded"], rows)


def hosts(found: Iterable[Host]) -> Table:
    """Hosts, one per line, with who holds which GPU."""
    rows = (
        [each["name"], status(each), each["address"], each["executor"], f"{each['processes']}/{each['slots']}", _gpus(each["gpus"])]
        for each in found
    )
    return table(["name", "status", "address", "executor", "processes", "GPUs"], rows)


def found_in_file(summary: Json, spoken: str) -> Table:
    """What a file holds by type, with masked examples."""
    rows = [[each["type"], each[f"label_{spoken}"], f"{each['count']:,}", each["example"]] for each in summary["found"]]
    return table(["type", "", "count", "example (masked)"], rows or [["nothing found", "", "0", ""]])


def deployments(found: Iterable[Json]) -> Table:
    """Deployments, one per line."""
    rows = (
        [each["deployment_id"], each["served_names"][0], status(each), "✓" if each["health_ok"] else "", each["host"], each["port"]]
        for each in found
    )
    return table(["id", "model", "status", "healthy", "host", "port"], rows)


def deployment(found: Json) -> Table:
    """One deployment, a field per line, and why it failed or waits."""
    fields: Json = {"id": found["deployment_id"], "status": status(found), "model": ", ".join(found["served_names"])}
    if waiting := found["waiting"]:
        fields["waiting"] = f"{waiting['position']}. {waiting['text']}"
    for condition in found["conditions"]:
        fields[condition["name_label"]] = f"{condition['reason']} ({clock(condition['since'])})"
    fields["healthy"] = "yes" if found["health_ok"] else "no"
    for name in ("host", "port", "pid", "gpus", "artifact_id", "restarts", "replaces", "replaced_by", "vllm_cmd", "log_file"):
        fields[name.replace("_", " ")] = found[name]
    fields["metrics"] = "  ".join(f"{name} {number(value)}" for name, value in found["metrics"].items())
    if failure := found["failure"]:
        fields["failure"] = Text("\n".join([f"{failure['class_label']}: {failure['reason']}", *failure["log_excerpt"]]), style="red")
    return _fields({name: value for name, value in fields.items() if value not in (None, "", [])})


def runs(found: Iterable[Run]) -> Table:
    """Runs, one per line."""
    rows = ([each["id"], each["name"], status(each), bar(each["progress"], 12), clock(each["started_at"])] for each in found)
    return table(["id", "name", "status", "progress", "started"], rows)


def run(found: Run) -> Table:
    """One run, a field per line, and why it failed or waits."""
    fields: Json = {"id": found["id"], "name": found["name"], "status": status(found), "progress": bar(found["progress"], 24)}
    if waiting := found.get("waiting"):
        fields["waiting"] = f"{waiting['position']}. {waiting['text']}"
    for condition in found.get("conditions", []):
        fields[condition["name_label"]] = f"{condition['reason']} ({clock(condition['since'])})"
    for name in ("host", "gpus", "dataset", "model", "resumed_from", "exit_code"):
        fields[name.replace("_", " ")] = found.get(name)
    fields["started"], fields["finished"] = clock(found["started_at"]), clock(found.get("finished_at"))
    if (taken := seconds(found)) is not None:
        fields["took"] = f"{taken:.1f} s"
    fields["metrics"] = "  ".join(f"{name} {number(value)}" for name, value in found.get("metrics", {}).items())
    fields["artifacts"] = ", ".join(each["name"] for each in found.get("artifacts", []))
    if failure := found.get("failure"):
        who = failure.get("class_label") or failure["class"]
        fields["failure"] = Text("\n".join([f"{who}: {failure['reason']}", *failure["log_excerpt"]]), style="red")
    return _fields({name: value for name, value in fields.items() if value not in (None, "", [])})


def preflight(found: Json) -> Table:
    """What a launch would meet: each problem with its place and its fix, then what the training would take."""
    grid = Table.grid()
    grid.add_column(overflow="fold")
    for mark, style, problems in (("✗", "red", found["problems"]), ("!", "yellow", found["warnings"])):
        for each in problems:
            place = f"{each['where']}: " if each["where"] else ""
            often = f" (×{each['count']:,})" if each["count"] > 1 else ""
            grid.add_row(Text(f"{mark} {place}{each['message']}{often}", style=style))
            grid.add_row(Text(f"    → {each['fix']}"))
    for line in _reckoned(found):
        grid.add_row(Text(line, style="dim"))
    wrong, odd = (len(found[name]) for name in ("problems", "warnings"))
    verdict = Text("✓ ready to launch", style="green") if found["ok"] else Text(f"✗ {wrong} problem{'s' * (wrong != 1)}", style="bold red")
    grid.add_row(verdict + Text(f", {odd} warning{'s' * (odd != 1)}" if odd else ""))
    return grid


def _reckoned(found: Json) -> list[str]:
    """Lines about the data and the estimates, as far as they are known."""
    lines = [f"{path}: {each['sound']:,} of {each['samples']:,} samples are sound" for path, each in found["data"].items()]
    estimates = found["estimates"] or {}
    if steps := estimates.get("steps"):
        total = f", {steps['total']:,} in all" if steps["total"] else ""
        lines.append(f"steps: about {steps['per_epoch']:,} per epoch{total}")
    for name, title in (("gpu_memory", "memory per GPU"), ("checkpoints", "checkpoints")):
        if amount := estimates.get(name):
            lines.append(f"{title}: about {size(amount['bytes'])} (estimate: {amount['formula']})")
    return lines


def metrics(found: Iterable[Metric]) -> Table:
    """Metrics, one name per line: where it began, where it stands, and its curve."""
    history: dict[str, list[Metric]] = {}
    for each in found:
        history.setdefault(each["name"], []).append(each)
    rows = []
    for name, points in sorted(history.items()):
        values = [point["value"] for point in points]
        rows.append([name, str(len(points)), number(values[0]), number(values[-1]), str(points[-1]["step"] or ""), sparkline(values)])
    return table(["metric", "values", "first", "last", "step", "curve"], rows)


def artifacts(found: Iterable[Artifact]) -> Table:
    """Artifacts, one per line, below the folder that holds them all; what is not complete says so."""
    listed = list(found)
    rows = [
        [
            each["id"],
            each["name"] if each.get("complete", True) else Text(f"{each['name']} (incomplete)", style="yellow"),
            each.get("type_label") or each["type"],
            size(each["size_bytes"]),
            ", ".join(str(tag.get("value")) for tag in each["tags"]),
        ]
        for each in listed
    ]
    shown = table(["id", "name", "type", "size", "tags"], rows)
    if listed and all(each["path"].startswith("file:///") for each in listed):
        folder = commonpath([each["path"].removeprefix("file://").rpartition("/")[0] for each in listed])
        shown.caption = Text(f"in {folder}", overflow="fold")
        shown.caption_justify = "left"
    return shown


def line(found: Line) -> Text:
    """A line of a log, short where it is a JSON object of metrics; a trainer's colours stay, other control sequences do not."""
    message = _measured(found["message"]) or found["message"]
    text = Text(f"{_time(found['timestamp']).astimezone():%H:%M:%S} ", style="dim")
    text.append_text(Text.from_ansi(message) if "\x1b" in message else Text(message, style=LEVELS.get(found["level"].upper(), "")))
    return text


def _measured(message: str) -> str | None:
    """A trainer's JSON line as a person reads it: `step 10/280  train/loss 5.35`; None for any other line."""
    if not message.startswith("{"):
        return None
    try:
        facts = json.loads(message)
    except ValueError:
        return None
    if not all(isinstance(value, int | float) for value in facts.values()):
        return None
    step, total = facts.pop("step", None), facts.pop("max_steps", None)
    place = [] if step is None else [f"step {step}/{total}" if total else f"step {step}"]
    return "  ".join(place + [f"{name} {number(value)}" for name, value in facts.items()])


def bar(progress: float, width: int) -> Text:
    """A progress bar with its percentage."""
    done = round(progress * width)
    return Text("━" * done, style="cyan") + Text("━" * (width - done), style="bright_black") + Text(f" {progress:4.0%}")


def clock(time: str | None) -> str:
    """A time of the API in the reader's own zone."""
    return f"{_time(time).astimezone():%m-%d %H:%M:%S}" if time else ""


def table(columns: list[str], rows: Iterable[Sequence[Any]]) -> Table:
    """Rows below their names; the first column is never broken."""
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for position, column in enumerate(columns):
        shown.add_column(column, overflow="fold", no_wrap=position == 0)
    for row in rows:
        shown.add_row(*(cell if isinstance(cell, Text) else Text(str(cell if cell is not None else "")) for cell in row))
    return shown


def _fields(fields: Json) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields.items():
        shown = value if isinstance(value, str | Text) else json.dumps(value, ensure_ascii=False)
        table.add_row(Text(name), shown if isinstance(shown, Text) else Text(shown))
    return table


def _gpus(gpus: list[Json]) -> str:
    """Each GPU by its number: who holds it, or why nobody may."""
    return "\n".join(f"{each['number']} {each['type']}: {_use(each)}" for each in gpus)


def _use(gpu: Json) -> str:
    return f"set aside, {gpu['set_aside']}" if gpu["set_aside"] else gpu["holder"] or "free"


def _files(found: Dataset) -> str:
    files = found.get("files")
    return "" if files is None else ", ".join(str(each.get("name")) for each in files)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
