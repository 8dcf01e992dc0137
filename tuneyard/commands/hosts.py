"""`tuneyard hosts`: the machines that train."""

import click

from tuneyard import show
from tuneyard.session import Group, Session, pass_session


@click.group(cls=Group)
def hosts() -> None:
    """The machines that train, and their GPUs."""


@hosts.command("list")
@pass_session
def list_hosts(session: Session, /) -> None:
    """List the hosts, with who holds which GPU."""
    session.show(session.client.hosts(), show.hosts)


@hosts.command("drain")
@click.argument("host")
@pass_session
def drain_host(session: Session, /, host: str) -> None:
    """Place nothing new there; what runs goes on."""
    session.show([session.client.drain(host)], show.hosts)


@hosts.command("undrain")
@click.argument("host")
@pass_session
def undrain_host(session: Session, /, host: str) -> None:
    """Place there again."""
    session.show([session.client.undrain(host)], show.hosts)


@hosts.command("return-gpu")
@click.argument("host")
@click.argument("number", type=click.IntRange(0))
@pass_session
def return_gpu(session: Session, /, host: str, number: int) -> None:
    """Give a GPU again that was set aside, once nothing is left on it."""
    session.show([session.client.return_gpu(host, number)], show.hosts)
