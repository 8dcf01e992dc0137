"""Whole events: what is passed on ends where an event ends, so that an error can follow it, and nothing is lost or held for long."""

from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.relay import MOST_HELD, tokens_said, whole_events

EVENTS = st.lists(st.text("ab\n", max_size=5).filter(lambda text: "\n\n" not in text).map(lambda text: f"data: {text.strip()}"), max_size=8)


async def pieces(*found: bytes) -> AsyncIterator[bytes]:
    for each in found:
        yield each


@given(EVENTS, st.sampled_from(["\n\n", "\r\n\r\n"]), st.lists(st.integers(0, 200), max_size=8))
async def test_nothing_is_lost_and_each_piece_ends_with_an_event(events: list[str], end: str, cuts: list[int]) -> None:
    stream = "".join(event + end for event in events).encode()
    at = [0, *sorted(cuts), len(stream)]
    cut = [stream[begin:stop] for begin, stop in pairwise(at) if stream[begin:stop]]

    passed = [each async for each in whole_events(pieces(*cut))]

    assert stream == b"".join(passed)
    assert all(each.endswith(end.encode()) for each in passed)
    assert b"" not in passed


async def test_what_comes_whole_goes_on_as_it_came() -> None:
    found = [b"data: 1\n\n", b"data: 2\n\ndata: 3\n\n"]

    assert found == [each async for each in whole_events(pieces(*found))]


async def test_the_unfinished_rest_of_a_stream_that_ends_well_is_not_swallowed() -> None:
    assert [b"data: 1\n\n", b"data: 2"] == [each async for each in whole_events(pieces(b"data: 1\n\ndata: 2"))]


async def test_an_event_without_end_is_not_held_for_ever() -> None:
    found = [b"a" * MOST_HELD, b"b", b"c"]

    assert [b"a" * MOST_HELD + b"b", b"c"] == [each async for each in whole_events(pieces(*found))]


@pytest.mark.parametrize(
    ("end", "tokens"),
    [
        (b'{"choices":[],"usage":{"prompt_tokens":31,"total_tokens":50,"completion_tokens":19,"prompt_tokens_details":null}}', (31, 19)),
        (b'data: {"usage": {"completion_tokens": 2, "prompt_tokens": 1}}\n\ndata: [DONE]\n\n', (1, 2)),
        (b'{"data":[],"usage":{"prompt_tokens":4,"total_tokens":4,"completion_tokens":0}}', (4, 0)),
        (b'data: {"usage":null}\n\n', (0, 0)),
        (b'{"content":"\\"usage\\":{\\"prompt_tokens\\":9}"}', (0, 0)),
        (b"", (0, 0)),
    ],
)
def test_what_was_used_is_read_off_the_end_of_an_answer(end: bytes, tokens: tuple[int, int]) -> None:
    assert tokens == tokens_said(end)
