"""Data sets as a person sees them: their files, their history, some of their lines, and how far an upload has come."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from tuneyard.answers import Dataset, Json
from tuneyard.show import clock, size, table
from tuneyard.upload import Told


def files(found: Dataset) -> Table:
    """The files of a dataset, one per line, under the path that a project calls them by."""
    name = found.get("name", found["id"])
    rows = (
        [f"datasets/{name}/{each['name']}", size(each["bytes"]), each["sha256"][:12], each["upload_id"], clock(each["uploaded_at"])]
        for each in found.get("files", [])
    )
    return table(["path", "size", "sha256", "upload id", "uploaded"], rows)


def versions(found: Iterable[Json]) -> Table:
    """The history of a dataset, one change per line."""
    rows = ([str(each["number"]), each["change_label"], each["name"], each["by"], clock(each["at"])] for each in found)
    return table(["version", "change", "file", "by", "at"], rows)


def config_versions(found: Iterable[Json]) -> Table:
    """The history of a training config, one version per line."""
    rows = ([str(each["version"]), size(each["size"]), each["sha256"][:12], clock(each["uploaded_at"])] for each in found)
    return table(["version", "size", "sha256", "uploaded"], rows)


def config_diff(found: Json) -> Text:
    """Two versions of a training config as `diff -u` shows them, and how many values differ."""
    text = Text()
    for line in found["text"].splitlines():
        text.append(f"{line}\n", style=_DIFF.get(line[:1], ""))
    count = len(found["values"])
    values = "no value differs" if not count else "1 value differs" if count == 1 else f"{count} values differ"
    return text.append(f"{values} between versions {found['from']} and {found['to']} of configs/{found['filename']}")


_DIFF = {"+": "green", "-": "red", "@": "cyan"}


def preview(found: Json) -> Text:
    """Lines with their numbers, and what is wrong with them."""
    text = Text()
    for each in found["items"]:
        text.append(f"{each['line']:>6}  ", style="dim")
        text.append(each["text"] + ("…" if each["cut"] else "") + "\n")
        for problem in each["problems"]:
            text.append(f"        {problem}\n", style="yellow")
    text.rstrip()
    return text


@contextmanager
def uploading(console: Console, name: str) -> Iterator[Told]:
    """Draw a bar on a terminal while a large file is sent; whoever is told how far it is draws it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(name, visible=False)
        yield lambda done, total: progress.update(task, completed=done, total=total, visible=True)
