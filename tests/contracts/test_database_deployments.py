"""What the rows promise of deployments, on both databases: one port for one, no way back, and a rollover that never loses the old one."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from domain.deployments import actions, hosting, queries
from domain.deployments.deployment import CreateDeploymentRequest, Deployment, DeploymentStatus
from domain.deployments.health import Beat
from domain.deployments.ports import DeploymentFilter
from domain.errors import Conflict, Ghost, NotFound
from domain.hosts import actions as hosts
from domain.hosts.gpu import SeenGpu
from domain.ids import DeploymentId, ProcessId
from domain.paging import Page
from domain.processes import actions as processes
from domain.processes.end import End
from domain.processes.failure import Failure, FailureClass
from domain.processes.ports import Exit
from domain.processes.process import Phase, Resources
from domain.runs.artifact import NewTag, TagName
from domain.runs.run import Run
from infra.db.database import Database
from infra.db.transaction import Tx
from tests.contracts.lives import ALIVE, AN_INSTANT, Speaker, words
from tests.things import AT, HOST, a_deployment, a_process, a_project, a_registration, a_run, an_artifact

GRACE = timedelta(seconds=9)
WELL = Beat(ok=True)


async def test_what_is_kept_comes_back_and_lists_are_filtered(db: Database) -> None:
    full = a_deployment(tags=["演示", "demo"], figures={"cache/usage": None}, gpus=[3], health_ok=False, removed_at=None)
    gone = a_deployment(status=DeploymentStatus.stopped, removed_at=AT, model_path="m", served_names=["客服"], created_at=AT + timedelta(1))
    await db.run(keep, full, gone)

    assert full == await db.read(queries.get, full.id)
    assert [full] == await listed(db)
    assert [gone] == await listed(db, status=DeploymentStatus.stopped)
    assert [full] == await listed(db, tag="演示") == await listed(db, model="/models/qwen")
    assert [gone] == await listed(db, model="客服", status=DeploymentStatus.stopped)
    assert [] == await listed(db, tag="演")
    with pytest.raises(NotFound):
        await db.read(queries.get, "16b3f6fe-7047-42bd-89f8-8da30d47eeb5")


async def test_two_that_live_on_a_host_never_have_one_port(db: Database) -> None:
    one = a_deployment(status=DeploymentStatus.running, host=HOST, port=8200)
    await db.run(keep, one, a_deployment(status=DeploymentStatus.failed, host=HOST, port=8201))
    two = a_deployment(status=DeploymentStatus.starting, host=HOST)
    await db.run(keep, two)

    with pytest.raises(Conflict, match="port 8200 of host gpu-1 is another deployment's"):
        await db.run(lambda tx: tx.deployments.save(replace(two, port=8200)))
    await db.run(lambda tx: tx.deployments.save(replace(two, port=8201)))

    assert {8200, 8201} == await db.read(lambda tx: tx.deployments.ports_of(HOST))


async def test_a_late_write_never_takes_a_status_back(db: Database) -> None:
    running = a_deployment(status=DeploymentStatus.running, attempt=2)
    await db.run(keep, running)

    for late in (replace(running, status=DeploymentStatus.starting), replace(running, status=DeploymentStatus.stopping, attempt=1)):
        with pytest.raises(Conflict, match="has meanwhile gone further"):
            await db.run(save, late)
    with pytest.raises(Conflict, match="has had attempt 2 already"):
        await db.run(lambda tx: tx.deployments.save_again(replace(running, status=DeploymentStatus.queued)))
    assert running == await db.read(queries.get, running.id)


async def test_the_first_answer_lets_it_run_and_an_end_that_nobody_asked_for_begins_it_anew(db: Database) -> None:
    speaker = await registered(db)
    deployment = await deployed(db, "/models/qwen")
    process = await started(db, deployment, speaker)

    running = await db.run(hosting.felt, process, speaker, WELL, grace=GRACE)
    assert (DeploymentStatus.running, True, 8200) == (running.status, running.health_ok, running.port)
    assert [running.id] == [each.deployment_id for each in await db.read(queries.healthy, "/models/qwen")]
    assert [] == await db.read(queries.healthy, "qwen")
    end = End(attempt=1, began=True, exit=Exit(attempt=1, code=0, ended_at=1.0))
    again = await db.run(hosting.ended, process, speaker, end, backoff=GRACE)

    assert (DeploymentStatus.queued, 2, 1, None) == (again.status, again.attempt, again.restarts, again.port)
    waits = await db.read(lambda tx: tx.processes.of(deployment.id))
    assert (Phase.waiting, 2, None) == (waits.phase, waits.attempt, waits.stop_asked_at)
    assert waits.not_before is not None
    assert waits.not_before > again.updated_at
    assert [] == await db.read(queries.routes)
    assert await db.read(queries.deployed, "/models/qwen")


async def test_one_that_is_condemned_is_stopped_by_its_host_and_begun_anew(db: Database) -> None:
    speaker = await registered(db)
    deployment = await deployed(db, "/models/qwen")
    process = await started(db, deployment, speaker)
    await db.run(hosting.felt, process, speaker, WELL, grace=GRACE)
    failure = (await db.run(hosting.ended, process, speaker, End(attempt=9, began=True), backoff=GRACE)).failure
    assert failure is None  # an end of another attempt is none

    doomed = await db.run(
        hosting.condemned, process, speaker, Failure(failure_class=FailureClass.infrastructure, reason="it hangs"), grace=AN_INSTANT
    )
    asked = await db.read(lambda tx: tx.processes.of(deployment.id))
    assert (DeploymentStatus.running, False, True) == (doomed.status, doomed.health_ok, asked.stop_kill)
    assert asked.stop_asked_at is not None
    assert doomed == await db.run(hosting.felt, process, speaker, WELL, grace=GRACE)  # too late

    killed = End(attempt=1, began=True, exit=Exit(attempt=1, signal=9, ended_at=1.0))
    again = await db.run(hosting.ended, process, speaker, killed, backoff=AN_INSTANT)
    assert (DeploymentStatus.queued, "it hangs", None) == (again.status, again.failure and again.failure.reason, again.condemned)


async def test_a_removed_one_ends_stopped_whatever_its_exit_code(db: Database) -> None:
    speaker = await registered(db)
    deployment = await deployed(db, "/models/qwen")
    process = await started(db, deployment, speaker)
    await db.run(hosting.felt, process, speaker, WELL, grace=GRACE)

    polite = await db.run(actions.remove, deployment.id, grace=GRACE, force=False)
    row = await db.read(lambda tx: tx.processes.of(deployment.id))
    assert (DeploymentStatus.stopping, 9, 1, False) == (polite.status, row.stop_grace, row.stop_drain, row.stop_kill)
    assert [] == await db.read(queries.routes)
    assert [polite.id] == [each.id for each in await listed(db)]
    await db.run(actions.remove, deployment.id, grace=GRACE, force=True)
    row = await db.read(lambda tx: tx.processes.of(deployment.id))
    assert (0, 0, True) == (row.stop_grace, row.stop_drain, row.stop_kill)

    killed = End(attempt=1, began=True, exit=Exit(attempt=1, signal=9, ended_at=1.0))
    stopped = await db.run(hosting.ended, process, speaker, killed, backoff=GRACE)
    assert (DeploymentStatus.stopped, None) == (stopped.status, stopped.failure)
    assert [] == await listed(db)
    assert stopped == await db.run(actions.remove, deployment.id, grace=GRACE, force=False)


async def test_a_queued_one_is_removed_at_once(db: Database) -> None:
    deployment = await deployed(db, "/models/qwen")

    removed = await db.run(actions.remove, deployment.id, grace=GRACE, force=False)

    assert (DeploymentStatus.stopped, []) == (removed.status, await listed(db))


async def test_a_ghost_says_nothing_of_a_deployment(db: Database) -> None:
    ghost = await registered(db)
    deployment = await deployed(db, "/models/qwen")
    process = await started(db, deployment, ghost)
    await registered(db)

    with pytest.raises(Ghost):
        await db.run(hosting.felt, process, ghost, WELL, grace=GRACE)
    with pytest.raises(Ghost):
        await db.run(hosting.ended, process, ghost, End(attempt=1, began=True), backoff=GRACE)


async def test_every_port_is_given_once_and_then_none_is_left(db: Database) -> None:
    speaker = await registered(db)
    ports = []
    for number in range(3):
        deployment = await deployed(db, f"/models/{number}")
        ports.append((await db.read(queries.get, deployment.id), await placed(db, deployment, speaker)))
    given = [(await db.run(hosting.reserve, process, speaker, range(8200, 8203), {8201})).port for _, process in ports[:2]]

    assert [8200, 8202] == given
    with pytest.raises(Conflict, match="TUNEYARD_DEPLOYMENT_PORTS"):
        await db.run(hosting.reserve, ports[2][1], speaker, range(8200, 8203), {8201})


async def test_a_new_tag_rolls_over_once_the_new_one_answers_and_not_before(db: Database) -> None:
    speaker = await registered(db)
    run, (first, second) = await released(db)
    old = await deployed(db, "p@release")
    old_process = await started(db, old, speaker)
    await db.run(hosting.felt, old_process, speaker, WELL, grace=GRACE)
    assert [] == await db.read(queries.to_roll_over, HOST)

    await db.run(tag, run, second)
    assert [old.id] == await db.read(queries.to_roll_over, HOST)
    new = await db.run(actions.roll_over, old.id, grace=GRACE)
    assert new is not None
    assert None is await db.run(actions.roll_over, old.id, grace=GRACE)  # under way already
    assert (old.id, second, ["p@release"]) == (new.replaces, new.release and new.release.artifact_id, new.served_names)
    assert first == (old.release and old.release.artifact_id)

    process = await started(db, new, speaker)
    assert [old.id] == [each.deployment_id for each in await db.read(queries.healthy, "p@release")]
    await db.run(hosting.felt, process, speaker, WELL, grace=GRACE)

    assert [new.id] == [each.deployment_id for each in await db.read(queries.healthy, "p@release")]
    left = await db.read(queries.get, old.id)
    assert (DeploymentStatus.stopping, new.id) == (left.status, left.replaced_by)
    assert (await db.read(lambda tx: tx.processes.of(old.id))).stop_drain > 0
    assert [] == await db.read(queries.to_roll_over, HOST)


async def test_the_old_one_stays_when_the_new_one_fails_until_something_is_tagged_anew(db: Database) -> None:
    speaker = await registered(db)
    run, (_, second) = await released(db)
    old = await deployed(db, "p@release")
    await db.run(hosting.felt, await started(db, old, speaker), speaker, WELL, grace=GRACE)
    await db.run(tag, run, second)
    new = await db.run(actions.roll_over, old.id, grace=GRACE)
    assert new is not None
    refused = End(attempt=1, began=False, refusal="no such command", blame=FailureClass.bad_input)

    failed = await db.run(hosting.ended, await placed(db, new, speaker), speaker, refused, backoff=GRACE)

    assert DeploymentStatus.failed is failed.status
    assert [old.id] == [each.deployment_id for each in await db.read(queries.healthy, "p@release")]
    assert None is await db.run(actions.roll_over, old.id, grace=GRACE)
    await db.run(tag, run, second)
    assert await db.run(actions.roll_over, old.id, grace=GRACE) is not None


async def test_what_is_still_rolling_gives_way_to_what_is_tagged_meanwhile(db: Database) -> None:
    speaker = await registered(db)
    run, (first, second) = await released(db)
    old = await deployed(db, "p@release")
    await db.run(hosting.felt, await started(db, old, speaker), speaker, WELL, grace=GRACE)
    await db.run(tag, run, second)
    between = await db.run(actions.roll_over, old.id, grace=GRACE)
    third = await artifact(db, run, "third")
    await db.run(tag, run, third)

    newest = await db.run(actions.roll_over, old.id, grace=GRACE)

    assert between is not None
    assert newest is not None
    assert third == (newest.release and newest.release.artifact_id)
    assert DeploymentStatus.stopped is (await db.read(queries.get, between.id)).status
    await db.run(tag, run, first)
    assert None is await db.run(actions.roll_over, old.id, grace=GRACE)  # what it serves is released again


async def test_removing_one_that_rolls_over_removes_what_would_take_its_place(db: Database) -> None:
    speaker = await registered(db)
    run, (_, second) = await released(db)
    old = await deployed(db, "p@release")
    await db.run(hosting.felt, await started(db, old, speaker), speaker, WELL, grace=GRACE)
    await db.run(tag, run, second)
    new = await db.run(actions.roll_over, old.id, grace=GRACE)
    assert new is not None

    await db.run(actions.remove, old.id, grace=GRACE, force=False)

    assert DeploymentStatus.stopped is (await db.read(queries.get, new.id)).status
    assert None is await db.run(actions.roll_over, old.id, grace=GRACE)


async def test_a_deployment_takes_no_slot_and_the_gpu_it_prefers(db: Database) -> None:
    gpus = [SeenGpu(number=number, type="GPU") for number in range(3)]
    await db.run(hosts.register, a_registration(gpus=gpus, slots=1))
    training = a_process(resources=Resources(gpu_count=1))
    await db.run(lambda tx: tx.processes.add(training))
    first = await db.run(actions.deploy, CreateDeploymentRequest(model_path="/m", preferred_gpu=2), [])
    second = await db.run(actions.deploy, CreateDeploymentRequest(model_path="/m", preferred_gpu=2), [])

    assert 3 == await db.run(processes.place)

    held = await db.read(lambda tx: [tx.processes.of(each).gpus for each in (training.owner_id, first.id, second.id)])
    assert [["0"], ["2"], ["1"]] == held
    assert {HOST: 1} == await db.read(lambda tx: tx.processes.living())


async def test_an_operator_may_say_that_one_on_a_lost_host_is_dead(db: Database) -> None:
    speaker = await registered(db)
    deployment = await deployed(db, "/models/qwen")
    await started(db, deployment, speaker)
    with pytest.raises(Conflict, match="host gpu-1 is alive"):
        await db.run(actions.declare_dead, deployment.id)
    await db.run(hosts.leave, HOST, speaker.lease)
    lost = (await db.read(queries.detail, deployment.id)).deployment
    assert ["host_lost"] == [each.name for each in lost.conditions]

    dead = await db.run(actions.declare_dead, deployment.id)

    assert DeploymentStatus.failed is dead.status
    assert dead.failure is not None
    assert "declared dead by tester" in dead.failure.reason
    with pytest.raises(Ghost):
        await db.run(hosting.felt, (await db.read(lambda tx: tx.processes.of(deployment.id))).id, speaker, WELL, grace=GRACE)


async def test_its_words_and_figures_are_kept_and_old_figures_are_not(db: Database) -> None:
    speaker = await registered(db)
    deployment = await deployed(db, "/models/qwen")
    process = await started(db, deployment, speaker)
    await db.run(hosting.said, process, speaker, words(b"one", "二".encode()))
    await db.run(hosting.measured, process, speaker, {"cache/usage": 0.5})
    await db.run(lambda tx: tx.deployments.forget_figures(DeploymentId("another"), tx.now))

    page = await db.read(queries.log_page, deployment.id, Page(1, 50), None, None)
    assert ["one", "二"] == [line.text.decode() for line in page.lines if not line.level]
    shown, items = await db.read(queries.figures, deployment.id, None, 9)
    assert ({"cache/usage": 0.5}, [0.5]) == (shown.figures, [each.value for each in items])
    await db.run(lambda tx: tx.deployments.forget_figures(deployment.id, tx.now + timedelta(1)))
    assert [] == (await db.read(queries.figures, deployment.id, None, 9))[1]


def save(tx: Tx, deployment: Deployment) -> None:
    tx.deployments.save(deployment)


def keep(tx: Tx, *deployments: Deployment) -> None:
    for each in deployments:
        tx.deployments.add(each)
        tx.processes.add(a_process(each.id))


async def listed(db: Database, **wanted: object) -> list[Deployment]:
    found = await db.read(queries.page, DeploymentFilter(**wanted), Page(1, 50))  # type: ignore[arg-type]
    return [each.deployment for each in found.items]


async def registered(db: Database) -> Speaker:
    return Speaker(HOST, (await db.run(hosts.register, a_registration())).lease)


async def deployed(db: Database, path: str) -> Deployment:
    return await db.run(actions.deploy, CreateDeploymentRequest(model_path=path), [])


async def placed(db: Database, deployment: Deployment, speaker: Speaker) -> ProcessId:
    await db.run(processes.place)
    process: ProcessId = (await db.read(lambda tx: tx.processes.of(deployment.id))).id
    await db.run(hosting.take, process, speaker)
    return process


async def started(db: Database, deployment: Deployment, speaker: Speaker) -> ProcessId:
    process = await placed(db, deployment, speaker)
    await db.run(hosting.reserve, process, speaker, range(8200, 8210), set())
    await db.run(hosting.began, process, speaker, ALIVE)
    return process


async def released(db: Database) -> tuple[Run, list[str]]:
    """Keep a run with two models, of which the first is released."""
    project = a_project()
    run = a_run(project.id)
    await db.run(lambda tx: tx.projects.add(project))
    await db.run(lambda tx: tx.runs.add(run))
    models = [await artifact(db, run, name) for name in ("first", "second")]
    await db.run(tag, run, models[0])
    return run, models


async def artifact(db: Database, run: Run, name: str) -> str:
    model = an_artifact(run, f"data/{run.folder}/output/{name}")
    await db.run(lambda tx: tx.artifacts.put(model))
    return model.id


def tag(tx: Tx, run: Run, artifact_id: str) -> None:
    found = tx.artifacts.get(run.id, artifact_id)
    assert found is not None
    tx.artifacts.put(found.tagged(NewTag(tag=TagName.release), tx.now))
