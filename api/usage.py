"""Who asked how much of which model: counted in memory, written down every few seconds, shown by day."""

import asyncio
import logging
import re
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Annotated

from litestar import Controller, get
from litestar.params import QueryParameter

from api.provide import TheCaller
from domain.deployments import usage
from domain.deployments.usage import Usage
from domain.errors import DomainError, Flaw, Invalid
from infra.db.database import Database

log = logging.getLogger(__name__)

WRITE_SECONDS = 5.0
"""A killed server loses no more than this of the counts; an answer never waits for them."""
SHOWN = timedelta(days=30)


class Counts:
    """What was asked since it was last written down."""

    def __init__(self) -> None:
        self._counts = _nothing()

    def note(self, holder: str, model: str, *, failed: bool, tokens: tuple[int, int]) -> None:
        """Count one request with its prompt's and its answer's tokens."""
        self._add((holder, model, f"{datetime.now(UTC):%Y-%m-%d}"), [1, int(failed), *tokens])

    async def keep_writing(self, db: Database) -> None:
        """Write down every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            await self.write(db)

    async def write(self, db: Database) -> None:
        """Write down; what cannot be written now is kept for the next time."""
        counts, self._counts = self._counts, _nothing()
        found = [
            Usage(holder=holder, model=model, day=day, requests=all_, failed=failed, prompt_tokens=prompt, completion_tokens=completion)
            for (holder, model, day), (all_, failed, prompt, completion) in counts.items()
        ]
        try:
            if found:
                await db.run(usage.count, found)
        except DomainError as problem:
            log.warning("what was asked of the models is not written down yet: %s", problem.detail)
            for key, values in counts.items():
                self._add(key, values)

    def _add(self, key: tuple[str, str, str], values: list[int]) -> None:
        counts = self._counts[key]
        for place, value in enumerate(values):
            counts[place] += value


def _nothing() -> defaultdict[tuple[str, str, str], list[int]]:
    return defaultdict(lambda: [0, 0, 0, 0])


class UsageController(Controller):
    """What people may ask about what was asked."""

    path = "/v1/usage"
    tags = ("gateway",)

    @get()
    async def list_usage(
        self,
        caller: TheCaller,
        since: Annotated[str | None, QueryParameter(description="The first day, such as 2025-11-20; thirty days ago unless said.")] = None,
    ) -> list[Usage]:
        """List what each token's holder asked of each model, by day."""
        if since is not None and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", since):
            message = f"since {since[:40]!r} is no day such as 2025-11-20"
            raise Invalid(message, [Flaw("since", message)])
        return await caller.db.read(usage.usage, since or f"{datetime.now(UTC) - SHOWN:%Y-%m-%d}")
