"""A principal is whoever acts: named in every event, with the roles that allow it."""

from msgspec import Struct

from domain.words import Word


class Role(Word):
    """What a principal may do."""

    viewer = ("viewer", "查看者", "Viewer")
    trainer = ("trainer", "训练者", "Trainer")
    operator = ("operator", "运维", "Operator")
    revealer = ("revealer", "还原者", "Revealer")
    """May have the originals of what was de-identified; always in the record."""


class Principal(Struct, frozen=True, kw_only=True):
    """Who acts, and from where."""

    name: str
    roles: frozenset[Role] = frozenset(Role)
    origin: str | None = None


LOCAL = "local"
"""The principal of calls to a server that listens on loopback only: every role."""
TOKEN_HOLDER = "token"  # noqa: S105 - the name of a principal, not a secret
"""The principal who shows the token of `TUNEYARD_TOKEN`."""
