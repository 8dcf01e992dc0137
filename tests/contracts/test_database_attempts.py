"""Attempts of a run on both databases: what is tried again, from where, how often; and what a person is told meanwhile."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import text

from domain.errors import Conflict, Ghost
from domain.hosts import actions as hosts
from domain.hosts.gpu import SeenGpu
from domain.processes import actions as processes
from domain.processes.condition import ConditionName
from domain.processes.failure import FailureClass
from domain.processes.ports import Exit
from domain.processes.process import Phase, Process, Resources
from domain.processes.queries import log_lines
from domain.projects import actions as projects
from domain.projects.project import ProjectCreate
from domain.runs import actions, hosting, queries
from domain.runs.artifact import ArtifactType, Found
from domain.runs.assets import source
from domain.runs.ending import Ending
from domain.runs.run import NewRun, Run, RunStatus
from infra.db.database import Database
from infra.db.transaction import Tx
from tests.contracts.databases import events
from tests.contracts.lives import ALIVE, AN_INSTANT, Speaker, Started, ending, starved, vanished, words
from tests.things import HOST, TEMPLATE, a_recipe, a_registration

GPUS = [SeenGpu(number=number, uuid=f"GPU-{number}", type="NVIDIA A100") for number in range(2)]


def checkpoint(step: int, **facts: Any) -> Found:
    return Found(
        type=ArtifactType.checkpoint,
        path=f"checkpoint-{step}",
        name=f"checkpoint-{step}",
        step=step,
        size_bytes=1,
        modified_at=1.0,
        **facts,
    )


async def process_of(db: Database, run: Run) -> Process:
    return await db.read(lambda tx: tx.processes.of(run.id))


async def retaken(db: Database, started: Started) -> None:
    """Let the host take the next attempt."""
    await db.run(processes.place)
    await db.run(hosting.take, started.process, started.speaker)


async def test_what_the_infrastructure_broke_is_tried_again_from_the_newest_complete_checkpoint(db: Database, started: Started) -> None:
    await db.run(hosting.began, started.process, started.speaker, ALIVE)
    await db.run(hosting.said, started.process, started.speaker, words(b"one", b"two"))
    half = checkpoint(30, complete=False, missing="no weights are there")

    run = await db.run(
        hosting.ended, started.process, started.speaker, vanished(started.run, checkpoint(20), checkpoint(10), half), backoff=AN_INSTANT
    )

    assert (RunStatus.queued, 2, None) == (run.status, run.attempt, run.host)
    assert f"runs/{run.id}/output/checkpoint-20" == run.config["resume_from_checkpoint"]
    assert [(1, HOST, FailureClass.infrastructure)] == [
        (each.number, each.host, each.failure and each.failure.failure_class) for each in run.attempts
    ]
    process = await process_of(db, run)
    assert (Phase.waiting, 2, 0, "folder") == (process.phase, process.attempt, process.log_offset, process.folder)
    await retaken(db, started)
    await db.run(hosting.said, started.process, started.speaker, words(b"three", attempt=2))
    lines = await db.read(lambda tx: log_lines(tx, run.id, 0, 9))
    assert ["one", "two", "three"] == [line.text.decode() for line in lines if not line.level]


async def test_the_third_failure_of_the_infrastructure_is_the_last(db: Database, started: Started) -> None:
    for attempt in (1, 2, 3):
        run = await db.run(hosting.ended, started.process, started.speaker, vanished(started.run, attempt=attempt), backoff=AN_INSTANT)
        if attempt < 3:
            await retaken(db, started)

    assert (RunStatus.failed, 3) == (run.status, run.attempt)
    assert [1, 2, 3] == [each.number for each in run.attempts]
    assert Phase.over is (await process_of(db, run)).phase


async def test_the_pause_before_an_attempt_grows_and_is_kept_in_the_row(db: Database, started: Started) -> None:
    pauses = []
    for attempt in (1, 2):
        await db.run(hosting.ended, started.process, started.speaker, vanished(started.run, attempt=attempt), backoff=timedelta(hours=1))
        process = await process_of(db, started.run)
        assert process.not_before is not None
        pauses.append((process.not_before - process.updated_at) / timedelta(hours=1))
        assert 0 == await db.run(processes.place)
        await db.run(due)
        await retaken(db, started)

    assert [1, 4] == pauses


@pytest.mark.parametrize(
    ("end", "status", "failure"),
    [
        (ending(1), RunStatus.failed, FailureClass.user_code),
        (starved(), RunStatus.failed, FailureClass.out_of_memory),
        (ending(0), RunStatus.succeeded, None),
        (
            Ending(attempt=1, began=True, exit=Exit(attempt=1, error="bash: no such command", ended_at=1.0)),
            RunStatus.failed,
            FailureClass.infrastructure,
        ),
        (Ending(attempt=1, began=False, refusal="there is no container x"), RunStatus.failed, FailureClass.infrastructure),
    ],
    ids=["user code", "memory", "success", "no command", "refused"],
)
async def test_nothing_else_is_tried_again(
    db: Database, started: Started, end: Ending, status: RunStatus, failure: FailureClass | None
) -> None:
    run = await db.run(hosting.ended, started.process, started.speaker, end, backoff=AN_INSTANT)

    assert (status, failure, 1) == (run.status, run.failure and run.failure.failure_class, run.attempt)


async def test_a_passing_obstacle_is_worth_another_attempt(db: Database, started: Started) -> None:
    refused = Ending(attempt=1, began=False, refusal="the docker engine does not answer", passing=True)

    run = await db.run(hosting.ended, started.process, started.speaker, refused, backoff=AN_INSTANT)

    assert (RunStatus.queued, 2) == (run.status, run.attempt)


async def test_what_is_said_of_an_old_attempt_changes_nothing(db: Database, started: Started) -> None:
    await db.run(hosting.ended, started.process, started.speaker, vanished(started.run), backoff=AN_INSTANT)
    await retaken(db, started)
    before = await db.read(queries.get, "p", started.run.id)

    again = await db.run(hosting.ended, started.process, started.speaker, vanished(started.run), backoff=AN_INSTANT)
    await db.run(hosting.said, started.process, started.speaker, words(b"late"))
    await db.run(hosting.began, started.process, started.speaker, ALIVE)

    assert before == again == await db.read(queries.get, "p", started.run.id)


async def test_a_run_cancelled_while_it_waits_for_its_next_attempt_is_resumed_where_its_checkpoint_lies(
    db: Database, started: Started
) -> None:
    await db.run(hosting.began, started.process, started.speaker, ALIVE)
    end = vanished(started.run, checkpoint(30))
    await db.run(hosting.ended, started.process, started.speaker, end, backoff=timedelta(hours=1))
    waiting = await db.read(processes.get, started.process)

    run = await db.run(actions.cancel, "p", started.run.id, grace=AN_INSTANT)

    kept, _ = await db.read(queries.kept, "p", run.id)
    onward = await db.read(source, "p", run.id, kept.artifacts[0].id, NewRun())
    assert waiting is not None
    assert (None, waiting.folder) == (run.host, onward.folder)
    assert onward.folder is not None


async def test_a_cancelled_run_is_not_tried_again(db: Database, started: Started) -> None:
    await db.run(actions.cancel, "p", started.run.id, grace=AN_INSTANT)

    run = await db.run(hosting.ended, started.process, started.speaker, vanished(started.run), backoff=AN_INSTANT)

    assert (RunStatus.cancelled, 1) == (run.status, run.attempt)


async def test_a_condition_comes_once_and_passes(db: Database, started: Started) -> None:
    for reason in ("silent", "still silent"):
        await db.run(hosting.noted, started.process, started.speaker, ConditionName.stalled, reason)
    noted = await db.read(queries.get, "p", started.run.id)
    for _ in range(2):
        await db.run(hosting.noted, started.process, started.speaker, ConditionName.stalled, None)

    assert [(ConditionName.stalled, "silent")] == [(each.name, each.reason) for each in noted.conditions]
    assert [] == (await db.read(queries.get, "p", started.run.id)).conditions
    kinds = [event.kind for event in await events(db, 6)]
    assert 2 == kinds.count("run.stalled")


async def test_a_condition_may_stop_the_run(db: Database, started: Started) -> None:
    await db.run(hosting.began, started.process, started.speaker, ALIVE)

    run = await db.run(hosting.noted, started.process, started.speaker, ConditionName.nan_loss, "NaN", stop_after=timedelta(seconds=9))

    assert RunStatus.cancelling is run.status
    assert 9 == (await process_of(db, run)).stop_grace


async def test_gpus_are_free_once_the_tree_is_dead_and_set_aside_when_it_is_not(db: Database, granted: Started) -> None:
    await db.run(hosting.freed, granted.process, granted.speaker, [4711])
    run = await db.run(hosting.ended, granted.process, granted.speaker, ending(1), backoff=AN_INSTANT)

    assert [ConditionName.unkillable] == [each.name for each in run.conditions]
    aside = [gpu for gpu in await db.read(lambda tx: tx.gpus.all()) if gpu.set_aside]
    assert [(0, None), (1, None)] == [(gpu.number, gpu.holder) for gpu in aside]
    assert all("4711" in (gpu.set_aside or "") for gpu in aside)
    assert 0 == await db.run(place_another)
    await db.run(hosts.return_gpu, HOST, 1)
    with pytest.raises(Conflict, match="GPU 1 of host gpu-1 is not set aside"):
        await db.run(hosts.return_gpu, HOST, 1)
    await db.run(hosts.leave, HOST, granted.speaker.lease)
    await db.run(hosts.register, a_registration(gpus=GPUS, boot_id="after a restart"))
    assert [True, True] == [gpu.free for gpu in await db.read(lambda tx: tx.gpus.all())]


async def test_a_run_shows_how_busy_its_gpus_are_as_long_as_it_holds_them(db: Database, granted: Started) -> None:
    busy = [replace(gpu, utilization=share) for gpu, share in zip(GPUS, (0.5, 0.25), strict=True)]

    async def shown() -> float | None:
        return (await db.read(queries.detail, "p", granted.run.id)).gpu_utilization

    unknown = await shown()
    await db.run(hosts.beat, HOST, granted.speaker.lease, timedelta(seconds=15), busy)
    known = await shown()
    await db.run(hosting.ended, granted.process, granted.speaker, ending(0), backoff=AN_INSTANT)

    assert [None, 0.375, None] == [unknown, known, await shown()]


async def test_a_run_on_a_lost_host_is_over_when_an_operator_says_so(db: Database, granted: Started) -> None:
    with pytest.raises(Conflict, match="host gpu-1 is alive"):
        await db.run(actions.declare_dead, "p", granted.run.id)
    await db.run(hosts.leave, HOST, granted.speaker.lease)
    lost = await db.read(queries.detail, "p", granted.run.id)

    run = await db.run(actions.declare_dead, "p", granted.run.id)

    assert [ConditionName.host_lost] == [each.name for each in lost.run.conditions]
    assert (RunStatus.failed, FailureClass.infrastructure) == (run.status, run.failure and run.failure.failure_class)
    assert "declared dead by tester" in (run.failure.reason if run.failure else "")
    assert all(gpu.free for gpu in await db.read(lambda tx: tx.gpus.all()))
    with pytest.raises(Ghost):  # it may only have been cut off, and must end what lives there before it is given more
        await db.run(hosts.beat, HOST, granted.speaker.lease, timedelta(seconds=15), GPUS)
    again = await db.run(hosts.register, a_registration(gpus=GPUS))
    with pytest.raises(Ghost):
        await db.run(hosting.ended, granted.process, granted.speaker, ending(0), backoff=AN_INSTANT)
    late = await db.run(hosting.ended, granted.process, Speaker(HOST, again.lease), ending(0), backoff=AN_INSTANT)
    assert run == late


async def test_a_drained_host_gets_nothing_new(db: Database) -> None:
    await db.run(hosts.register, a_registration(gpus=GPUS))
    await db.run(projects.create, ProjectCreate(name="p"))
    await db.run(hosts.drain, HOST)

    assert 0 == await db.run(place_another)
    await db.run(hosts.register, a_registration(gpus=GPUS))
    assert 0 == await db.run(processes.place)
    await db.run(hosts.undrain, HOST)
    assert 1 == await db.run(processes.place)


@pytest.fixture
async def granted(db: Database) -> Started:
    """Give a run that a host has taken, with both of its GPUs."""
    await db.run(projects.create, ProjectCreate(name="p"))
    host = await db.run(hosts.register, a_registration(gpus=GPUS))
    run = await db.run(actions.launch, "p", NewRun(resources=Resources(gpu_count=2)), a_recipe(), template=TEMPLATE)
    await db.run(processes.place)
    process = await process_of(db, run)
    assert ["GPU-0", "GPU-1"] == process.gpus
    speaker = Speaker(HOST, host.lease)
    run, _ = await db.run(hosting.take, process.id, speaker)
    return Started(run, process.id, speaker)


def due(tx: Tx) -> None:
    """Let every pause be over."""
    tx.connection.execute(text("UPDATE processes SET not_before = NULL"))


def place_another(tx: Tx) -> int:
    """Place one more run that wants a GPU."""
    actions.launch(tx, "p", NewRun(resources=Resources(gpu_count=1)), a_recipe(), template=TEMPLATE)
    return processes.place(tx)
