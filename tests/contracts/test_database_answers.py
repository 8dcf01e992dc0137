"""What a key promises, on SQLite and on PostgreSQL: one deed, one answer, however many ask at once and whoever of them dies."""

import asyncio
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy.util import await_only

from domain.access import actions
from domain.access.answer import Answer, KeyedRequest
from domain.errors import Conflict, KeyReused, Unavailable
from infra.db.database import Database
from infra.db.transaction import Aftermath, Tx
from tests.contracts.databases import blocked, opened
from tests.things import AT, a_project


def keyed(key: str = "k", fingerprint: str = "f") -> KeyedRequest:
    return KeyedRequest(key=key, fingerprint=fingerprint)


def found(tx: Tx, name: str) -> str:
    tx.projects.add(a_project(name))
    return name


async def asked(db: Database, name: str, request: KeyedRequest | None = None) -> tuple[bytes, bool]:
    """Found a project once; the answer's body, and whether it was replayed."""
    answer, replayed = await db.run(actions.once, request or keyed(), partial(found, name=name), str.encode, 201)
    return answer.body, replayed


async def exists(db: Database, *names: str) -> list[bool]:
    return await db.read(lambda tx: [tx.projects.find(name) is not None for name in names])


async def test_the_same_request_again_does_nothing_and_gets_the_first_answer(db: Database) -> None:
    first = await asked(db, "a")
    again = await asked(db, "b")
    earlier = await db.read(actions.earlier, keyed())

    assert ((b"a", False), (b"a", True)) == (first, again)
    assert ("tester", "k", "f", 201, b"a") == (
        earlier and (earlier.principal, earlier.key, earlier.fingerprint, earlier.status, earlier.body)
    )
    assert [True, False] == await exists(db, "a", "b")


async def test_what_is_to_happen_after_the_commit_happens_once(db: Database, aftermath: list[Aftermath]) -> None:
    def place(tx: Tx) -> str:
        tx.place_later()
        return "placed"

    for _ in range(2):
        await db.run(actions.once, keyed(), place, str.encode, 201)

    assert [True, False] == [each.place for each in aftermath]


async def test_another_request_with_the_key_is_refused(db: Database) -> None:
    await asked(db, "a")

    with pytest.raises(KeyReused, match="fresh key"):
        await asked(db, "b", keyed(fingerprint="other"))
    with pytest.raises(KeyReused):
        await db.read(actions.earlier, keyed(fingerprint="other"))

    assert [True, False] == await exists(db, "a", "b")


async def test_keys_of_two_principals_are_two_keys(db: Database) -> None:
    mine = await asked(db.acting("token"), "mine")
    theirs = await asked(db.acting("local"), "theirs", keyed(fingerprint="other"))

    assert ((b"mine", False), (b"theirs", False)) == (mine, theirs)


async def test_what_failed_leaves_its_key_free(db: Database) -> None:
    def refuse(tx: Tx) -> str:
        found(tx, "half")
        message = "no"
        raise Conflict(message)

    with pytest.raises(Conflict):
        await db.run(actions.once, keyed(), refuse, str.encode, 201)

    assert await db.read(actions.earlier, keyed()) is None
    assert (b"b", False) == await asked(db, "b", keyed(fingerprint="other"))
    assert [False, True] == await exists(db, "half", "b")


async def test_twenty_at_once_on_two_servers_are_one_deed(db: Database, database_url: str) -> None:
    async with opened(database_url) as other:
        answers = await asyncio.gather(*(asked((db, other)[number % 2], f"p{number}") for number in range(20)))

    done = [body.decode() for body, replayed in answers if not replayed]
    assert 1 == len(done)
    assert {done[0].encode()} == {body for body, _ in answers}
    assert [f"p{number}" == done[0] for number in range(20)] == await exists(db, *(f"p{number}" for number in range(20)))


async def test_a_second_one_waits_for_the_first_and_gets_its_answer(postgresql_url: str) -> None:
    async with opened(postgresql_url) as db, opened(postgresql_url) as other:
        first, enough = await _under_way(db)

        second = asyncio.create_task(asked(other, "b"))
        await blocked(db)
        enough.set()

        assert ((b"a", False), (b"a", True)) == (await first, await second)
        assert [True, False] == await exists(db, "a", "b")


async def test_a_second_one_takes_its_turn_when_the_first_dies(postgresql_url: str) -> None:
    async with opened(postgresql_url) as db, opened(postgresql_url) as other:
        first, _ = await _under_way(db)

        second = asyncio.create_task(asked(other, "b"))
        await blocked(other)
        first.cancel()

        assert (b"b", False) == await second
        assert [False, True] == await exists(other, "a", "b")


async def test_a_second_one_that_waits_too_long_is_told_to_come_again(postgresql_url: str) -> None:
    async with opened(postgresql_url) as db, opened(postgresql_url, patience=0.3) as impatient:
        first, enough = await _under_way(db)

        with pytest.raises(Unavailable):
            await asked(impatient, "b")
        enough.set()
        await first

        assert (b"a", True) == await asked(impatient, "b")


async def test_old_answers_are_forgotten_a_thousand_at_a_time_and_young_ones_never(db: Database) -> None:
    await asked(db, "young")
    await db.run(_keep_old, 1_500)

    forgotten = [await db.run(actions.forget) for _ in range(3)]

    assert [1_000, 500, 0] == forgotten
    assert (b"young", True) == await asked(db, "again")
    assert await db.read(lambda tx: tx.answers.get("tester", "old-0")) is None
    assert 1 == await db.run(actions.forget, timedelta(0))


async def _under_way(db: Database) -> tuple["asyncio.Task[tuple[bytes, bool]]", asyncio.Event]:
    """A first request that has done its deed and does not end before it may."""
    acted, enough = asyncio.Event(), asyncio.Event()

    def act(tx: Tx) -> str:
        found(tx, "a")
        acted.set()
        await_only(enough.wait())
        return "a"

    async def ask() -> tuple[bytes, bool]:
        answer, replayed = await db.run(actions.once, keyed(), act, str.encode, 201)
        return answer.body, replayed

    first = asyncio.create_task(ask())
    await acted.wait()
    return first, enough


def _keep_old(tx: Tx, count: int) -> None:
    for number in range(count):
        old = Answer(principal="tester", key=f"old-{number}", fingerprint="f", status=201, body=b"", created_at=AT)
        assert tx.answers.claim(old)
