"""Runs, their metrics and artifacts as rows, on both databases: they come back as kept, never go back, and end once."""

import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from domain.errors import Conflict, Ghost
from domain.files import Pinned
from domain.hosts import actions as hosts
from domain.ids import RunId
from domain.paging import Page
from domain.processes.attempt import Attempt
from domain.processes.condition import Condition, ConditionName
from domain.processes.failure import Failure, FailureClass
from domain.processes.process import Phase, Resources
from domain.projects import actions as projects
from domain.projects.project import ProjectChanges, ProjectStatus
from domain.runs import actions, hosting, queries
from domain.runs.artifact import Artifact, ArtifactType, Found, Tag, TagName
from domain.runs.measured import Measured
from domain.runs.run import NEXT, TERMINAL, Metric, NewRun, Run, RunStatus
from domain.runs.said import Said
from domain.training.watch import Watch
from infra.db.database import Database
from infra.db.transaction import Aftermath, Tx
from tests.contracts.databases import events, keep, opened
from tests.contracts.lives import ALIVE, AN_INSTANT, Started, ending, look, words
from tests.things import AT, HOST, TEMPLATE, a_project, a_recipe, a_registration, a_run, an_artifact


async def test_a_run_comes_back_as_it_was_kept(db: Database) -> None:
    run = a_run(
        name="基线 🚀",
        status=RunStatus.failed,
        attempt=3,
        progress=0.1 + 0.2,
        model="m",
        dataset="datasets/对话/t.jsonl",
        hyperparameters={"z": 2e-5, "a": [1, None, "二"], "big": 2**63 - 1, "none": None, "nested": {"b": 1, "a": 2}},
        resources=Resources(gpu_type="H100", gpu_count=2),
        priority=-1,
        labels={"团队": "a"},
        config={"task_type": "sft", "learning_rate": 2e-5, "a": True},
        inputs={"datasets/d/t": Pinned(path="store/1", size_bytes=2**40, sha256="ab", mtime_ns=2**60)},
        metrics={"train/loss": 1.5, "eval/loss": None},
        resumed_from="run_0",
        host=HOST,
        gpus=["GPU-1"],
        watch=Watch(stalled_after_seconds=0.5, stop_on_nan=True),
        conditions=[Condition(name=ConditionName.stalled, reason="停滞", since=AT)],
        attempts=[Attempt(number=1, host=HOST, started_at=None, ended_at=AT)],
        exit_code=-9,
        failure=Failure(failure_class=FailureClass.out_of_memory, reason="内存", log_excerpt=["\x00\x1b[31m", "\ufffd"]),
        started_at=AT + timedelta(microseconds=1),
        finished_at=AT + timedelta(days=1),
    )

    await db.run(keep, run)

    kept = await db.read(lambda tx: tx.runs.get(run.id))
    assert run == kept == await db.run(lambda tx: tx.runs.lock(run.id))
    assert kept is not None
    assert ["z", "a", "big", "none", "nested"] == list(kept.hyperparameters)
    assert ["b", "a"] == list(kept.hyperparameters["nested"])
    assert await db.read(lambda tx: tx.runs.get(RunId("run_0"))) is None


async def test_a_run_is_found_by_id_and_name_within_its_project(db: Database) -> None:
    one, two = a_project("one"), a_project("two")
    run, other = a_run(one.id), a_run(two.id)
    await db.run(keep, one, two)
    await db.run(keep, run, other)

    asked = [("one", "run-001"), (one.id, "run-001"), ("one", run.id), ("two", "run-001"), ("two", run.id), ("none", "run-001")]
    found = await db.read(lambda tx: [tx.runs.find(*refs) for refs in asked])

    assert [run, run, run, other, None, None] == found
    assert [True, False] == await db.read(lambda tx: [tx.runs.name_taken(one.id, name) for name in ("run-001", "run-002")])


async def test_two_runs_of_one_project_cannot_bear_one_name(db: Database) -> None:
    await db.run(keep, a_project())
    asked = NewRun(name="mine")

    launched = await asyncio.gather(
        *(db.run(actions.launch, "p", asked, a_recipe(), template=TEMPLATE) for _ in range(6)), return_exceptions=True
    )

    refusals = [each for each in launched if not isinstance(each, Run)]
    assert 5 == len(refusals)
    assert all(isinstance(each, Conflict) and "already has a run named mine" in each.detail for each in refusals)
    with pytest.raises(Conflict, match="the project already has a run named run-001"):
        await db.run(keep, a_run(), a_run())


async def test_an_archived_project_takes_no_run_however_close_the_two_come(db: Database) -> None:
    await db.run(keep, a_project())
    archive = db.run(projects.change, "p", ProjectChanges(status=ProjectStatus.archived))
    launches = [db.run(actions.launch, "p", NewRun(), a_recipe(), template=TEMPLATE) for _ in range(8)]

    ends = await asyncio.gather(*launches[:4], archive, *launches[4:], return_exceptions=True)

    runs = [each for each in ends if isinstance(each, Run)]
    refusals = [each for each in ends if isinstance(each, BaseException)]
    assert all(isinstance(each, Conflict) and "archived" in each.detail for each in refusals)
    assert 8 == len(runs) + len(refusals)
    told = [event.kind for event in await events(db, len(runs) + 1)]
    assert ["run.launched"] * len(runs) + ["project.changed"] == sorted(told, reverse=True)


async def test_runs_are_listed_newest_first_and_by_status(db: Database) -> None:
    made = [
        a_run(name=str(number), created_at=AT + timedelta(seconds=number), status=RunStatus.failed if number % 2 else RunStatus.queued)
        for number in range(5)
    ]
    await db.run(keep, *made, a_run("proj_1"))

    page = await db.read(lambda tx: tx.runs.page(made[0].project_id, None, Page(2, 2)))
    failed = await db.read(lambda tx: tx.runs.page(made[0].project_id, RunStatus.failed, Page()))

    assert (["2", "1"], 5) == ([run.name for run in page.items], page.total)
    assert (["3", "1"], 2) == ([run.name for run in failed.items], failed.total)


async def test_a_stale_run_is_never_written_over_one_that_went_further(db: Database) -> None:
    steps = [(before, after) for before in RunStatus for after in RunStatus]
    runs = {step: a_run(name="-".join(step), status=step[0]) for step in steps}
    await db.run(keep, *runs.values())

    def write(tx: Tx, stale: Run) -> None:
        tx.runs.save(stale)

    allowed = {(before, after) for before, after in steps if after is before or after in NEXT[before]}
    for (before, after), run in runs.items():
        stale = replace(run, status=after)
        if (before, after) in allowed:
            await db.run(write, stale)
            continue
        with pytest.raises(Conflict, match=f"has meanwhile gone further than {after}"):
            await db.run(write, stale)


async def test_postgresql_itself_refuses_what_goes_backwards(postgresql_url: str) -> None:
    ranks = {RunStatus.queued: 0, RunStatus.starting: 1, RunStatus.running: 2, RunStatus.cancelling: 3}
    steps = [(before, after) for before in RunStatus for after in RunStatus]
    runs = {step: a_run(name="-".join(step), status=step[0]) for step in steps}
    async with opened(postgresql_url) as db:
        await db.run(keep, *runs.values())

        def write(tx: Tx, run: Run, status: RunStatus, attempt: int) -> None:
            values = {"status": str(status), "attempt": attempt, "id": run.id}
            tx.connection.execute(text("UPDATE runs SET status = :status, attempt = :attempt WHERE id = :id"), values)

        def backwards(before: RunStatus, after: RunStatus) -> bool:
            return before is not after and (before in TERMINAL or ranks.get(after, 9) < ranks[before])

        for (before, after), run in runs.items():
            if not backwards(before, after):
                await db.run(write, run, after, 1)
                continue
            with pytest.raises(DBAPIError, match=f"may not go from attempt 1, {before} to attempt 1, {after}"):
                await db.run(write, run, after, 1)
        again, over = runs[RunStatus.running, RunStatus.running], runs[RunStatus.failed, RunStatus.failed]
        await db.run(write, again, RunStatus.queued, 2)
        with pytest.raises(DBAPIError, match="may not go from attempt 2, queued to attempt 1, succeeded"):
            await db.run(write, again, RunStatus.succeeded, 1)
        with pytest.raises(DBAPIError, match="may not go from attempt 1, failed to attempt 2, queued"):
            await db.run(write, over, RunStatus.queued, 2)


async def test_metrics_come_back_in_the_order_they_were_said(db: Database) -> None:
    run, other = RunId("run_1"), RunId("run_2")
    metrics = [
        Metric(run_id=run, name="train/loss", step=1, epoch=0.5, value=2.5, at=AT),
        Metric(run_id=run, name="train/loss", step=3, value=None, at=AT),
        Metric(run_id=run, name="eval/loss", step=2, value=1e-300, at=AT),
        Metric(run_id=run, name="奖励", value=-0.0, at=AT),
    ]
    await db.run(lambda tx: tx.metrics.add(metrics))
    await db.run(lambda tx: tx.metrics.add([replace(metrics[0], run_id=other)]))
    await db.run(lambda tx: tx.metrics.add([]))

    async def history(name: str | None = None, since: int | None = None, limit: int = 10) -> list[Metric]:
        return await db.read(lambda tx: tx.metrics.history(run, name, since, limit))

    assert metrics == await history()
    assert metrics[:2] == await history("train/loss")
    assert metrics[1:3] == await history(since=2)
    assert metrics[1:2] == await history("train/loss", 2)
    assert metrics[:3] == await history(limit=3)


async def test_a_report_whose_storing_is_said_again_is_stored_once(db: Database, started: Started) -> None:
    await db.run(hosting.began, started.process, started.speaker, ALIVE)
    measured = [Measured(step=1, values={"train/loss": 1.0})]
    said = Said(attempt=1, lines=[], measured=measured, progress=None, first_byte=0, end_byte=0, report_end=40, seen_at=AT)

    await db.run(hosting.said, started.process, started.speaker, said)
    process = await db.run(hosting.said, started.process, started.speaker, said)  # as when the answer of the commit was lost

    assert 40 == process.report_offset
    assert 1 == len(await db.read(queries.metric_history, "p", started.run.id, None, None, 10))


async def test_artifacts_are_kept_once_and_change_in_place(db: Database) -> None:
    run = a_run()
    model = an_artifact(run, "模型", tags=[Tag(tag=TagName.release, notes="通过复核", applied_at=AT)], size_bytes=2**40)
    later = an_artifact(run, "b", step=20, complete=False, missing="why", created_at=AT + timedelta(seconds=1))
    elsewhere = an_artifact(a_run(), "c")

    await db.run(keep, later, model, elsewhere)
    await db.run(lambda tx: tx.artifacts.put(replace(later, complete=True, missing=None)))

    assert [model, replace(later, complete=True, missing=None)] == await db.read(lambda tx: tx.artifacts.of(run.id))
    assert model == await db.read(lambda tx: tx.artifacts.get(run.id, model.id))
    assert await db.read(lambda tx: tx.artifacts.get(run.id, elsewhere.id)) is None


async def test_a_whole_life_is_told_step_by_step(db: Database, started: Started) -> None:
    found = Found(type=ArtifactType.model, path="model_final", name="model_final", size_bytes=1, modified_at=1.0)
    began = await db.run(hosting.began, started.process, started.speaker, ALIVE)
    await db.run(hosting.said, started.process, started.speaker, words("你好".encode(), b"", loss=float("nan"), f1=0.5))
    ended = await db.run(hosting.ended, started.process, started.speaker, ending(0, found), backoff=AN_INSTANT)

    assert (RunStatus.running, 0.05, HOST) == (began.status, began.progress, began.host)
    assert (RunStatus.succeeded, 1.0, 0, None) == (ended.status, ended.progress, ended.exit_code, ended.failure)
    assert ended == await db.read(queries.get, "p", "run-001")
    assert {"loss": None, "f1": 0.5} == ended.metrics
    history = await db.read(queries.metric_history, "p", "run-001", None, None, 9)
    assert [("loss", None), ("f1", 0.5)] == [(each.name, each.value) for each in history]
    assert ["file:///out/model_final"] == [artifact.path for artifact in await db.read(queries.artifacts, "p", "run-001")]
    page = await db.read(queries.log_page, "p", "run-001", Page(), None, None)
    assert (["你好", ""], 4) == ([line.text.decode() for line in page.lines[1:3]], page.total)
    kinds = ["project.created", "host.registered", "run.launched", "run.starting", "run.running", "process.ended", "run.succeeded"]
    assert kinds == [event.kind for event in await events(db, len(kinds))]


async def test_every_step_of_a_host_may_be_repeated(db: Database, started: Started) -> None:
    for _ in range(2):
        await db.run(hosting.take, started.process, started.speaker)
        await db.run(hosting.began, started.process, started.speaker, ALIVE)
        await db.run(hosting.said, started.process, started.speaker, words(b"once", f1=1.0))
    once = await db.run(hosting.ended, started.process, started.speaker, ending(0), backoff=AN_INSTANT)
    twice = await db.run(hosting.ended, started.process, started.speaker, ending(1), backoff=AN_INSTANT)

    assert once == twice
    assert 3 == (await db.read(queries.log_page, "p", "run-001", Page(), None, None)).total
    assert 1 == len(await db.read(queries.metric_history, "p", "run-001", None, None, 9))


async def test_a_ghost_changes_nothing(db: Database, started: Started) -> None:
    await db.run(hosting.began, started.process, started.speaker, ALIVE)
    await db.run(hosting.said, started.process, started.speaker, words(b"mine"))
    await db.run(hosts.register, a_registration())
    before = await snapshot(db, started)
    found = Found(type=ArtifactType.model, path="m", name="m", size_bytes=1, modified_at=1.0)

    attempts = (
        db.run(hosting.take, started.process, started.speaker),
        db.run(hosting.began, started.process, started.speaker, ALIVE),
        db.run(hosting.said, started.process, started.speaker, words(b"late", first=5)),
        db.run(hosting.found, started.process, started.speaker, look(found)),
        db.run(hosting.ended, started.process, started.speaker, ending(1, found), backoff=AN_INSTANT),
    )
    refusals = await asyncio.gather(*attempts, return_exceptions=True)

    assert [Ghost] * len(attempts) == [type(each) for each in refusals]
    assert before == await snapshot(db, started)


async def test_what_a_trainer_left_is_registered_once_however_many_look(db: Database, started: Started) -> None:
    found = Found(type=ArtifactType.checkpoint, path="checkpoint-1", name="checkpoint-1", size_bytes=1, modified_at=1.0)

    looks = [db.run(hosting.found, started.process, started.speaker, look(found)) for _ in range(6)]
    await asyncio.gather(*looks)

    assert 1 == len(await db.read(queries.artifacts, "p", "run-001"))


async def test_a_run_shows_the_runs_that_went_on_from_its_checkpoints_and_no_other(db: Database, started: Started) -> None:
    two = [Found(type=ArtifactType.checkpoint, path=name, name=name, size_bytes=1, modified_at=1.0) for name in ("c-1", "c-2")]
    first, second = await db.run(hosting.found, started.process, started.speaker, look(*two))

    async def resume(checkpoint: Artifact | None) -> Run:
        return await db.run(
            actions.launch, "p", NewRun(), a_recipe(), template=TEMPLATE, resumed_from=checkpoint.id if checkpoint else None
        )

    resumed = [await resume(checkpoint) for checkpoint in (second, None, first)]

    shown = await db.read(queries.detail, "p", started.run.id)
    assert [(resumed[0].id, second.id), (resumed[2].id, first.id)] == [(each.id, each.resumed_from) for each in shown.resumed_by]
    assert [] == (await db.read(queries.detail, "p", resumed[0].id)).resumed_by


async def test_a_failure_shows_its_last_words_whatever_bytes_they_are(db: Database, started: Started) -> None:
    await db.run(hosting.began, started.process, started.speaker, ALIVE)
    await db.run(hosting.said, started.process, started.speaker, words(b"\x00\x1b[31m\xff\xfe\xed\xa0\x80 boom"))

    failed = await db.run(hosting.ended, started.process, started.speaker, ending(1), backoff=AN_INSTANT)

    kept = await db.read(queries.get, "p", "run-001")
    assert failed == kept
    assert RunStatus.failed is kept.status
    assert "boom" in str(kept.failure)
    assert Phase.over is (await db.read(lambda tx: tx.processes.of(kept.id))).phase


async def test_followers_are_told_of_every_change_of_their_run(db: Database, started: Started, aftermath: list[Aftermath]) -> None:
    aftermath.clear()

    await db.run(hosting.began, started.process, started.speaker, ALIVE)
    await db.run(hosting.said, started.process, started.speaker, words(b"x"))
    await db.run(hosting.ended, started.process, started.speaker, ending(0), backoff=AN_INSTANT)

    assert [{started.run.id, "events"}, {started.run.id}, {started.run.id, "events"}] == [each.topics for each in aftermath]
    assert [False, False, True] == [each.place for each in aftermath]


async def snapshot(db: Database, started: Started) -> list[object]:
    run = await db.read(queries.get, "p", started.run.id)
    page = await db.read(queries.log_page, "p", started.run.id, Page(), None, None)
    return [run, page, await db.read(lambda tx: tx.processes.of(run.id)), await db.read(queries.artifacts, "p", run.id)]
