"""`tuneyard artifacts`: what trainings left on disk, listed and fetched."""

from pathlib import Path

import click
from rich.text import Text
from typing_extensions import override

from tuneyard import show
from tuneyard.session import Group, Session, pass_session


class _ListedByDefault(Group):
    """`artifacts PROJECT RUN` is `artifacts list PROJECT RUN`."""

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put in what was left out."""
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_ListedByDefault)
def artifacts() -> None:
    """What a run left on disk: checkpoints, models, and more. `artifacts PROJECT RUN` lists."""


@artifacts.command("list")
@click.argument("project")
@click.argument("run")
@pass_session
def list_artifacts(session: Session, /, project: str, run: str) -> None:
    """List what a run left on disk."""
    session.show(session.client.artifacts(project, run), show.artifacts)


@artifacts.command("get")
@click.argument("project")
@click.argument("run")
@click.argument("artifact")
@click.option("--output", type=click.Path(path_type=Path), default=".", help="A file, or the folder to put it in; else the current one.")
@pass_session
def get_artifact(session: Session, /, project: str, run: str, artifact: str, output: Path) -> None:
    """Fetch an artifact (its id, as the list shows it): a file as it is, a folder as a tar. What broke off goes on where it was."""
    fetched = session.client.fetch(project, run, artifact, output)
    shown = {"path": str(fetched), "size_bytes": fetched.stat().st_size}
    session.show(shown, lambda found: Text(f"{found['path']} ({show.size(found['size_bytes'])})"))
