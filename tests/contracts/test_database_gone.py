"""A PostgreSQL of its own that refuses, dies and comes back: what is said, and what works again."""

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from domain.errors import Unavailable
from infra.embedded import Postgresql, postgresql
from infra.settings import SettingsError
from tests.contracts.databases import keep, opened, told
from tests.proxy import proxied
from tests.things import a_project


@pytest.fixture(scope="module")
def server() -> Iterator[Postgresql]:
    with TemporaryDirectory(prefix="tuneyard-postgresql-") as folder, postgresql(Path(folder)) as server:
        Path(folder, "pg_hba.conf").write_text("local all postgres trust\nlocal all asker scram-sha-256\n")
        yield server


async def test_a_database_that_died_is_unavailable_and_used_again_once_it_is_back(server: Postgresql) -> None:
    async with opened(server.url, patience=3) as db:
        await db.run(keep, a_project())

        server.stop()
        with pytest.raises(Unavailable):
            await db.read(lambda tx: tx.projects.find("p"))
        with pytest.raises(Unavailable):
            await db.run(lambda tx: tx.projects.lock("p"))
        server.start()

        assert await db.run(lambda tx: tx.projects.lock("p")) is not None


async def test_a_database_that_takes_no_connections_for_now_is_unavailable(server: Postgresql) -> None:
    beside = server.url.replace("/postgres?", "/template1?")
    async with opened(server.url) as db:
        await told(beside, "ALTER DATABASE postgres WITH ALLOW_CONNECTIONS false")
        try:
            await told(beside, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'postgres'")
            for work in (db.read, db.run):
                with pytest.raises(Unavailable, match="not currently accepting connections"):
                    await work(lambda tx: tx.projects.find("p"))
        finally:
            await told(beside, "ALTER DATABASE postgres WITH ALLOW_CONNECTIONS true")


async def test_a_database_that_falls_silent_is_unavailable_when_the_patience_ends_and_not_later(server: Postgresql) -> None:
    with proxied(server.url) as (line, url):
        async with opened(url, patience=1) as db:
            await db.read(lambda tx: tx.projects.find("p"))
            line.blackhole()
            began = time.monotonic()

            with pytest.raises(Unavailable):
                await db.read(lambda tx: tx.projects.find("p"))

            assert time.monotonic() - began < 2
            line.pass_on()


async def test_a_wrong_password_is_said_in_one_line_without_showing_it(server: Postgresql) -> None:
    await told(server.url, "SELECT pg_reload_conf()")
    await told(server.url, "CREATE ROLE asker LOGIN PASSWORD 'right'")

    with pytest.raises(SettingsError) as refusal:
        async with opened(server.url.replace("postgres:@", "asker:wrong-secret@")):
            pass

    assert "the database postgresql+asyncpg://asker:***@/postgres cannot be reached: " in str(refusal.value)
    assert 'password authentication failed for user "asker"' in str(refusal.value)
    assert "wrong-secret" not in str(refusal.value)
    assert "\n" not in str(refusal.value)
