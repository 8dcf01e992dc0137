"""`tuneyard projects`: what to train."""

from typing import Any

import click

from tuneyard import show, values
from tuneyard.session import Group, Session, given, pass_session


@click.group(cls=Group)
def projects() -> None:
    """What to train: a dataset, a config, and defaults."""


@projects.command("list")
@click.option("--status", help="Code or label.")
@click.option("--tag")
@click.option("--owner")
@click.option("--search", "q", help="Part of the name or description.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1))
@pass_session
def list_projects(session: Session, /, limit: int, **wanted: str | None) -> None:
    """List projects, newest first."""
    session.show(session.client.projects(limit=limit, **given(wanted)), show.projects)


@projects.command("create")
@click.argument("name")
@click.option("--dataset", "dataset_name", help="datasets/<dataset>/<file>, as `datasets push` says it.")
@click.option("--config", "training_yaml_name", help="configs/<file>, as `configs push` says it.")
@click.option("--task-type", help="sft, rl, lora, pretrain, or your own words.")
@click.option("--base-model")
@click.option("--description")
@click.option("--objective")
@click.option("--owner")
@click.option("--tag", "tags", multiple=True)
@click.option(
    "--set", "default_hyperparameters", multiple=True, callback=values.from_option, metavar="KEY=VALUE", help="A default hyperparameter."
)
@click.option("--executor", type=click.Choice(["docker", "local"]))
@pass_session
def create_project(session: Session, /, name: str, **fields: Any) -> None:  # noqa: ANN401 - the API's fields
    """Register a project; only the name is required."""
    session.show(session.client.create_project(name, **given(fields)), show.project)


@projects.command("get")
@click.argument("project")
@pass_session
def get_project(session: Session, /, project: str) -> None:
    """Show a project, by id or name."""
    session.show(session.client.project(project), show.project)
