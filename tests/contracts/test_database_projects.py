"""Projects and their history as rows, on both databases."""

import asyncio
from datetime import timedelta

import pytest

from domain.errors import Conflict
from domain.ids import ProjectId
from domain.paging import Page
from domain.projects import actions
from domain.projects.ports import ProjectFilter
from domain.projects.project import ExecutorName, Project, ProjectChanges, ProjectCreate, ProjectStatus, ProjectVersion
from infra.db.database import Database
from infra.db.transaction import Tx
from tests.contracts.databases import events, keep
from tests.things import AT, a_project


async def test_a_project_comes_back_as_it_was_kept(db: Database) -> None:
    project = a_project(
        "通用对话 🚀",
        description='"quotes" \\ and\nlines',
        objective="",
        task_type="文本摘要",
        tags=["中文", "emoji 🎉", "a,b"],
        default_hyperparameters={"z": 1, "a": {"y": [1.5, None, True], "b": "二"}, "m": 2e-5, "n": 2**63 - 1},
        status=ProjectStatus.draft,
        executor=ExecutorName.docker,
        updated_at=AT + timedelta(microseconds=1),
    )

    await db.run(keep, project)

    kept = await db.read(lambda tx: tx.projects.find(project.id))
    assert kept is not None
    assert project == kept
    assert kept is not None
    assert ["z", "a", "m", "n"] == list(kept.default_hyperparameters)
    assert ["y", "b"] == list(kept.default_hyperparameters["a"])
    assert (AT, AT.tzinfo) == (kept.created_at, kept.created_at.tzinfo)


async def test_a_project_is_found_by_id_and_by_name_and_by_nothing_else(db: Database) -> None:
    project = a_project("one")
    await db.run(keep, project)

    found = await db.read(lambda tx: [tx.projects.find(ref) for ref in (project.id, "one", "ONE", "on", "", "%")])

    assert [project, project, None, None, None, None] == found
    assert project == await db.run(lambda tx: tx.projects.lock("one"))
    assert await db.run(lambda tx: tx.projects.lock("two")) is None


async def test_two_projects_cannot_bear_one_name(db: Database) -> None:
    await db.run(keep, a_project("one"))
    two, _ = await db.run(actions.create, ProjectCreate(name="two"))

    with pytest.raises(Conflict, match="a project named one already exists"):
        await db.run(keep, a_project("one"))
    with pytest.raises(Conflict, match="a project named one already exists"):
        await db.run(actions.change, two.id, ProjectChanges(name="one"))

    assert two == await db.read(lambda tx: tx.projects.find("two"))


async def test_of_two_who_want_one_name_at_once_one_gets_it(db: Database) -> None:
    created = await asyncio.gather(*(db.run(actions.create, ProjectCreate(name="one")) for _ in range(8)), return_exceptions=True)

    assert [Conflict] * 7 == [type(each) for each in created if isinstance(each, BaseException)]
    assert 1 == (await db.read(lambda tx: tx.projects.page(ProjectFilter(), Page()))).total


async def test_a_change_writes_the_next_version_and_an_event_with_what_it_changed(db: Database) -> None:
    project, _ = await db.run(actions.create, ProjectCreate(name="p", tags=["a"]))

    changed = await db.run(actions.change, "p", ProjectChanges(name="q", description=None, tags=["b"]))
    same = await db.run(actions.change, "q", ProjectChanges(name="q"))

    assert changed == same
    assert (2, "q", ["b"]) == (changed.version, changed.name, changed.tags)
    assert project.created_at == changed.created_at
    difference = {"name": ["p", "q"], "tags": [["a"], ["b"]]}
    versions = await db.read(lambda tx: tx.projects.versions(project.id))
    first = {"name": [None, "p"], "tags": [None, ["a"]], "status": [None, "draft"]}
    assert [(1, "tester", first), (2, "tester", difference)] == [(each.number, each.by, each.changes) for each in versions]
    created, told = await events(db, 2)
    assert ("project.created", project.id, project.id) == (created.kind, created.subject, created.project_id)
    assert {"version": 2, "changes": difference} == told.data


async def test_changes_at_once_are_made_one_after_the_other(db: Database) -> None:
    project, _ = await db.run(actions.create, ProjectCreate(name="p"))

    await asyncio.gather(*(db.run(actions.change, "p", ProjectChanges(description=str(number))) for number in range(10)))

    versions = await db.read(lambda tx: tx.projects.versions(project.id))
    assert list(range(1, 12)) == [version.number for version in versions]
    steps = [version.changes["description"] for version in versions[1:]]
    assert [None, *(after for _, after in steps[:-1])] == [before for before, _ in steps]


async def test_runs_are_counted_without_a_gap(db: Database) -> None:
    project = a_project()
    await db.run(keep, project)

    def count(tx: Tx, ref: str) -> Project | None:
        return tx.projects.count_run(ref)

    counted = await asyncio.gather(*(db.run(count, ref) for ref in (project.id, "p") * 5))

    assert list(range(1, 11)) == sorted(each.run_count for each in counted if each)
    assert await db.run(count, "q") is None


async def test_a_list_is_filtered_paged_and_newest_first(db: Database) -> None:
    named = {"alpha": ["a", "中文"], "Beta": ["b"], "50%_off": ["a"], "delta": []}
    projects = [
        a_project(name, tags=tags, created_at=AT + timedelta(seconds=number), owner="li" if number % 2 else None, description="x")
        for number, (name, tags) in enumerate(named.items())
    ]
    await db.run(keep, *projects)

    async def names(page: Page = Page(), **wanted: object) -> tuple[list[str], int]:  # noqa: B008 - frozen
        found = await db.read(lambda tx: tx.projects.page(ProjectFilter(**wanted), page))  # type: ignore[arg-type]
        return [project.name for project in found.items], found.total

    assert (["delta", "50%_off", "Beta", "alpha"], 4) == await names()
    assert (["Beta", "alpha"], 4) == await names(Page(2, 2))
    assert ([], 4) == await names(Page(9, 2))
    assert (["50%_off", "alpha"], 2) == await names(tag="a")
    assert (["alpha"], 1) == await names(tag="中文")
    assert (["delta", "Beta"], 2) == await names(owner="li")
    assert (["delta", "Beta"], 2) == await names(q="TA")
    assert (["50%_off"], 1) == await names(q="%")
    assert (["50%_off"], 1) == await names(q="_")
    assert 4 == (await names(q="X"))[1]
    assert ([], 0) == await names(status=ProjectStatus.archived)


async def test_equal_moments_still_have_one_order(db: Database) -> None:
    await db.run(keep, *(a_project(str(number)) for number in range(20)))

    pages = await db.read(lambda tx: [tx.projects.page(ProjectFilter(), Page(number, 7)) for number in (1, 2, 3)])

    assert 20 == len({project.name for page in pages for project in page.items})


async def test_a_version_is_kept_as_it_was(db: Database) -> None:
    version = ProjectVersion(project_id=ProjectId("proj_0"), number=1, at=AT, by="li", changes={"name": [None, "名"]})

    await db.run(lambda tx: tx.projects.add_version(version))

    assert [version] == await db.read(lambda tx: tx.projects.versions(version.project_id))
    assert [] == await db.read(lambda tx: tx.projects.versions(ProjectId("proj_1")))
