"""A look into a file shows true lines with their numbers, at random too, and never more than it promised."""

import gzip
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from infra.files import preview
from infra.files.reading import open_data

TEXT = b"".join(b"line %d\n" % number if number % 10 else b" \n" for number in range(1, 1001))


@pytest.fixture(params=["t.jsonl", "t.jsonl.gz"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file of a thousand lines, every tenth blank; plain, and packed."""
    path: Path = tmp_path / request.param
    path.write_bytes(gzip.compress(TEXT) if path.suffix == ".gz" else TEXT)
    return path


def test_the_first_lines_are_the_first_that_are_not_blank(file: Path) -> None:
    with open_data(file.parent, file.name, ratio=100) as opened:
        look = preview.first(opened, 12)

    assert [*range(1, 10), 11, 12, 13] == [line.number for line in look.lines]
    assert "line 13" == look.lines[-1].text


def test_random_lines_are_true_and_each_is_as_likely(file: Path) -> None:
    seen: Counter[int] = Counter()
    chance = Random(1)

    for _ in range(300):
        with open_data(file.parent, file.name, ratio=100) as opened:
            look = preview.some(opened, 30, chance)
        assert [f"line {line.number}" for line in look.lines] == [line.text for line in look.lines]
        assert 30 == len({line.number for line in look.lines})
        seen.update(line.number for line in look.lines)

    assert 900 == len(seen)
    assert all(1 <= count <= 30 for count in seen.values())
    thirds = [sum(seen[number] for number in range(start, start + 333)) for start in (1, 334, 667)]
    assert max(thirds) - min(thirds) < 0.1 * sum(thirds)


def test_more_random_lines_than_there_are_is_all_of_them(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"a\nb\n")

    with open_data(tmp_path, "t", ratio=100) as opened:
        assert ["a", "b"] == [line.text for line in preview.some(opened, 5, Random(1)).lines]


def test_lines_are_found_by_their_numbers(file: Path) -> None:
    with open_data(file.parent, file.name, ratio=100) as opened:
        assert ["line 3", "line 999"] == [line.text for line in preview.numbered(opened, {3, 999, 10, 5000}).lines]


def test_a_long_line_is_cut_and_the_next_one_has_its_number(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"x" * 3_000_000 + b"\nshort \xff\r\n" + b"y" * preview.LONGEST_SHOWN)

    with open_data(tmp_path, "t", ratio=100) as opened:
        lines = preview.first(opened, 9).lines

    assert [(1, preview.LONGEST_SHOWN, True), (2, 7, False), (3, preview.LONGEST_SHOWN, False)] == [
        (line.number, len(line.text), line.cut) for line in lines
    ]
    assert "short �" == lines[1].text


def test_a_look_goes_so_far_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "LOOKED_THROUGH", 1000)
    (tmp_path / "t").write_bytes(TEXT)

    with open_data(tmp_path, "t", ratio=100) as opened:
        look = preview.some(opened, 5, Random(1))

    assert not look.whole
    assert all(line.number < 150 for line in look.lines)
