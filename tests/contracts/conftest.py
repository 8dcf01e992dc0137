"""What the contract tests of the databases begin with."""

import pytest

from domain.hosts import actions as hosts
from domain.processes import actions as processes
from domain.projects import actions as projects
from domain.projects.project import ProjectCreate
from domain.runs import actions, hosting
from domain.runs.run import NewRun
from infra.db.database import Database
from tests.contracts.lives import Speaker, Started
from tests.things import HOST, TEMPLATE, a_recipe, a_registration


@pytest.fixture
async def started(db: Database) -> Started:
    """Give a run that a host has taken."""
    await db.run(projects.create, ProjectCreate(name="p"))
    host = await db.run(hosts.register, a_registration())
    run = await db.run(actions.launch, "p", NewRun(), a_recipe(), template=TEMPLATE)
    await db.run(processes.place)
    process = await db.read(lambda tx: tx.processes.of(run.id))
    speaker = Speaker(HOST, host.lease)
    run, _ = await db.run(hosting.take, process.id, speaker)
    return Started(run, process.id, speaker)
