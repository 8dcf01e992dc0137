"""What a worker ends before it speaks for its host: all that lives there of what somebody declared dead."""

import os
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from domain.hosts import actions as hosts
from domain.processes.ports import Spec
from domain.processes.process import Phase
from infra.db.database import Database
from infra.executors import tree
from infra.executors.local import LocalExecutor
from tests.crash.counted import lives
from tests.house import eventually
from tests.things import HOST, a_process, a_registration
from workers.leftovers import end_leftovers

RANKS = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(300)"], start_new_session=True)
time.sleep(300)
"""
"""A trainer and a rank of it, which does not hold the attempt's lock."""


async def test_a_rank_that_outlives_a_trainer_killed_with_its_shim_is_ended(db: Database, tmp_path: Path) -> None:
    await db.run(hosts.register, a_registration(ttl=timedelta(0)))
    process = a_process(phase=Phase.over, host=HOST, updated_at=datetime.now(UTC))
    await db.run(lambda tx: tx.processes.add(process))
    executor, directory = LocalExecutor(), str(tmp_path / process.directory)
    command = [sys.executable, "-S", "-c", RANKS]
    await executor.start(directory, Spec(process_id=process.id, attempt=1, argv=command, env={}, cwd=str(tmp_path)))
    who = eventually(lambda: tree.command(directory))
    (rank,) = eventually(lambda: {*tree.members(directory, who)} - {who.pid})
    for pid in (who.shim_pid, who.pid):
        os.kill(pid, signal.SIGKILL)

    await end_leftovers(db, HOST, tmp_path, {"local": executor}, "local")

    assert [] == tree.members(directory, who)
    assert not lives(rank)
