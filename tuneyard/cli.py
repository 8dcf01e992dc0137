"""The command line: a client of the HTTP API for people and scripts, and the commands that start a server."""

import os
import sys
from pathlib import Path

import click

from tuneyard import demo as demo_room
from tuneyard import doctor as doctor_room
from tuneyard import show
from tuneyard import up as up_room
from tuneyard.commands import artifacts, assets, deid, deployments, hosts, jobs, projects, runs
from tuneyard.connection import ApiError, TuneyardError, Unreachable
from tuneyard.plan import Wish
from tuneyard.session import Group, Session, language, pass_session

EXIT_CODES = """Exit codes: 0 done (with --wait or --follow: the run succeeded), 1 the training failed, 2 the call is wrong or was refused,
3 the infrastructure or the platform failed the run, 4 no server answers, 5 the run was cancelled, 130 ended by Ctrl-C (the run goes on)."""
WRONG_CALL, NO_SERVER, INTERRUPTED = 2, 4, 130
UNAUTHORIZED, SERVER_ERROR = 401, 500


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120}, epilog=EXIT_CODES)
@click.option("--url", help="The server; TUNEYARD_URL, else http://127.0.0.1:8000.")
@click.option("--token", help="Its token; better given as TUNEYARD_TOKEN, since a command line can be seen by others.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
@click.version_option(package_name="tuneyard")
@click.pass_context
def root(context: click.Context, url: str | None, token: str | None, *, as_json: bool) -> None:
    """Tuneyard: manage the life of a fine-tuned model. Start with `tuneyard demo` or `tuneyard up`."""
    context.obj = Session(url=url, token=token, as_json=as_json)


@root.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; beyond loopback TUNEYARD_TOKEN must be set.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), help="Folder for everything; else ./training.db and ./.tuneyard/."
)
@click.option("--verbose", is_flag=True, help="Show the logs of the parts here too.")
@pass_session
def up(session: Session, /, host: str, port: int, data: Path | None, *, verbose: bool) -> None:
    """Start API, host worker and Redis here; Ctrl-C stops them and leaves running trainings alone."""
    up_room.up(Wish(host=host, port=port, data=data, verbose=verbose), session.out, session.err, as_json=session.as_json)


@root.command()
def worker() -> None:
    """Start the worker of this host, with the settings of the environment."""
    os.execv(sys.executable, [sys.executable, "-P", "-m", "workers"])  # noqa: S606 - it takes our place


@root.command()
@pass_session
def demo(session: Session) -> None:
    """Train a real tiny model through the API, from dataset to checkpoint, and end everything again."""
    demo_room.demo(session.out, language())


@root.command()
@pass_session
def doctor(session: Session) -> None:
    """Look at what Tuneyard needs here, and say what to do about what is missing."""
    sys.exit(doctor_room.doctor(session.client, session.out, as_json=session.as_json))


for command in (
    projects.projects,
    assets.datasets,
    assets.configs,
    runs.runs,
    runs.logs,
    runs.metrics,
    artifacts.artifacts,
    deid.deid,
    hosts.hosts,
    jobs.jobs,
    deployments.deployments,
):
    root.add_command(command)


def main() -> None:
    """Run the command line; whatever goes wrong is one readable message and an exit code."""
    err = show.console(stderr=True)
    try:
        code = root.main(standalone_mode=False)
    except click.ClickException as wrong:
        wrong.show()
        sys.exit(wrong.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # Whoever read us (`| head`) has enough; without this, Python complains once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except TuneyardError as wrong:
        err.print(f"error: {wrong}{_fix(wrong)}", style="red", soft_wrap=True)
        sys.exit(_code(wrong))
    sys.exit(code if isinstance(code, int) else 0)


def _code(wrong: TuneyardError) -> int:
    broken = isinstance(wrong, ApiError) and wrong.status >= SERVER_ERROR
    return NO_SERVER if broken or isinstance(wrong, Unreachable) else WRONG_CALL


def _fix(wrong: TuneyardError) -> str:
    if isinstance(wrong, Unreachable):
        return "\n  start one with `tuneyard up`, or name another with --url or TUNEYARD_URL"
    if isinstance(wrong, ApiError) and wrong.status == UNAUTHORIZED:
        return "\n  set TUNEYARD_TOKEN to the server's token"
    return ""
