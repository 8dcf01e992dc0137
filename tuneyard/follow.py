"""Watching one run until it is over: its log as it comes, a bar, and the curve of its loss; watching never changes the run."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from tuneyard import show
from tuneyard.answers import Run
from tuneyard.client import Client
from tuneyard.connection import TuneyardError

SUCCEEDED, TRAINING_FAILED, INFRASTRUCTURE_FAILED, CANCELLED, DETACHED = 0, 1, 3, 5, 130
"""What the end of a run makes the exit code of a command that waited for it."""
OURS = frozenset({"infrastructure", "platform"})
"""Failures that are not the training's own."""


def exit_code(run: Run) -> int:
    """What became of a run that is over, for a shell."""
    if run["status"] == "failed":
        failure = run.get("failure")
        return INFRASTRUCTURE_FAILED if failure and failure["class"] in OURS else TRAINING_FAILED
    return CANCELLED if run["status"] == "cancelled" else SUCCEEDED


def loss_name(metrics: dict[str, float | None]) -> str | None:
    """The metric whose curve tells how the training goes."""
    losses = [name for name in metrics if name.endswith("loss")]
    return "train/loss" if "train/loss" in losses else next(iter(losses), None)


class View:
    """The line below the log: status, progress, loss. It is drawn only on a terminal."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._losses: list[float | None] = []

    def update(self, run: Run) -> None:
        """Take in what the API says now."""
        self._run = run
        metrics = run.get("metrics", {})
        name = loss_name(metrics)
        if name and (not self._losses or self._losses[-1] != metrics[name]):
            self._losses.append(metrics[name])

    def __rich__(self) -> Text:
        """The line as it stands."""
        text = Text(no_wrap=True, overflow="ellipsis")
        for part in (self._run["name"], " ", show.status(self._run), " ", show.bar(self._run["progress"], 24)):
            text.append(part)
        if self._losses:
            text.append(f"  loss {show.number(self._losses[-1])} {show.sparkline(self._losses, 24)}")
        elif waiting := self._run.get("waiting"):
            text.append(f"  {waiting['text']}", style="yellow")
        return text


def wait(client: Client, project: str, run: Run, screen: Console) -> Run:
    """The run, once it is over; meanwhile the screen shows how far it is."""
    with _live(View(run), screen) as view:
        for found in client.wait(project, run["id"]):
            run = found
            view.update(found)
    return run


def follow(client: Client, project: str, run: Run, out: Console, *, as_json: bool) -> Run:
    """Print a run's log as it comes; the run, once it is over and all was printed."""
    with _live(View(run), out, shown=not as_json) as view, _kept_up_to_date(client, project, run, view, wanted=out.is_terminal):
        for line in client.follow(project, run["id"]):
            if as_json:
                show.print_json(line, one_line=True)
            else:
                out.print(show.line(line), soft_wrap=True)
    return client.run(project, run["id"])


def conclusion(client: Client, project: str, run: Run) -> Text:
    """What became of a run, in a few lines."""
    text = Text.assemble(run["name"], " ", show.status(run))
    if (taken := show.seconds(run)) is not None:
        text.append(f" after {taken:.1f} s")
    if name := loss_name(run.get("metrics", {})):
        text.append(_curve(client, project, run, name))
    if failure := run.get("failure"):
        lines = [f"{failure.get('class_label') or failure['class']}: {failure['reason']}", *failure["log_excerpt"]]
        text.append("".join(f"\n  {line}" for line in lines), style="red")
    return text


def _curve(client: Client, project: str, run: Run, name: str) -> str:
    """Where a metric began and ended, and its way; nothing when the server cannot say, since the run's end is known without it."""
    try:
        values = [metric["value"] for metric in client.metrics(project, run["id"], name=name)]
    except TuneyardError:
        return ""
    return f"  {name} {show.number(values[0])} → {show.number(values[-1])} {show.sparkline(values)}" if values else ""


@contextmanager
def _live(view: View, screen: Console, *, shown: bool = True) -> Iterator[View]:
    """Draw the view below what is printed, where there is a terminal to draw on."""
    if not (screen.is_terminal and shown):
        yield view
        return
    with Live(view, console=screen, transient=True, refresh_per_second=8):
        yield view


@contextmanager
def _kept_up_to_date(client: Client, project: str, run: Run, view: View, *, wanted: bool) -> Iterator[None]:
    """Let a thread ask for the run now and then, while the log is being read."""
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.4):
            try:
                view.update(client.run(project, run["id"]))
            except TuneyardError:  # whoever follows the log notices, and decides
                continue

    thread = threading.Thread(target=ask, daemon=True)
    if wanted:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if thread.is_alive():
            thread.join()
