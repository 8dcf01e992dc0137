"""The world, opened once and closed in reverse: the database, the bell, the news, the files."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct

from domain.access.principal import LOCAL, Principal
from domain.errors import DomainError
from domain.processes import actions as processes
from infra.db import url as database_url
from infra.db.database import Database, open_database
from infra.db.transaction import Aftermath
from infra.deid.engine import Engine
from infra.files.arriving import Arriving
from infra.files.inspector import Inspector
from infra.files.library import Library
from infra.files.store import FileStore
from infra.queue.bell import Bell
from infra.queue.news import News
from infra.servers import Asker
from infra.settings import Settings, SettingsError

log = logging.getLogger(__name__)

PLACEMENT_PAUSE_SECONDS = 0.02
"""A burst of launches is placed together: the first at once, the rest this much later."""
PLACEMENT_REST = 2.0
"""Times as long as a placement took: however many wait, requests have two thirds of the time."""


class World(Struct, frozen=True, kw_only=True):
    """Everything outside the rules that a server or a worker needs."""

    settings: Settings
    db: Database
    news: News
    store: FileStore
    inspector: Inspector
    arriving: Arriving
    library: Library
    bell: Bell
    deid: Engine
    asker: Asker

    async def queue_health(self) -> str:
        """Return `ok`, `down`, or `off` where there is no Redis."""
        return await self.bell.health()


class Aftercare:
    """Does what committed transactions asked for: rings hosts, tells followers, and places what waits, one placement at a time."""

    def __init__(self, bell: Bell, news: News) -> None:
        self._bell = bell
        self._news = news
        self._wanted = asyncio.Event()

    def __call__(self, aftermath: Aftermath) -> None:
        """Take care of one transaction's aftermath."""
        self._bell.ring_soon(aftermath.wakes)
        self._news.tell_soon(aftermath.topics)
        if aftermath.place:
            self._wanted.set()

    async def keep_placing(self, db: Database) -> None:
        """Place whenever it is asked for; what fails now is placed by the next sweep of a host."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            began = time.monotonic()
            try:
                await db.run(processes.place)
            except DomainError as problem:
                log.warning("placement: %s; the next sweep of a host places", problem.detail)
            except Exception:
                log.exception("a placement failed; the next one comes")
            await asyncio.sleep(max(PLACEMENT_PAUSE_SECONDS, PLACEMENT_REST * (time.monotonic() - began)))


@asynccontextmanager
async def open_world(settings: Settings, who: str = LOCAL, *, patience: float) -> AsyncIterator[World]:
    """Open everything, or end with one SettingsError in one readable line."""
    url = database_url.read(settings.database_url)
    store, deid = _store(settings), Engine(settings)
    bell, news, asker = Bell(settings.redis_url), News(settings.redis_url), Asker()
    aftercare = Aftercare(bell, news)
    db = await open_database(url, Principal(name=who), aftercare, patience=patience)
    news.start()
    placing = asyncio.create_task(aftercare.keep_placing(db.acting("placement")))
    inspector = Inspector(db.acting("inspector"), store, settings)
    library = Library(db, store, inspector, settings)
    arriving = Arriving(store, most_bytes=settings.max_file_bytes)
    try:
        yield World(
            settings=settings,
            db=db,
            news=news,
            store=store,
            arriving=arriving,
            inspector=inspector,
            library=library,
            bell=bell,
            deid=deid,
            asker=asker,
        )
    finally:
        await inspector.close()
        placing.cancel()
        await asyncio.gather(placing, return_exceptions=True)
        await asker.close()
        await bell.close()
        await news.close()
        await db.close()


def _store(settings: Settings) -> FileStore:
    root = Path(settings.training_path)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        message = f"the training directory {root} cannot be used ({problem.strerror}); set HOST_TRAINING_PATH"
        raise SettingsError(message) from problem
    return FileStore(root)
