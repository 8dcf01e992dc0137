"""`tuneyard deployments`: models that answer."""

from typing import Any

import click

from tuneyard import show
from tuneyard.session import Group, Session, given, pass_session


@click.group(cls=Group)
def deployments() -> None:
    """Models that answer."""


@deployments.command("create")
@click.argument("model")
@click.option("--name", "served_name", help="What callers name it by; else MODEL.")
@click.option("--version", "model_version")
@click.option("--tag", "tags", multiple=True, help="As often as needed.")
@click.option("--args", "extra_args", help="Further arguments of the server, in one string.")
@click.option("--gpus", "gpu_count", type=click.IntRange(0), help="How many; more than one splits the model over them.")
@click.option("--gpu-type")
@click.option("--prefer-gpu", "preferred_gpu", type=click.IntRange(0), help="The number of the GPU it had best be given.")
@click.option("--health-path")
@click.option("--no-follow", is_flag=True, help="Do not roll over to what is released later.")
@click.option("--wait", "seconds", type=click.IntRange(0, 60), help="Wait so many seconds until it answers or has failed.")
@pass_session
def create_deployment(session: Session, /, model: str, seconds: int | None, *, no_follow: bool, **fields: Any) -> None:  # noqa: ANN401 - the API's fields
    """Serve MODEL: a path, a name of the Hub, artifact:<id>, or <project>@release."""
    follow = {"follow": False} if no_follow else {}
    session.show(session.client.deploy(model, wait=seconds, **given(fields), **follow), show.deployment)


@deployments.command("list")
@click.option("--model", help="A model path, or a name that it is served by.")
@click.option("--tag")
@click.option("--status", help="Code or label; then removed ones are shown, too.")
@pass_session
def list_deployments(session: Session, /, **wanted: str | None) -> None:
    """List deployments, newest first."""
    session.show(session.client.deployments(**given(wanted)), show.deployments)


@deployments.command("get")
@click.argument("deployment")
@pass_session
def get_deployment(session: Session, /, deployment: str) -> None:
    """Show a deployment; one that runs is asked whether it is well."""
    session.show(session.client.deployment(deployment), show.deployment)


@deployments.command("logs")
@click.argument("deployment")
@click.option("--page", default=1, show_default=True, type=click.IntRange(1))
@click.option("--page-size", default=500, show_default=True, type=click.IntRange(1, 500))
@pass_session
def show_log(session: Session, /, deployment: str, page: int, page_size: int) -> None:
    """Print a page of what its server said."""
    found = session.client.deployment_log(deployment, page=page, page_size=page_size)
    if session.as_json:
        show.print_json(found)
        return
    for line in found["items"]:
        session.out.print(show.line(line), soft_wrap=True)


@deployments.command("remove")
@click.argument("deployment")
@click.option("--force", is_flag=True, help="Kill what does not exit, with its children.")
@pass_session
def remove_deployment(session: Session, /, deployment: str, *, force: bool) -> None:
    """Stop a deployment, and wait until nothing of it lives."""
    removed = session.client.undeploy(deployment, force=force)
    if session.as_json:
        show.print_json(removed)
    else:
        session.say(f"{removed['detail']}: {removed['deployment_id']}")
