"""Policies on disk: found, replaced all at once, refused with file and reason."""

from pathlib import Path

import pytest

from domain.deid.policy import PolicyError
from domain.errors import NotFound
from infra.deid import shelf
from infra.deid.shelf import Shelf

OWN = "id: own\nversion: 1\ndefaults:\n  operator: {kind: redact}\n"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "LOOK_SECONDS", -1.0)


def test_ours_are_there_and_the_operators_own_come_besides(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN)
    (tmp_path / "notes.txt").write_text("no policy")
    policies = Shelf(tmp_path).all()

    assert ["default", "mask", "own", "redact", "reversible"] == sorted(policies)
    assert policies["own"].revision.startswith("1-")


def test_one_of_the_operators_takes_the_place_of_ours(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text(OWN.replace("own", "default"))

    assert Shelf(tmp_path).get("default").revision != Shelf(None).get("default").revision


def test_an_unknown_one_is_not_found_by_name(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no policy nope; there are default, mask"):
        Shelf(tmp_path).get("nope")


def test_a_change_is_in_use_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(OWN)
    policies = Shelf(tmp_path)
    first = policies.get("own").revision

    file.write_text(OWN.replace("version: 1", "version: 22"))
    second = policies.get("own").revision
    file.write_text(OWN + "detectors: [{type: X_NO, pattern: 'a+'}]\n")
    third = policies.get("own").revision

    assert ("1-", "22-") == (first[:2], second[:3])
    assert second == third
    assert policies.problem is not None
    assert "own.yaml: detectors: the pattern of X_NO is refused: it repeats without a bound" in policies.problem
    file.write_text(OWN.replace("version: 1", "version: 3"))
    assert "3-" == policies.get("own").revision[:2]
    assert policies.problem is None
    file.unlink()
    with pytest.raises(NotFound):
        policies.get("own")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OWN + "colour: red\n", "own.yaml: .*unknown field `colour`"),
        (OWN + "id: again\n", "own.yaml: .*repeats the key 'id'"),
        ("- a list\n", "own.yaml: .*mapping"),
        ("a: &x [1]\nb: *x\n", "own.yaml: .*anchor"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_at_the_start(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "own.yaml").write_text(text)

    with pytest.raises(PolicyError, match=message):
        Shelf(tmp_path)


def test_two_files_may_not_be_one_policy(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yml"):
        (tmp_path / name).write_text(OWN)

    with pytest.raises(PolicyError, match=r"b\.yml and a\.yaml are both the policy own"):
        Shelf(tmp_path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").symlink_to("nowhere")

    with pytest.raises(PolicyError, match=r"own\.yaml"):
        Shelf(tmp_path)
