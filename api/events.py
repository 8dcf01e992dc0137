"""The record of every change over HTTP, live and from any place."""

from typing import Annotated

from litestar import Controller, get
from litestar.params import HeaderParameter, QueryParameter
from litestar.response import ServerSentEvent
from msgspec.structs import asdict

from api.follow import Batch, Told, stream
from api.provide import TheCaller
from domain.errors import Invalid
from domain.events import actions
from domain.events.event import Place

AT_ONCE = 500
"""Events read for a follower at a time."""


class EventController(Controller):
    """What people may ask of the record."""

    path = "/events"
    tags = ("events",)

    @get("/stream")
    async def follow_events(
        self,
        caller: TheCaller,
        project: Annotated[str | None, QueryParameter(description="Only events of this project (its id).")] = None,
        last_event_id: Annotated[
            str | None, HeaderParameter(name="Last-Event-ID", description="Go on behind this event; `0.0` for all.")
        ] = None,
    ) -> ServerSentEvent:
        """Follow every change: who, what, when, on which thing, from where. Without a `Last-Event-ID` only what is to come."""
        place = _place(last_event_id) if last_event_id else await caller.db.read(actions.newest_place)

        async def read() -> Batch:
            nonlocal place
            events = await caller.db.read(actions.events_after, place, limit=AT_ONCE, project=project)
            if events:
                place = events[-1].place
            return Batch([Told(event.kind, str(event.place), asdict(event)) for event in events])

        return stream(caller.world.news, actions.TOPIC, caller.closing, read)


def _place(text: str) -> Place:
    try:
        return Place.parse(text)
    except ValueError:
        message = f"Last-Event-ID {text} is not the place of an event, such as 812.93"
        raise Invalid(message) from None
