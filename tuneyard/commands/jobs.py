"""`tuneyard datasets deidentify` and `tuneyard jobs`: personal data taken out of a dataset, in the background of the server."""

import sys
from typing import Any

import click
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tuneyard import show
from tuneyard.answers import Json
from tuneyard.client import Client
from tuneyard.commands.assets import datasets
from tuneyard.session import Group, Session, given, pass_session

FAILED, CANCELLED = 1, 5
"""Exit codes of a command that waited, as for runs."""


@datasets.command("deidentify")
@click.argument("dataset")
@click.option("--policy", "policy_id", help="Which personal data, and what takes its place; `default` makes pseudonyms.")
@click.option("--seed", type=int, help="Makes surrogates that no other seed makes.")
@click.option("--bad-lines", type=click.Choice(["quarantine", "fail"]), help="What becomes of lines that cannot be read.")
@click.option("--wait", is_flag=True, help="Wait for its end; the exit code tells.")
@pass_session
def deidentify_dataset(session: Session, /, dataset: str, *, wait: bool, **asked: Any) -> None:  # noqa: ANN401 - the API's fields
    """Take personal data out of a dataset's files: its next version has none, this one stays readable."""
    job = session.client.deidentify(dataset, **given(asked))
    if wait:
        job = _waited(session, job)
    session.show(job, _job)
    sys.exit({"failed": FAILED, "cancelled": CANCELLED}.get(job["status"], 0) if wait else 0)


@click.group(cls=Group)
def jobs() -> None:
    """Work on datasets in the background."""


@jobs.command("list")
@click.option("--dataset", help="Only of this one.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1))
@pass_session
def list_jobs(session: Session, /, limit: int, **wanted: str | None) -> None:
    """List jobs, newest first."""
    session.show(session.client.jobs(limit=limit, **given(wanted)), _jobs)


@jobs.command("get")
@click.argument("job")
@pass_session
def get_job(session: Session, /, job: str) -> None:
    """Show a job: how far it is, or what it found: counts and numbers of lines, never what was found."""
    session.show(session.client.job(job), _job)


@jobs.command("cancel")
@click.argument("job")
@pass_session
def cancel_job(session: Session, /, job: str) -> None:
    """Stop a job; the dataset stays as it was."""
    session.show(session.client.cancel_job(job), _job)


def _waited(session: Session, job: Json) -> Json:
    """Show how far it is until it is over."""
    screen = session.err
    if not screen.is_terminal:
        return _last(session.client, job)
    with Live(_line(job), console=screen, transient=True) as live:
        for found in session.client.wait_for_job(job["id"]):
            job = found
            live.update(_line(found))
    return job


def _last(client: Client, job: Json) -> Json:
    for found in client.wait_for_job(job["id"]):
        job = found
    return job


def _line(job: Json) -> Text:
    return Text.assemble(job["id"], " ", show.status(job), " ", show.bar(job["progress"], 24))


def _jobs(found: list[Json]) -> Table:
    rows = (
        [
            each["id"],
            show.status(each),
            f"{each['progress']:.0%}",
            each["policy_id"],
            sum(each["found"].values()),
            show.clock(each["created_at"]),
        ]
        for each in found
    )
    return show.table(["id", "status", "progress", "policy", "found", "created"], rows)


def _job(job: Json) -> Text:
    text = _line(job)
    if failure := job["failure"]:
        text.append(f"\n  {failure['reason']}", style="red")
    if job["files"]:
        text.append(f"\n  version {job['version']} of the dataset, by policy {job['policy_id']} {job['policy_revision']}")
    for file in job["files"]:
        text.append(f"\n  {file['name']}: {file['changed_lines']:,} of {file['lines']:,} lines changed, {file['bad_lines']:,} set aside")
        for kind, fields in sorted(file["found"].items()):
            for field, count in sorted(fields.items()):
                text.append(f"\n    {count:>10,}  {kind}  {field}")
    return text
