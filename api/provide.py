"""What handlers ask for by name: the database on behalf of the caller, the caller's language, the page they want."""

import asyncio
import re
from functools import lru_cache
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from litestar import Request, Response
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.params import QueryParameter

from domain.access.principal import Principal
from domain.errors import Flaw, Invalid
from domain.paging import LARGEST_PAGE, PAGE_SIZE, Listing, Page
from infra.wiring import World


class Caller:
    """Who calls, in which language, and the world on their behalf. Open streams end when `closing` is set."""

    def __init__(self, request: Request[Principal, Any, Any], state: State) -> None:
        world: World = state.world
        self.world = world
        self.closing: asyncio.Event = state.closing
        self.db = world.db.acting(request.user.name, request.user.origin)
        self.roles = request.user.roles
        self._request = request

    @property
    def language(self) -> str:
        """Return `en` for those who prefer it to Chinese, `zh` for everybody else."""
        return _language(next((value for name, value in self._request.scope["headers"] if name == b"accept-language"), b""))


TheCaller = NamedDependency[Caller]
WantedPage = NamedDependency[Page]

_LANGUAGE = re.compile(r"(?:^|,)\s*(en|zh)\b[^,;]*(?:;\s*q=([01](?:\.\d{0,3})?))?")
"""One of our languages in an Accept-Language, such as `en-GB;q=0.8`, with its weight."""


def dependencies() -> dict[str, Provide]:
    """Return everything that handlers may ask for.

    One takes the other: Litestar opens a task group for two that could be made at once, a tenth of a request's time.
    """
    return {"caller": Provide(provide_caller, sync_to_thread=False), "wanted_page": Provide(provide_page, sync_to_thread=False)}


def provide_caller(state: State, request: Request[Principal, Any, Any]) -> Caller:
    """Give the caller, so that every event names them."""
    return Caller(request, state)


@lru_cache(maxsize=1024)
def _language(accepted: bytes) -> str:
    wanted = _LANGUAGE.findall(accepted.decode("latin-1").lower())
    language, weight = max(wanted, key=lambda each: float(each[1] or 1), default=("zh", ""))
    return "en" if language == "en" and float(weight or 1) else "zh"


def provide_page(
    caller: TheCaller,
    page: Annotated[int, QueryParameter(description="Which page, from 1.")] = 1,
    page_size: Annotated[int, QueryParameter(description=f"Items on a page, 1 to {LARGEST_PAGE}.")] = PAGE_SIZE,
) -> Page:
    """Give the page asked for; Invalid when there is no such page or size."""
    del caller  # see `dependencies`
    flaws = []
    if not 1 <= page < 2**53:
        flaws.append(Flaw("page", "must be 1 or more"))
    if not 1 <= page_size <= LARGEST_PAGE:
        flaws.append(Flaw("page_size", f"must be 1 to {LARGEST_PAGE}"))
    if flaws:
        message = "; ".join(f"{flaw.field} {flaw.message}" for flaw in flaws)
        raise Invalid(message, flaws)
    return Page(page, page_size)


def paged(request: Request[Any, Any, Any], listing: Listing[Any], page: Page, items: list[Any]) -> Response[Any]:
    """Answer with one page: `X-Total-Count` says how long the list is, `Link` where the other pages are."""
    last = max(1, -(-listing.total // page.size))
    around = {"first": 1, "prev": page.number - 1, "next": page.number + 1, "last": last}
    asked = [(name, value) for name, value in request.query_params.multi_items() if name not in ("page", "page_size")]
    links = [
        f'<{quote(request.scope["path"])}?{urlencode([*asked, ("page", number), ("page_size", page.size)])}>; rel="{name}"'
        for name, number in around.items()
        if 1 <= number <= last
    ]
    return Response(items, headers={"X-Total-Count": str(listing.total), "Link": ", ".join(links)})
