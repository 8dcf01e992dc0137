"""`tuneyard datasets` and `tuneyard configs`: what to train on, and how."""

from pathlib import Path
from typing import Any

import click
from rich.text import Text

from tuneyard import show, show_data
from tuneyard.session import Group, Session, given, pass_session

FOLDER = "configs/"
"""By which a project calls a config; both `configs/sft.yaml` and `sft.yaml` are understood."""


@click.group(cls=Group)
def datasets() -> None:
    """What to train on."""


@datasets.command("list")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1))
@pass_session
def list_datasets(session: Session, /, limit: int) -> None:
    """List datasets with their files, newest first."""
    session.show(session.client.datasets(limit=limit), show.datasets)


@datasets.command("show")
@click.argument("dataset")
@pass_session
def show_dataset(session: Session, /, dataset: str) -> None:
    """Show the files of a dataset, by its id or name."""
    session.show(session.client.dataset(dataset), show_data.files)


@datasets.command("versions")
@click.argument("dataset")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1))
@pass_session
def list_versions(session: Session, /, dataset: str, limit: int) -> None:
    """List every change of a dataset's files, newest first; `datasets/DATASET@VERSION/FILE` means a file as it was."""
    session.show(session.client.dataset_versions(dataset, limit=limit), show_data.versions)


@datasets.command("preview")
@click.argument("dataset")
@click.option("--file", help="Which file, where the dataset has several.")
@click.option("--mode", type=click.Choice(["first", "random", "problems"]), default="first", show_default=True)
@click.option("-n", "n", default=10, show_default=True, type=click.IntRange(1, 100), help="How many lines.")
@pass_session
def preview_dataset(session: Session, /, dataset: str, **wanted: Any) -> None:  # noqa: ANN401 - the API's parameters
    """Show some lines of a data file: the first, some at random, or those that break a rule."""
    session.show(session.client.preview(dataset, **given(wanted)), show_data.preview)


@datasets.command("delete")
@click.argument("dataset")
@pass_session
def delete_dataset(session: Session, /, dataset: str) -> None:
    """Delete a dataset that no project and no living run uses; what runs have pinned stays."""
    session.show(session.client.delete_dataset(dataset), lambda _: Text(f"deleted {dataset}"))


@datasets.command("push")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", help="The dataset; else the file's name without its ending. It is made if there is none.")
@click.option("--task-type", help="sft, rl, lora or pretrain: what a new dataset is for.")
@click.option("--description")
@click.option("--replace", is_flag=True, help="Take the place of a file of that name, as the dataset's next version.")
@pass_session
def push_dataset(session: Session, /, file: Path, name: str | None, *, replace: bool, **fields: str | None) -> None:
    """Upload a data file; a large one that broke off goes on where it was when it is pushed again."""
    with show_data.uploading(session.err, file.name) as told:
        pushed = session.client.push_dataset(file, name, replace=replace, told=told, **given(fields))
    session.show(pushed, lambda found: Text(f"pushed {found['path']} ({show.size(found['bytes'])})"))


@click.group(cls=Group)
def configs() -> None:
    """How to train: YAML files."""


@configs.command("list")
@pass_session
def list_configs(session: Session) -> None:
    """List the newest version of each config."""
    session.show(session.client.configs(), show.configs)


@configs.command("versions")
@click.argument("config")
@pass_session
def list_config_versions(session: Session, /, config: str) -> None:
    """List every version of a config, newest first."""
    session.show(session.client.config_versions(config.removeprefix(FOLDER)), show_data.config_versions)


@configs.command("diff")
@click.argument("config")
@click.option("--from", "before", type=click.IntRange(1), help="The version to compare; else the one before.")
@click.option("--to", "after", type=click.IntRange(1), help="With this one; else the newest.")
@pass_session
def compare_configs(session: Session, /, config: str, before: int | None, after: int | None) -> None:
    """Show what differs between two versions of a config."""
    session.show(session.client.config_diff(config.removeprefix(FOLDER), before=before, after=after), show_data.config_diff)


@configs.command("push")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@pass_session
def push_config(session: Session, /, file: Path) -> None:
    """Upload a training config (.yaml or .yml)."""
    pushed = session.client.push_config(file)
    session.show(
        pushed, lambda found: Text(f"pushed configs/{found['train_config']['filename']} ({show.size(found['train_config']['size'])})")
    )
