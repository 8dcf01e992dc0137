"""What the tests of the workers may ask for beyond the rest: databases that all tests of a module share, as their houses cost seconds."""

import asyncio
from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest

from tests.contracts.databases import told


@pytest.fixture(scope="session")
def make_database(postgresql: str, template: str) -> Callable[[], str]:
    """Make migrated PostgreSQL databases, and give their URLs."""

    def make() -> str:
        name = f"module_{uuid4().hex}"
        asyncio.run(told(postgresql, f"CREATE DATABASE {name} TEMPLATE {template}"))
        return urlunsplit(urlsplit(postgresql)._replace(path=f"/{name}"))

    return make
