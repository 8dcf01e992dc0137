"""One call of the command line: which server it is about, and whether a person or a program reads the answer."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tuneyard import show
from tuneyard.answers import Json
from tuneyard.client import Client


@dataclass
class Session:
    """One call of the command line: which server, and how to answer."""

    url: str | None = None
    token: str | None = None
    as_json: bool = False
    out: Console = field(default_factory=show.console)
    err: Console = field(default_factory=lambda: show.console(stderr=True))

    @cached_property
    def client(self) -> Client:
        """The server, in the caller's language."""
        return Client(self.url, self.token, language=language())

    def show(self, answer: Any, shown: Callable[[Any], Table | Text]) -> None:  # noqa: ANN401 - JSON
        """Print an answer: as it is for a program, else made readable."""
        if self.as_json:
            show.print_json(answer)
        else:
            self.out.print(shown(answer))

    def say(self, text: str) -> None:
        """Tell a person something that is no part of the answer."""
        if not self.as_json:
            self.err.print(text, style="dim", soft_wrap=True)


pass_session = click.make_pass_decorator(Session)


class Command(click.Command):
    """A command that also takes --json, wherever a person writes it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - click's own
        super().__init__(*args, **kwargs)
        self.params.append(click.Option(["--json"], is_flag=True, expose_value=False, callback=_want_json, help="Answer in JSON."))


class Group(click.Group):
    """Commands of one noun."""

    command_class = Command
    group_class = type


def _want_json(context: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's signature
    if wanted:
        context.ensure_object(Session).as_json = True


def given(fields: Json) -> Json:
    """Only what the caller said."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items() if value not in (None, (), {}, "")}


def language() -> str:
    """The language that the caller's terminal is set to, of those that the API speaks."""
    spoken = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return "zh" if spoken.startswith("zh") else "en"
