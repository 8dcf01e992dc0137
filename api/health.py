"""Whether the house is well: for load balancers, for operators, and for the machinery itself."""

from litestar import Controller, Response, get
from msgspec import Struct

from api.provide import TheCaller
from domain.processes import yard


class Health(Struct, frozen=True, kw_only=True):
    """The server answers."""

    status: str = "ok"


class HostHealth(Struct, frozen=True, kw_only=True):
    """Whether a worker speaks for a host, and how much it has on its hands."""

    name: str
    live: bool
    processes: int


class MachineryHealth(Struct, frozen=True, kw_only=True):
    """The state of every part."""

    database: str
    queue: str
    """`ok`, `down`, or `off` where no REDIS_URL is set; without it hosts notice work in their next sweep."""
    hosts: list[HostHealth]
    living: int
    """Trainings that are placed, starting or alive."""


class HealthController(Controller):
    """Health probes."""

    path = "/"
    tags = ("health",)

    @get("/healthz")
    async def is_alive(self) -> Health:
        """Say that the server answers."""
        return Health()

    @get("/readyz")
    async def is_ready(self, caller: TheCaller) -> Health:
        """Say that the database answers too; 503 when it does not."""
        await caller.world.db.read(yard.seen)
        return Health()

    @get("/_internal/health")
    async def show_machinery(self, caller: TheCaller) -> Response[MachineryHealth]:
        """Show the state of the database, the queue and the hosts."""
        hosts = await caller.world.db.read(yard.seen)
        queue = await caller.world.queue_health()
        shown = [HostHealth(name=each.host.id, live=each.live, processes=each.processes) for each in hosts]
        return Response(MachineryHealth(database="ok", queue=queue, hosts=shown, living=sum(each.processes for each in hosts)))
