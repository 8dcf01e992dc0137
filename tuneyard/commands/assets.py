"""`tuneyard datasets` and `tuneyard configs`: what to train on, and how."""

from pathlib import Path

import click
from rich.text import Text

from tuneyard import show
from tuneyard.session import Group, Session, given, pass_session


@click.group(cls=Group)
def datasets() -> None:
    """What to train on."""


@datasets.command("list")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1))
@pass_session
def list_datasets(session: Session, /, limit: int) -> None:
    """List datasets with their files, newest first."""
    session.show(session.client.datasets(limit=limit), show.datasets)


@datasets.command("push")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", help="The dataset; else the file's name without its ending. It is made if there is none.")
@click.option("--task-type", help="sft, rl, lora or pretrain: what a new dataset is for.")
@click.option("--description")
@pass_session
def push_dataset(session: Session, /, file: Path, name: str | None, **fields: str | None) -> None:
    """Upload a data file."""
    pushed = session.client.push_dataset(file, name, **given(fields))
    session.show(pushed, lambda found: Text(f"pushed {found['path']} ({show.size(found['bytes'])})"))


@click.group(cls=Group)
def configs() -> None:
    """How to train: YAML files."""


@configs.command("list")
@pass_session
def list_configs(session: Session) -> None:
    """List the newest version of each config."""
    session.show(session.client.configs(), show.configs)


@configs.command("push")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@pass_session
def push_config(session: Session, /, file: Path) -> None:
    """Upload a training config (.yaml or .yml)."""
    pushed = session.client.push_config(file)
    session.show(
        pushed, lambda found: Text(f"pushed configs/{found['train_config']['filename']} ({show.size(found['train_config']['size'])})")
    )
