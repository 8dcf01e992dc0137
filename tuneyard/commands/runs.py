"""`tuneyard runs`, `logs` and `metrics`: trainings, and what they said."""

import shlex
import sys
from typing import Any

import click

from tuneyard import follow, show, values
from tuneyard.answers import Run
from tuneyard.session import Command, Group, Session, given, pass_session

REFUSED = 2
"""The exit code of a call that is refused, or would be."""


@click.group(cls=Group)
def runs() -> None:
    """Trainings."""


@runs.command("launch")
@click.argument("project")
@click.option("--name", help="Else run-001, run-002, …")
@click.option("--model")
@click.option("--dataset", help="A dataset's id, its name, or a path, in the place of the project's.")
@click.option(
    "--set",
    "hyperparameters",
    multiple=True,
    callback=values.from_option,
    metavar="KEY=VALUE",
    help="A hyperparameter, as often as needed.",
)
@click.option("--gpus", type=click.IntRange(0), help="How many.")
@click.option("--gpu-type")
@click.option("--priority", type=int, help="Higher goes first.")
@click.option("--label", "labels", multiple=True, callback=values.texts, metavar="KEY=VALUE")
@click.option("--follow", "following", is_flag=True, help="Print the log until the run is over; the exit code then tells, as with --wait.")
@click.option("--wait", "waiting", is_flag=True, help="Wait until the run is over; the exit code tells what became of it.")
@pass_session
def launch_run(
    session: Session,
    /,
    project: str,
    gpus: int | None,
    gpu_type: str | None,
    *,
    following: bool,
    waiting: bool,
    **fields: Any,  # noqa: ANN401 - the API's fields
) -> None:
    """Start a training; everything not said here comes from the project."""
    resources = given({"gpu_count": gpus, "gpu_type": gpu_type})
    run = session.client.launch(project, **given(fields | {"resources": resources}))
    if not (following or waiting):
        session.show(run, show.run)
        return
    session.say(f"launched {run['name']} ({run['id']})")
    _until_over(session, project, run, following=following)


@runs.command("check")
@click.argument("project")
@click.option("--model")
@click.option("--dataset", help="A dataset's id, its name, or a path, in the place of the project's.")
@click.option("--set", "hyperparameters", multiple=True, callback=values.from_option, metavar="KEY=VALUE")
@click.option("--gpus", type=click.IntRange(0), help="How many.")
@click.option("--gpu-type")
@pass_session
def check_run(session: Session, /, project: str, gpus: int | None, gpu_type: str | None, **fields: Any) -> None:  # noqa: ANN401 - the API's fields
    """Say what a launch would meet, without launching: every problem with its place and its fix. Exit code 2 where it would be refused."""
    resources = given({"gpu_count": gpus, "gpu_type": gpu_type})
    found = session.client.check(project, **given(fields | {"resources": resources}))
    session.show(found, show.preflight)
    sys.exit(0 if found["ok"] else REFUSED)


@runs.command("list")
@click.argument("project")
@click.option("--status", help="Code or label.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1))
@pass_session
def list_runs(session: Session, /, project: str, limit: int, **wanted: str | None) -> None:
    """List the runs of a project, newest first."""
    session.show(session.client.runs(project, limit=limit, **given(wanted)), show.runs)


@runs.command("get")
@click.argument("project")
@click.argument("run")
@pass_session
def get_run(session: Session, /, project: str, run: str) -> None:
    """Show a run, by id or name, with its artifacts and, if it failed, why."""
    session.show(session.client.run(project, run), show.run)


@runs.command("cancel")
@click.argument("project")
@click.argument("run")
@click.option("--force", is_flag=True, help="Give it no time to save.")
@pass_session
def cancel_run(session: Session, /, project: str, run: str, *, force: bool) -> None:
    """Stop a training; its newest complete checkpoint is kept."""
    session.show(session.client.cancel(project, run, force=force), show.run)


@runs.command("declare-dead")
@click.argument("project")
@click.argument("run")
@pass_session
def declare_run_dead(session: Session, /, project: str, run: str) -> None:
    """Say that a run on a host that was lost will not come back; refused while the host is alive."""
    session.show(session.client.declare_dead(project, run), show.run)


@runs.command("resume")
@click.argument("project")
@click.argument("run")
@click.argument("checkpoint")
@click.option("--set", "hyperparameters", multiple=True, callback=values.from_option, metavar="KEY=VALUE")
@pass_session
def resume_run(session: Session, /, project: str, run: str, checkpoint: str, **fields: Any) -> None:  # noqa: ANN401 - the API's fields
    """Start a new training that goes on from a checkpoint (its id, as `artifacts` shows it)."""
    session.show(session.client.resume(project, run, checkpoint, **given(fields)), show.run)


@click.command(cls=Command)
@click.argument("project")
@click.argument("run")
@click.option("-f", "--follow", "following", is_flag=True, help="Go on until the run is over; the exit code then tells what became of it.")
@click.option("--since", "start_time", help="From this time on, ISO 8601; without a zone it is UTC.")
@click.option("--until", "end_time", help="Before this time.")
@click.option("--page", type=click.IntRange(1), help="Only this page.")
@click.option("--page-size", default=500, show_default=True, type=click.IntRange(1, 500))
@pass_session
def logs(session: Session, /, project: str, run: str, page: int | None, *, following: bool, **wanted: Any) -> None:  # noqa: ANN401 - the API's parameters
    """Print a log. With --json: a page as the API gives it, or without --page one JSON line per line."""
    if following:
        if page or wanted["start_time"] or wanted["end_time"]:
            raise click.UsageError("-f follows the whole log; it does not go with --page, --since or --until")
        _until_over(session, project, session.client.run(project, run), following=True)
        return
    found = session.client.log_page(project, run, **given(wanted | {"page": page or 1}))
    if page and session.as_json:
        show.print_json(found)
        return
    while found["items"]:
        for line in found["items"]:
            if session.as_json:
                show.print_json(line, one_line=True)
            else:
                session.out.print(show.line(line), soft_wrap=True)
        if page or found["page"] * found["page_size"] >= found["total"]:
            return
        found = session.client.log_page(project, run, **given(wanted | {"page": found["page"] + 1}))


@click.command(cls=Command)
@click.argument("project")
@click.argument("run")
@click.option("--name", help="Only this metric.")
@click.option("--since-step", type=int, help="Only from this step on.")
@pass_session
def metrics(session: Session, /, project: str, run: str, **wanted: Any) -> None:  # noqa: ANN401 - the API's parameters
    """Show what a run's trainer measured, with a curve per metric."""
    session.show(session.client.metrics(project, run, **given(wanted)), show.metrics)


def _until_over(session: Session, /, project: str, run: Run, *, following: bool) -> None:
    """Stay with a run until it is over, then leave with what became of it; Ctrl-C only detaches."""
    try:
        if following:
            run = follow.follow(session.client, project, run, session.out, as_json=session.as_json)
        else:
            run = follow.wait(session.client, project, run, session.err)
    except KeyboardInterrupt:
        again = shlex.join(["tuneyard", "logs", project, run["name"], "-f"])
        session.err.print(f"\ndetached; {run['name']} goes on. Follow it again: {again}", soft_wrap=True)
        sys.exit(follow.DETACHED)
    if session.as_json:
        show.print_json(run, one_line=following)
    else:
        session.err.print(follow.conclusion(session.client, project, run), soft_wrap=True)
    sys.exit(follow.exit_code(run))
