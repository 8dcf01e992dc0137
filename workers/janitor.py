"""Tidying up after the house: answers to retried requests are forgotten once they are a day old."""

import asyncio
import logging

from domain.access import actions as access
from domain.errors import DomainError
from infra.db.database import Database

log = logging.getLogger(__name__)

TIDY_SECONDS = 3600.0


async def tidy(db: Database) -> None:
    """Tidy every hour until cancelled."""
    while True:
        try:
            while await db.run(access.forget) == access.FORGOTTEN_AT_ONCE:
                continue
        except DomainError as problem:
            log.warning("tidying: %s", problem.detail)
        except Exception:
            log.exception("tidying failed; it is tried again in an hour")
        await asyncio.sleep(TIDY_SECONDS)
