"""Before a worker speaks for its host, it ends what still lives there of runs that are over: an operator declared them dead.

What does not end keeps its GPUs from everybody.
"""

import logging
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from domain.hosts import actions as hosts
from domain.ids import HostName
from domain.processes import actions as processes
from domain.processes.ports import Executor
from infra.db.database import Database

log = logging.getLogger(__name__)

CLOCKS_APART = timedelta(hours=1)
"""How wrong the clock may be of whoever wrote the end; looking at too many costs nothing, they are dead already."""


async def end_leftovers(db: Database, name: HostName, root: Path, executors: Mapping[str, Executor], default: str) -> None:
    """Kill what lives of processes that ended while nobody spoke for this host."""
    known = await db.read(hosts.find, name)
    if known is None:
        return
    for process in await db.read(processes.ended_since, name, known.lease_until - CLOCKS_APART):
        executor = executors.get(process.executor or default)
        directory = str(root / process.directory)
        if executor is None:
            continue
        sight = await executor.look(directory)
        if not sight.started or (sight.exit is not None and not sight.alive):
            continue  # a shim that has seen the end has left nothing; where it was killed, what it watched may live on
        log.warning("process %s is over, but it was not seen to end here; what lives of it is killed", process.id)
        if left := await executor.kill(directory):
            log.error("pids %s of process %s cannot be killed; its GPUs are set aside", left, process.id)
            await db.run(processes.outlived, process, left)
