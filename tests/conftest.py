"""What every test may ask for: real databases, a real Redis, an API in this process, or a whole house of processes."""

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast
from uuid import uuid4

import asyncpg
import httpx
import pytest

from api.app import create_app
from domain.access.principal import Principal
from infra import embedded
from infra.db.database import Database, open_database
from infra.db.transaction import Aftermath
from infra.db.url import read
from infra.settings import Settings, load
from tests.docker import PrivateEngine, private_engine
from tests.house import House, Part
from tests.nursery import Nursery

TEMPLATE = "tuneyard_template"


def pytest_configure() -> None:
    """Let signals mean the same whoever runs the tests: background jobs are born deaf to Ctrl-C, those of nohup to a hangup."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def _nursery() -> Iterator[None]:
    """Let the parts of houses be born quickly."""
    with closing(Nursery()) as nursery:
        Part.begin = nursery.begin
        yield


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """Give the URL of a PostgreSQL of this session (one per test process)."""
    # Not below pytest's own folder, which every pytest that starts meanwhile closes to the user that PostgreSQL runs as.
    with TemporaryDirectory(prefix="tuneyard-postgresql-") as folder, embedded.postgresql(Path(folder)) as server:
        yield server.url


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the URL of a Redis of this session."""
    with embedded.redis(tmp_path_factory.mktemp("redis")) as redis:
        yield redis.url


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[PrivateEngine]:
    """Give a docker engine of this session; skip where there cannot be one."""
    with private_engine() as engine:
        yield engine


@pytest.fixture(scope="session")
def template(postgresql: str) -> str:
    """Give the name of a migrated PostgreSQL database that tests clone.

    Bound to no loop: pytest-asyncio makes a session's asynchronous fixtures anew where a folder brings loops of its own.
    """
    asyncio.run(_make_template(postgresql))
    return TEMPLATE


@pytest.fixture
async def postgresql_url(postgresql: str, template: str) -> str:
    """Give the URL of a fresh, migrated PostgreSQL database."""
    name = f"test_{uuid4().hex}"
    await _administer(postgresql, f"CREATE DATABASE {name} TEMPLATE {template}")
    return _named(postgresql, name)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a migrated SQLite file that tests copy."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    asyncio.run(_migrate(f"sqlite:///{path}"))
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """Give the URL of a fresh, migrated SQLite file."""
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'training.db')}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Give the URL of a fresh database; the test runs once on each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
async def db(database_url: str, aftermath: list[Aftermath]) -> AsyncIterator[Database]:
    """Give a database whose aftermaths are kept in `aftermath`; the test runs once on each kind."""
    database = await open_database(read(database_url), Principal(name="tester", origin="127.0.0.1"), aftermath.append, patience=10)
    yield database
    await database.close()


@pytest.fixture
def aftermath() -> list[Aftermath]:
    """Give what the transactions of `db` asked for after their commits."""
    return []


@pytest.fixture
def settings(tmp_path: Path, sqlite_url: str) -> Settings:
    """Give settings for an API in this process: SQLite, no Redis, a training folder of its own."""
    return load({"HOST_TRAINING_PATH": str(tmp_path / "training"), "TRAINING_DB_URL": sqlite_url, "TUNEYARD_EXECUTOR": "local"})


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of an API that runs in this process."""
    async with serving(settings) as client:
        yield client


@asynccontextmanager
async def serving(settings: Settings, url: str = "http://127.0.0.1:8000") -> AsyncIterator[httpx.AsyncClient]:
    """Run an API with these settings in this process."""
    app = create_app(settings)
    opened, closing = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        # In a task of its own: a lifespan must end in the task it began in, and the two halves of a fixture are two tasks.
        try:
            async with app.lifespan():
                opened.set()
                await closing.wait()
        finally:
            opened.set()

    life = asyncio.create_task(live())
    await opened.wait()
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(cast("Any", app)), base_url=url) as client:
            yield client
    finally:
        closing.set()
        await life


@pytest.fixture
def make_house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    """Build houses, and tear them down."""
    houses: list[House] = []

    def build(database_url: str, redis_url: str | None = None, **settings: str) -> House:
        house = House(tmp_path / f"house-{len(houses)}", database_url, redis_url, **settings)
        houses.append(house)
        return house.start()

    yield build
    for house in houses:
        house.close()


@pytest.fixture
def house(make_house: Callable[..., House], sqlite_url: str, redis_url: str) -> House:
    """Give a running house on SQLite with a Redis."""
    return make_house(sqlite_url, redis_url)


async def _make_template(postgresql: str) -> None:
    await _administer(postgresql, f"CREATE DATABASE {TEMPLATE}")
    await _migrate(_named(postgresql, TEMPLATE))


async def _migrate(url: str) -> None:
    database = await open_database(read(url), Principal(name="test"), _nothing, patience=30)
    await database.close()


async def _administer(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _named(url: str, database: str) -> str:
    before, question, after = url.partition("?")
    return f"{before.rpartition('/')[0]}/{database}{question}{after}"


def _nothing(_: Aftermath) -> None:
    """Let an aftermath be."""
