"""The address of a request: a query parameter that its handler does not know is refused, as an unknown field of a body is."""

from typing import Any

from litestar import Litestar, Request
from litestar.routes import HTTPRoute

from domain.errors import Flaw, Invalid

_KNOWN = "query_parameters"


def note_parameters(app: Litestar) -> None:
    """Write down, once, which query parameters each handler knows."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler, model in route.route_handler_map.values():
                handler.opt[_KNOWN] = sorted(parameter.field_alias for parameter in model.expected_query_params)


async def refuse_unknown(request: Request[Any, Any, Any]) -> None:
    """Invalid naming every query parameter that the handler does not know, or when the address holds a NUL."""
    query = request.scope["query_string"]
    if "\0" in request.scope["path"] or b"%00" in query:
        message = "the address holds a NUL character (%00), which no name of ours may"
        raise Invalid(message)
    if query:
        known = request.route_handler.opt[_KNOWN]
        flaws = [
            Flaw(name, f"is not known here; known are {', '.join(known) or 'none'}") for name in request.query_params if name not in known
        ]
        if flaws:
            message = "; ".join(f"query parameter {flaw.field} {flaw.message}" for flaw in flaws)
            raise Invalid(message, flaws)
