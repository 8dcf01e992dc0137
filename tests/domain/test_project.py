"""A project's life: born draft or active, changed version by version, archived and opened again."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import fields

from domain.errors import Conflict, Invalid
from domain.ids import PREFIXES, ProjectId
from domain.projects.project import Project, ProjectChanges, ProjectCreate, ProjectStatus, difference
from tests.things import AT, a_project

LATER = AT + timedelta(seconds=1)


def born(name: str = "p", **asked: Any) -> Project:
    return Project.born(ProjectCreate(name=name, **asked), ProjectId("proj_1"), AT)


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({}, "draft"),
        ({"dataset_name": "d"}, "draft"),
        ({"training_yaml_name": "c"}, "draft"),
        ({"dataset_name": "d", "training_yaml_name": "c"}, "active"),
        ({"status": ProjectStatus.active}, "active"),
        ({"dataset_name": "d", "training_yaml_name": "c", "status": ProjectStatus.draft}, "draft"),
    ],
)
def test_a_project_is_active_once_it_has_a_dataset_and_a_config(asked: dict[str, Any], status: str) -> None:
    assert status == born(**asked).status


def test_a_draft_becomes_active_when_it_has_both() -> None:
    draft = born(dataset_name="d")

    active = draft.changed(ProjectChanges(training_yaml_name="c"), LATER)

    assert (ProjectStatus.active, 2, LATER, AT) == (active.status, active.version, active.updated_at, active.created_at)


def test_what_a_change_leaves_out_stays_and_null_clears() -> None:
    project = born(description="d", owner="o", tags=["a"])

    changed = project.changed(ProjectChanges(description=None, tags=[]), LATER)

    assert (None, "o", []) == (changed.description, changed.owner, changed.tags)


def test_a_change_that_changes_nothing_is_no_version() -> None:
    project = born(tags=["a"])

    assert project is project.changed(ProjectChanges(name="p", tags=["a"]), LATER)
    assert project is project.changed(ProjectChanges(), LATER)


def test_an_archived_project_takes_no_runs_until_it_is_opened_again() -> None:
    archived = born().changed(ProjectChanges(status=ProjectStatus.archived), LATER)

    with pytest.raises(Conflict, match="project p is archived and takes no new runs; set its status to active first"):
        archived.require_open()
    archived.changed(ProjectChanges(status=ProjectStatus.active), LATER).require_open()


@pytest.mark.parametrize(
    "name", ["", " ", " p", "p\n", "x" * 201, "a/b", "..", ".", "a\x00b", "a\u202eb", "a\tb", *(f"{prefix}x" for prefix in PREFIXES)]
)
def test_a_name_that_cannot_be_part_of_a_url_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="the project is not valid: name ") as refusal:
        born(name)

    assert ["name"] == [flaw.field for flaw in refusal.value.flaws]


@pytest.mark.parametrize("name", ["p", "对话 模型", "x" * 200, "a.b-c_d", "emoji 🚀", "project"])
def test_any_other_name_is_fine(name: str) -> None:
    assert name == born(name).name


def test_everything_wrong_is_named_at_once() -> None:
    with pytest.raises(Invalid) as refusal:
        born("a/b", dataset_name="", training_yaml_name="")

    assert ["name", "dataset_name", "training_yaml_name"] == [flaw.field for flaw in refusal.value.flaws]


def test_a_change_may_not_make_a_project_invalid() -> None:
    with pytest.raises(Invalid, match="name"):
        born().changed(ProjectChanges(name="run_1"), LATER)


def test_a_version_says_what_it_changed_from_what_to_what() -> None:
    before, after = a_project(tags=["a"], owner=None), a_project(tags=["b"], owner="li", version=2, run_count=9)

    assert {"tags": [["a"], ["b"]], "owner": [None, "li"]} == difference(before, after)
    assert {"name": [None, "p"], "tags": [None, ["a"]], "status": [None, "active"]} == difference(None, before)


def test_whatever_may_be_created_may_be_changed() -> None:
    assert [field.name for field in fields(ProjectCreate)] == [field.name for field in fields(ProjectChanges)]
