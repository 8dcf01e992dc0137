"""A run's log over HTTP: any page, any time window, or live."""

from typing import Annotated

from litestar import Controller, get
from litestar.params import FromPath, HeaderParameter, QueryParameter
from litestar.response import ServerSentEvent

from api.follow import Batch, Told, stream
from api.logs import AT_ONCE, LogPage, following, log_page, moment, told
from api.provide import TheCaller, WantedPage
from domain.runs import queries


class RunLogController(Controller):
    """What people may ask of a run's log."""

    path = "/projects/{ref:str}/runs/{run:str}/logs"
    tags = ("runs",)

    @get()
    async def read_log(
        self,
        caller: TheCaller,
        ref: FromPath[str],
        run: FromPath[str],
        wanted_page: WantedPage,
        start_time: Annotated[str | None, QueryParameter(description="ISO 8601; lines seen then or later.")] = None,
        end_time: Annotated[str | None, QueryParameter(description="ISO 8601; lines seen before.")] = None,
    ) -> LogPage:
        """Read a page of the log; times without a zone are UTC."""
        start, end = moment("start_time", start_time), moment("end_time", end_time)
        return log_page(await caller.db.read(queries.log_page, ref, run, wanted_page, start, end), wanted_page)

    @get("/stream")
    async def follow_log(
        self,
        caller: TheCaller,
        ref: FromPath[str],
        run: FromPath[str],
        last_event_id: Annotated[str | None, HeaderParameter(name="Last-Event-ID", description="Go on behind this line.")] = None,
    ) -> ServerSentEvent:
        """Follow the log live: an event `line` per line, whose id is its number, and `end` once the run is over and all is told."""
        followed = await caller.db.read(queries.get, ref, run)
        line = following(last_event_id)

        async def read() -> Batch:
            nonlocal line
            now, lines = await caller.db.read(queries.follow, followed, line, AT_ONCE)
            line += len(lines)
            if now.over and not lines:
                end = {"status": now.status, "status_label": now.status.label(caller.language), "exit_code": now.exit_code}
                return Batch([Told("end", None, end)], over=True)
            return Batch([told(each) for each in lines])

        return stream(caller.world.news, followed.id, caller.closing, read)
