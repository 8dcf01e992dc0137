"""What the tests of the workers may ask for beyond the rest: databases that all tests of a module share, as their houses cost seconds."""

import asyncio
from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.contracts.databases import told


@pytest.fixture(scope="session")
def make_database(postgresql: str) -> Callable[[str], str]:
    """Make empty PostgreSQL databases by their names, and give their URLs."""

    def make(name: str) -> str:
        asyncio.run(told(postgresql, f"CREATE DATABASE {name}"))
        return urlunsplit(urlsplit(postgresql)._replace(path=f"/{name}"))

    return make
