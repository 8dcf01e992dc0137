"""`tuneyard deid`: find and replace personal data in files. The engine runs here, in a process of its own; no server is needed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from tuneyard import show
from tuneyard.children import module
from tuneyard.connection import TuneyardError
from tuneyard.session import Group, Session, language, pass_session

POLICY = click.option(
    "--policy", default="default", show_default=True, help="The policy's id; your own are in the folder TUNEYARD_POLICIES."
)
EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(cls=Group)
def deid() -> None:
    """Personal data in files: .jsonl by its fields, anything else line by line."""


@deid.command("scan")
@click.argument("file", type=EXISTING)
@POLICY
@pass_session
def scan_file(session: Session, /, file: Path, policy: str) -> None:
    """Say what is in a file, and change nothing; examples are masked."""
    _report(session, _run(session, ["scan", str(file), policy]))


@deid.command("apply")
@click.argument("file", type=EXISTING)
@POLICY
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Where to; else beside it as NAME.deid.SUFFIX.")
@click.option(
    "--seed", type=click.IntRange(-(2**63), 2**63 - 1), help="The same seed gives the same surrogates; without one they are fresh."
)
@pass_session
def apply_to_file(session: Session, /, file: Path, policy: str, output: Path | None, seed: int | None) -> None:
    """Write a copy of a file without what the policy seeks; the file itself stays as it is."""
    target = output or file.with_name(f"{file.stem}.deid{file.suffix}")
    if target.exists() and target.samefile(file):
        raise TuneyardError(f"{file} would be overwritten; give another --output")
    _report(session, _run(session, ["apply", str(file), policy, str(target), "" if seed is None else str(seed)]))


def _report(session: Session, summary: dict[str, Any]) -> None:
    session.show(summary, lambda answer: show.found_in_file(answer, language()))
    session.say(
        f"{summary['lines']:,} lines, {summary['lines_found']:,} with personal data; policy {summary['policy']} {summary['revision']}"
        + (f"; written to {summary['output']}" if summary["output"] else "")
    )
    if summary["unreadable"]:
        session.say(f"{summary['unreadable']:,} lines cannot be read: " + "; ".join(summary["unreadable_lines"]))
    if summary["security"] == "test-only" and summary["output"]:
        session.say("there is no key, so anybody can make the same surrogates: set TUNEYARD_DEID_KEY_FILE before you rely on them")


def _run(session: Session, arguments: list[str]) -> dict[str, Any]:
    """Run the engine and show how far it is; TuneyardError with its words when it cannot do it."""
    command = module("infra.deid", *arguments)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_environment()) as child:
        last: dict[str, Any] = {}
        for said in _shown(session, child):
            last = said
        words = child.stderr.read() if child.stderr else ""
    if child.returncode:
        raise TuneyardError(words.strip().splitlines()[-1] if words.strip() else f"the engine ended with {child.returncode}")
    return last


def _environment() -> dict[str, str]:
    """Our own, with the key that `tuneyard up` made in this folder where no other is set."""
    environment = dict(os.environ)
    key = Path(".tuneyard", "deid.keys")
    if key.exists() and not (environment.get("TUNEYARD_DEID_KEYS") or environment.get("TUNEYARD_DEID_KEY_FILE")):
        environment["TUNEYARD_DEID_KEY_FILE"] = str(key.absolute())
    return environment


def _shown(session: Session, child: "subprocess.Popen[str]") -> Iterator[dict[str, Any]]:
    """Give what the engine says, with a bar on the terminal while it works."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    quiet = session.as_json or not sys.stderr.isatty()
    with Progress(*columns, console=session.err, transient=True, disable=quiet) as progress:
        bar = progress.add_task("脱敏" if language() == "zh" else "de-identifying", total=None)
        for line in child.stdout or ():
            said = json.loads(line)
            if "done" in said:
                progress.update(bar, completed=said["done"], total=said["of"])
            yield said
