"""Which deployment answers for a model: read from the rows once a second and at news of a change, never while a request waits for it.

A request that finds nobody, or whose server is just gone, has it looked up again; so a roll-over costs nobody an answer. With the
database away, what was known last goes on serving.
"""

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from domain.deployments.queries import Route
from domain.deployments.steps import TOPIC
from domain.errors import DomainError, NotFound, Unavailable
from domain.ids import DeploymentId
from infra.queue.news import News

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How old the routes may be when no news is heard."""
PAUSE_SECONDS = 0.05
"""Lookups are at least so far apart: names that do not exist, asked for in a flood, are not a flood of questions to the database."""


class Exchange:
    """The routes as they are now, and how many requests each of them is answering."""

    def __init__(self, routes: Callable[[], Awaitable[Sequence[Route]]], deployed: Callable[[str], Awaitable[bool]]) -> None:
        self._read = routes
        self._deployed = deployed
        self._routes: defaultdict[str, list[Route]] = defaultdict(list)
        self._in_flight: Counter[DeploymentId] = Counter()
        self._turns: Counter[DeploymentId] = Counter()
        self._turn = 0
        self._looking = asyncio.Lock()
        self._looked_at = float("-inf")

    async def keep_looking(self, news: News) -> None:
        """Look again and again, until cancelled."""
        with news.follow(TOPIC) as follower:
            while True:
                await self.look()
                await follower.wait(LOOK_SECONDS)

    async def look(self) -> None:
        """Read the routes, unless that was done this very moment."""
        begun = time.monotonic()
        async with self._looking:
            if begun - self._looked_at < PAUSE_SECONDS:
                return
            try:
                found = await self._read()
            except DomainError as problem:
                log.warning("the routes to models are those of before: %s", problem.detail)
            else:
                self._turns = Counter({each.deployment_id: self._turns[each.deployment_id] for each in found})
                self._routes.clear()
                for route in found:
                    for name in dict.fromkeys(route.names):
                        self._routes[name].append(route)
            self._looked_at = time.monotonic()

    def models(self) -> dict[str, Route]:
        """Return the oldest route of every model that answers now, by name."""
        return {name: routes[0] for name, routes in sorted(self._routes.items())}

    async def choose(self, model: str, tried: Collection[DeploymentId] = ()) -> Route:
        """Return the route with the least to do, past those tried; NotFound for an unknown model, Unavailable while none answers."""
        if not (found := self._others(model, tried)):
            await self.look()
            found = self._others(model, tried)
        if not found and (tried or await self._deployed(model)):
            await asyncio.sleep(PAUSE_SECONDS)  # it may have come to answer this very moment
            await self.look()
            found = self._others(model, tried)
            if not found:
                message = f"the model {model!r} is deployed, and none of its servers answers right now"
                raise Unavailable(message, param="model", code="model_not_ready")
        if found:
            return min(found, key=lambda route: (self._in_flight[route.deployment_id], self._turns[route.deployment_id]))
        known = ", ".join([*self.models()][:10]) or "none"
        message = f"the model {model[:200]!r} does not exist; those that answer now: {known}"
        raise NotFound(message, param="model", code="model_not_found")

    def has_another(self, model: str, tried: Collection[DeploymentId]) -> bool:
        """Whether somebody else could answer."""
        return bool(self._others(model, tried))

    @contextmanager
    def serving(self, route: Route) -> Iterator[None]:
        """Count a request as in flight."""
        self._turn += 1
        self._turns[route.deployment_id] = self._turn
        self._in_flight[route.deployment_id] += 1
        try:
            yield
        finally:
            self._in_flight[route.deployment_id] -= 1
            if not self._in_flight[route.deployment_id]:
                del self._in_flight[route.deployment_id]

    def _others(self, model: str, tried: Collection[DeploymentId]) -> list[Route]:
        return [route for route in self._routes.get(model, ()) if route.deployment_id not in tried]
