"""What a job's processes do with a chunk, and what they say of it."""

import pickle
from traceback import format_exception

import pytest

from domain.deid.policy import read
from infra.deid.engine import Recipe
from infra.files.rewrite import MOST_FIELDS, Chunk, State
from infra.jobs import chunks
from infra.jobs.chunks import ChunkError, Rewriter
from tests.deid import RING

PHONE = "13812345678"
POLICY = read({"id": "own", "version": 1, "defaults": {"operator": {"kind": "redact"}}})


@pytest.fixture
def rewriter(monkeypatch: pytest.MonkeyPatch) -> Rewriter:
    """A rewriter of JSON lines, in this process."""
    monkeypatch.setattr(chunks, "_ready", [Recipe(policy=POLICY, ring=RING, seed=1).ready()])
    return Rewriter(json=True, packing="")


class Broken:
    """A policy that says what it was given when it breaks."""

    def json_lines(self, lines: list[bytes]) -> None:
        """Raise, because of another error."""
        raise ValueError(lines[0].decode()) from KeyError(lines[0])


def test_what_breaks_is_told_by_its_kind_and_place_and_never_by_its_words(rewriter: Rewriter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "_ready", [Broken()])

    with pytest.raises(ChunkError, match=r"^ValueError at chunks.py:[0-9]+ > chunks.py:[0-9]+ > test_chunks.py:[0-9]+$") as told:
        rewriter(Chunk(f'{{"a":"{PHONE}"}}\n'.encode(), 20))

    assert PHONE not in "".join(format_exception(told.value))
    assert PHONE not in str(pickle.loads(pickle.dumps(told.value)))  # noqa: S301 - ours, as a pool's process sends it


def test_of_many_fields_most_are_counted_together(rewriter: Rewriter) -> None:
    data = b"".join(b'{"u%d":"%s"}\n' % (number, PHONE.encode()) for number in range(300))

    once = rewriter(Chunk(data, len(data)))
    state = State().after(Chunk(data, len(data)), once, target=0, quarantine=0)
    twice = state.after(Chunk(data, len(data)), once, target=0, quarantine=0)

    fields = twice.found["CN_MOBILE"]
    assert (MOST_FIELDS + 1, 2, 200) == (len(fields), fields["u0"], fields["…"])
    assert 600 == sum(fields.values())
