"""What must be true after every step of the virtual house: the promises P1 to P6, each checked on the rows and on the world."""

from collections import Counter

from msgspec import Struct

from domain.hosts.gpu import Gpu
from domain.ids import RunId
from domain.processes.log import lines_of
from domain.processes.process import Phase, Process
from domain.runs import queries
from domain.runs.artifact import newest_checkpoint
from domain.runs.run import Run, RunStatus
from infra.db.rows import Rows
from infra.db.transaction import Tx
from tests.crash.virtual import World

RANK = {status: rank for rank, status in enumerate(RunStatus)}
ON_HAND = (Phase.placed, Phase.starting, Phase.alive)
PHASES = {
    RunStatus.queued: {Phase.waiting, Phase.placed},
    RunStatus.starting: {Phase.starting},
    RunStatus.running: {Phase.alive},
    RunStatus.cancelling: {Phase.starting, Phase.alive},
}
"""What the process of a run in this state may be; of any other it is over."""


class Seen(Struct):
    """All that the rows say of the runs."""

    runs: list[tuple[Run, Process]]
    gpus: list[Gpu]


def see(tx: Tx) -> Seen:
    """Read the rows."""
    runs = _all(tx.runs)
    return Seen(runs=[(run, tx.processes.of(run.id)) for run in runs], gpus=tx.gpus.all())


class Oracle:
    """Remembers what was, so that nothing goes back."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._before: dict[RunId, Run] = {}
        self.given_up: set[RunId] = set()
        """Runs that an operator declared dead: they may live on until their machine has a worker again."""

    def check(self, tx: Tx) -> None:
        """All promises."""
        seen = see(tx)
        for run, process in seen.runs:
            self._check_state(run, process)
            self._check_log(tx, run)
            self._check_progress(run)
            self._check_checkpoints(tx, run)
        self._check_holders(seen)
        self._check_world(seen)

    @staticmethod
    def explain(tx: Tx) -> None:
        """P1: whoever waits can say why."""
        for run, _ in see(tx).runs:
            waiting = queries.detail(tx, run.project_id, run.id).waiting
            assert (waiting is not None) is (run.status is RunStatus.queued)
            assert waiting is None or (waiting.position > 0 and waiting.text_zh and waiting.text_en)

    @staticmethod
    def _check_state(run: Run, process: Process) -> None:
        """P1: a run is in one state, and its process in the one that goes with it."""
        assert process.phase in PHASES.get(run.status, {Phase.over})
        assert process.attempt == run.attempt
        assert (process.stop_asked_at is not None) or run.status is not RunStatus.cancelling
        assert (process.host is not None) or process.phase not in ON_HAND
        assert [each.number for each in run.attempts] == list(range(1, len(run.attempts) + 1))

    def _check_world(self, seen: Seen) -> None:
        """P2 and P6: one live tree per run, of its present attempt, where the row says; P5: no GPU serves two trees."""
        living = self._world.living()
        assert len(living) == len({attempt.run_id for attempt in living}), "two trees of one run live"
        assert all(attempt.starts <= 1 for attempt in self._world.attempts.values())
        rows = {run.id: process for run, process in seen.runs}
        for attempt in living:
            process = rows[attempt.run_id]
            expected = (attempt.number, attempt.machine.name, True)
            told = (process.attempt, process.host, process.phase in {Phase.starting, Phase.alive})
            assert expected == told or attempt.run_id in self.given_up, "a tree lives that no row knows"
        used = [
            device
            for each in self._world.attempts.values()
            if each.running or (each.hanging and each.run_id not in self.given_up)  # an operator's word counts for that, too
            for device in each.gpus
        ]
        assert not [device for device, users in Counter(used).items() if users > 1], "a GPU serves two"

    def _check_log(self, tx: Tx, run: Run) -> None:
        """P3: the stored lines of each attempt are the first of those that it said, none twice, and their numbers are dense."""
        stored: dict[int, list[bytes]] = {}
        number = 0
        for chunk in tx.logs.between(run.id, 0, tx.logs.end(run.id)):
            assert chunk.first_line == number
            number += chunk.lines
            stored.setdefault(chunk.attempt, []).extend(line.text for line in lines_of([chunk], 0, number) if not line.level)
        for attempt, lines in stored.items():
            said = self._world.attempts.get((run.id, attempt))
            assert lines == (said.lines(0, len(lines)) if said else [])
            assert not lines or (said is not None and len(lines) <= said.said)
        settled = self._world.attempts.get((run.id, run.attempt)) if run.over and run.id not in self.given_up else None
        assert settled is None or settled.said == len(stored.get(run.attempt, [])), "the end was settled before all was read"

    def _check_progress(self, run: Run) -> None:
        """P4: nothing goes back, and what has ended stays as it is."""
        before = self._before.get(run.id)
        self._before[run.id] = run
        if before is None:
            return
        assert (before.attempt, _rank(before)) <= (run.attempt, _rank(run))
        assert before.progress <= run.progress
        assert not before.over or before == run

    def _check_checkpoints(self, tx: Tx, run: Run) -> None:
        """P6: what has ended has its newest complete checkpoint known."""
        if run.over and run.id not in self.given_up:
            newest = newest_checkpoint(tx.artifacts.of(run.id))
            complete = [step for step, whole in self._world.checkpoints.get(run.id, {}).items() if whole]
            assert max(complete, default=None) == (newest.step if newest else None)

    def _check_holders(self, seen: Seen) -> None:
        """P5: who holds GPUs is on a host's hands, and holds what its row says, unless it was freed once it was dead."""
        held: dict[str, list[Gpu]] = {}
        for gpu in seen.gpus:
            assert gpu.holder is None or gpu.set_aside is None
            if gpu.holder is not None:
                held.setdefault(gpu.holder, []).append(gpu)
        for _, process in seen.runs:
            mine = held.pop(process.id, [])
            if process.phase not in ON_HAND:
                assert not mine, "what is not on a host's hands holds a GPU"
                continue
            assert all(gpu.host == process.host for gpu in mine)
            if [gpu.device for gpu in mine] != process.gpus:
                attempt = self._world.attempts.get((RunId(process.owner_id), process.attempt))
                assert not mine, "it holds others than it was given"
                assert attempt is not None, "a GPU was freed before it was used"
                assert not attempt.running, "a GPU was freed while it is used"
        assert not held


def _rank(run: Run) -> int:
    return min(RANK[run.status], RANK[RunStatus.succeeded])


def _all(rows: Rows[Run]) -> list[Run]:
    return rows.many(rows.stored.table.select().order_by(rows.stored.table.c.created_at))
