"""Keeping the training directory tidy: uploads that nobody goes on with, and bytes that nobody needs, are removed after their grace.

A blob goes only when the rows need it no more and it is older than the grace. Bytes of the same sum may arrive at that very moment: so
it is first moved aside, and what was moved is looked at again; if it is young, it was the newcomer's, and goes back. Whatever a crash
leaves aside goes back too, to be judged anew.
"""

import asyncio
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from domain.errors import DomainError
from domain.transfers import actions as transfers
from infra.db.database import Database
from infra.files.arriving import SUFFIX, Arriving
from infra.files.store import STALE, FileStore
from infra.settings import Settings

log = logging.getLogger(__name__)

TIDY_SECONDS = 3600.0
AT_ONCE = 500
"""Blobs asked about in one query."""
ASIDE = ".aside"


async def keep_tidy(db: Database, arriving: Arriving, settings: Settings) -> None:
    """Tidy every hour until cancelled."""
    while True:
        try:
            await tidy(db, arriving, settings)
        except (DomainError, OSError) as problem:
            log.warning("tidying the training directory: %s; it is tried again in an hour", problem)
        except Exception:
            log.exception("tidying the training directory failed; it is tried again in an hour")
        await asyncio.sleep(TIDY_SECONDS)


async def tidy(db: Database, arriving: Arriving, settings: Settings) -> None:
    """Tidy once; nothing where another server of this folder is at it."""
    with _alone(arriving.store.incoming) as alone:
        if alone:
            await _forget_transfers(db, arriving, timedelta(seconds=settings.upload_expiry_seconds))
            await remove_unneeded(db, arriving.store, timedelta(seconds=settings.blob_grace_seconds))


async def remove_unneeded(db: Database, store: FileStore, grace: timedelta) -> list[str]:
    """Remove the blobs that nothing has needed for as long as the grace; their stored names."""
    await asyncio.to_thread(_put_back, store)
    before = datetime.now(UTC) - grace
    candidates = await asyncio.to_thread(lambda: list(_older(store, before)))
    removed = []
    for start in range(0, len(candidates), AT_ONCE):
        names = candidates[start : start + AT_ONCE]
        unneeded = await db.read(lambda tx, asked: tx.blobs.unneeded(asked, before), names)
        removed += [name for name in unneeded if await asyncio.to_thread(_remove, store, name, before)]
    if removed:
        log.info("%s uploaded files that nothing needs were removed", len(removed))
    return removed


async def _forget_transfers(db: Database, arriving: Arriving, expiry: timedelta) -> None:
    while forgotten := await db.run(transfers.forget, expiry):
        for transfer in forgotten:
            arriving.drop(transfer.id)
        if len(forgotten) < transfers.FORGOTTEN_AT_ONCE:
            break
    oldest = time.time() - STALE.total_seconds()
    old = [path for path in arriving.store.incoming.glob(f"*{SUFFIX}") if path.stat().st_mtime < oldest]
    expected = await db.read(transfers.unfinished, [path.name.removesuffix(SUFFIX) for path in old])
    for path in old:
        if path.name.removesuffix(SUFFIX) not in expected:
            path.unlink(missing_ok=True)


def _older(store: FileStore, before: datetime) -> Iterator[str]:
    for path in store.blobs.glob("??/*"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before.timestamp():
                yield path.relative_to(store.root).as_posix()


def _remove(store: FileStore, name: str, before: datetime) -> bool:
    """Remove a blob, unless it has come anew since it was judged."""
    blob = store.root / name
    aside = store.incoming / f"{blob.name}{ASIDE}"
    try:
        blob.rename(aside)
    except FileNotFoundError:
        return False
    if aside.stat().st_mtime >= before.timestamp():
        _return(store, aside)
        return False
    aside.unlink()
    return True


def _put_back(store: FileStore) -> None:
    for aside in store.incoming.glob(f"*{ASIDE}"):
        _return(store, aside)


def _return(store: FileStore, aside: Path) -> None:
    name = aside.name.removesuffix(ASIDE)
    with suppress(FileExistsError):
        os.link(aside, store.blobs / name[:2] / name)
    aside.unlink()


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Hold this folder's lock if it is free; whether it was."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(file)
