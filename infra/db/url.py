"""Database URLs as users write them, made into what the driver takes; what cannot work is refused in one line."""

import re
from math import inf
from typing import Any

from msgspec import Struct
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from infra.settings import SettingsError, masked

_SSL = {
    "disable": False,
    "allow": "allow",
    "prefer": "prefer",
    "require": "require",
    "verify-ca": "verify-ca",
    "verify-full": "verify-full",
}
_LAST_PORT = 65535
_LET_GO = {"idle_in_transaction_session_timeout": "10s"}
"""A frozen process of ours may hold locks that its successor needs; the server lets them go before a lease runs out."""
_OPTION = re.compile(r"(?:^|\s)(?:-c\s*|--)([^\s=]+)=(\S*)")
"""libpq's `options`: `-c name=value`, `-cname=value` or `--name=value`."""
_WORKS = "use sqlite:///./training.db or postgresql://user:password@server:5432/database"


class DatabaseUrl(Struct, frozen=True):
    """Where the rows live, and how the driver is to connect."""

    url: URL
    connect_args: dict[str, Any]

    @property
    def postgresql(self) -> bool:
        """Whether it is a PostgreSQL server."""
        return self.url.get_backend_name() == "postgresql"

    @property
    def shown(self) -> str:
        """As it may be printed."""
        return self.url.render_as_string(hide_password=True)


def read(text: str) -> DatabaseUrl:
    """Understand a database URL; SettingsError when nothing here can serve it."""
    try:
        url = make_url(text.strip())
    except (ArgumentError, ValueError):  # ValueError: a port that is no number
        message = f"TRAINING_DB_URL is not a database URL: {masked(text)!r}; {_WORKS}"
        raise SettingsError(message) from None
    backend = url.drivername.split("+")[0]
    if backend == "sqlite":
        return _sqlite(url)
    if backend in ("postgresql", "postgres"):
        return _postgresql(url)
    message = f"TRAINING_DB_URL asks for {backend}, which Tuneyard does not speak; {_WORKS}"
    raise SettingsError(message)


def _sqlite(url: URL) -> DatabaseUrl:
    if url.database in (None, "", ":memory:"):
        message = f"TRAINING_DB_URL asks for a database in memory, which every connection would have for itself; {_WORKS}"
        raise SettingsError(message)
    return DatabaseUrl(url.set(drivername="sqlite+pysqlite"), {})


def _postgresql(url: URL) -> DatabaseUrl:
    """Move what asyncpg calls otherwise (sslmode, application_name, connect_timeout, options) to where it takes it."""
    if not 0 < (url.port or 1) <= _LAST_PORT:
        message = f"TRAINING_DB_URL has port {url.port}; ports end at {_LAST_PORT}"
        raise SettingsError(message)
    query = dict(url.query)
    arguments: dict[str, Any] = {"timeout": 3.0}
    server_settings = {"application_name": str(query.pop("application_name", "tuneyard")), **_LET_GO}
    mode = str(query.pop("sslmode", query.pop("ssl", "")))
    if mode:
        if mode not in _SSL:
            message = f"TRAINING_DB_URL has sslmode={mode}; known are {', '.join(_SSL)}"
            raise SettingsError(message)
        arguments["ssl"] = _SSL[mode]
    if timeout := query.pop("connect_timeout", None):
        arguments["timeout"] = _seconds(str(timeout))
    server_settings |= dict(_OPTION.findall(str(query.pop("options", ""))))
    if host := query.get("host"):
        arguments["host"] = query.pop("host") and str(host)
    if query:
        message = f"TRAINING_DB_URL has options that are not understood: {', '.join(query)}"
        raise SettingsError(message)
    return DatabaseUrl(url.set(drivername="postgresql+asyncpg", query={}), arguments | {"server_settings": server_settings})


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds < inf:
        message = f"TRAINING_DB_URL has connect_timeout={text}; give seconds, more than 0"
        raise SettingsError(message)
    return seconds
