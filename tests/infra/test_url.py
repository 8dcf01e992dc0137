"""Database URLs as users write them: what works, and what is said of the others, in one line and without a password."""

from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

from domain.errors import Unavailable
from infra.db.transaction import Tx
from infra.db.url import read
from infra.settings import SettingsError, masked
from tests.contracts.databases import opened
from tests.house import free_port

SECRET = "s3cr3t"
"""Never to be seen."""


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg", "postgresql+psycopg", "postgresql+psycopg2"])
def test_any_way_to_say_postgresql_is_understood(scheme: str) -> None:
    url = read(f" {scheme}://user:{SECRET}@db.example:6543/name\n")

    assert url.postgresql
    assert "postgresql+asyncpg" == url.url.drivername
    assert ("user", SECRET, "db.example", 6543, "name") == (
        url.url.username,
        url.url.password,
        url.url.host,
        url.url.port,
        url.url.database,
    )


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+pysqlite", "sqlite+aiosqlite"])
def test_any_way_to_say_sqlite_is_understood(scheme: str) -> None:
    url = read(f"{scheme}:///./training.db")

    assert not url.postgresql
    assert ("sqlite+pysqlite", "./training.db") == (url.url.drivername, url.url.database)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {}),
        ("sslmode=disable", {"ssl": False}),
        ("sslmode=require", {"ssl": "require"}),
        ("ssl=verify-full", {"ssl": "verify-full"}),
        ("connect_timeout=7", {"timeout": 7.0}),
        ("application_name=mine", {"server_settings": {"application_name": "mine"}}),
        ("options=-c%20work_mem%3D8MB%20-c%20search_path%3Da,b", {"server_settings": {"work_mem": "8MB", "search_path": "a,b"}}),
        ("options=-cwork_mem%3D8MB%20--search_path%3Dx", {"server_settings": {"work_mem": "8MB", "search_path": "x"}}),
        ("host=/run/postgresql", {"host": "/run/postgresql"}),
    ],
)
def test_what_libpq_calls_otherwise_reaches_the_driver(query: str, expected: dict[str, Any]) -> None:
    arguments = read(f"postgresql://db.example/name?{query}").connect_args

    ours = {"application_name": "tuneyard", "idle_in_transaction_session_timeout": "10s"}
    settings = ours | expected.get("server_settings", {})
    assert {"timeout": 3.0} | expected | {"server_settings": settings} == arguments


async def test_these_words_are_what_the_server_hears(postgresql_url: str) -> None:
    url = f"{postgresql_url}&application_name=mine&connect_timeout=9&sslmode=disable&options=-c%20work_mem%3D8MB"

    async with opened(url.replace("postgresql://", "postgres://")) as db:

        def heard(tx: Tx) -> list[Any]:
            return [tx.connection.execute(text(f"SHOW {name}")).scalar_one() for name in ("application_name", "work_mem")]

        assert ["mine", "8MB"] == await db.run(heard)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "is not a database URL"),
        ("training.db", "is not a database URL"),
        (f"user:{SECRET}@db/name", "is not a database URL"),
        (f"postgresql://user:{SECRET}@db:port/name", "is not a database URL"),
        (f"postgresql://user:{SECRET}@db:99999/name", "port 99999"),
        (f"mysql://user:{SECRET}@db/name", "asks for mysql, which Tuneyard does not speak; use sqlite:///./training.db or postgresql://"),
        (f"oracle+cx://user:{SECRET}@db/name", "asks for oracle"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        (f"postgresql://user:{SECRET}@db/name?sslmode=maybe", "sslmode=maybe; known are disable, allow"),
        (f"postgresql://user:{SECRET}@db/name?connect_timeout=soon", "connect_timeout=soon; give seconds"),
        (f"postgresql://user:{SECRET}@db/name?connect_timeout=0", "connect_timeout=0; give seconds"),
        (f"postgresql://user@db/name?password={SECRET}&pool=3", "not understood: password, pool"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(url: str, said: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        read(url)

    assert str(refusal.value).startswith("TRAINING_DB_URL ")
    assert said in str(refusal.value)
    assert_fit_to_print(refusal.value)


async def test_a_server_that_is_not_there_is_said_in_one_line() -> None:
    with pytest.raises(SettingsError, match="cannot be reached: .*Connect call failed") as refusal:
        async with opened(f"postgresql://user:{SECRET}@127.0.0.1:{free_port()}/name"):
            pass

    assert_fit_to_print(refusal.value)


async def test_a_database_or_role_that_is_not_there_is_said_in_the_words_of_the_server(postgresql: str) -> None:
    with pytest.raises(SettingsError, match='database "none" does not exist') as no_database:
        async with opened(postgresql.replace("/postgres?", "/none?")):
            pass
    with pytest.raises(SettingsError, match='role "nobody" does not exist') as no_role:
        async with opened(postgresql.replace("postgres:@", f"nobody:{SECRET}@")):
            pass

    assert_fit_to_print(no_database.value)
    assert_fit_to_print(no_role.value)


async def test_a_socket_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be reached: .*No such file") as refusal:
        async with opened(f"postgresql:///name?host={tmp_path}"):
            pass

    assert_fit_to_print(refusal.value)


async def test_a_sqlite_file_that_cannot_be_one_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is no database " * 100)
    sentences = {
        f"{tmp_path}/none/training.db": f"there is no folder {tmp_path}/none",
        str(tmp_path): "unable to open database file",
        f"{tmp_path}/text.db": "file is not a database",
    }

    for path, sentence in sentences.items():
        with pytest.raises(SettingsError, match=sentence) as refusal:
            async with opened(f"sqlite:///{path}"):
                pass
        assert_fit_to_print(refusal.value)


async def test_a_table_that_an_operator_dropped_is_an_error_and_not_a_silence(postgresql_url: str) -> None:
    connection = await asyncpg.connect(postgresql_url)
    async with opened(postgresql_url) as db:
        await connection.execute("DROP TABLE projects")
        await connection.close()

        with pytest.raises(Exception, match="projects") as broken:
            await db.read(lambda tx: tx.projects.find("p"))

    assert not isinstance(broken.value, Unavailable)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"postgresql://user:{SECRET}@db/name", "postgresql://user:***@db/name"),
        (f"postgresql://user:{SECRET}/{SECRET}@db/name", "postgresql://user:***@db/name"),
        (f"postgresql://user:{SECRET}@{SECRET}@db/name", "postgresql://user:***@db/name"),
        (f"user:{SECRET}@db/name", "user:***@db/name"),
        (f"redis://:{SECRET}@db/0", "redis://:***@db/0"),
        (f"postgresql:///name?user=a&password={SECRET}&x=1", "postgresql:///name?user=a&password=***&x=1"),
        (f"cannot reach redis://u:{SECRET}@db/0 now", "cannot reach redis://u:***@db/0 now"),
        ("sqlite:///./training.db", "sqlite:///./training.db"),
        ("postgresql://user@db:5432/name", "postgresql://user@db:5432/name"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
    ],
)
def test_a_password_is_never_shown(text: str, shown: str) -> None:
    assert shown == masked(text)


def assert_fit_to_print(refusal: SettingsError) -> None:
    assert "\n" not in str(refusal)
    assert SECRET not in str(refusal)
