r"""What a trainer wrote, taken apart into the lines a person reads and the progress bars drawn between them.

- Text between two newlines without a lone `\r` is ordinary: always exactly one line, byte for byte, blank or not. `\r\n` ends it like `\n`.
- A part with a lone `\r` before or after it was drawn over. Blank (cursor movements aside), it erased; of tqdm's or rich's shape, it was a
  bar; neither becomes a line. Anything else does, without the cursor movements before it and the padding after it; text glued to a bar too.
- A part longer than the limit is cut into lines of that length. A part that nothing ends yet is left for the next time.

What is left always begins at the `\r` before it; so the lines are the same however the bytes arrive.
"""

import re

from msgspec import Struct

MAX_LINE_BYTES = 256 * 1024
"""Longer lines are cut here, so that memory stays bounded whatever a trainer prints."""

_MAX_BAR_BYTES = 2000
"""A bar fits a terminal's width; what is longer is text."""

_NUMBER = rb"(\d+(?:\.\d+)?[kMGTP]?)(?:i?B)?"
_COUNT = re.compile(rb"(?:\A|[ |%])" + _NUMBER + rb"(?:/" + _NUMBER + rb"| ?[A-Za-z]{1,20}) \Z")
"""`5/90`, or `5it` where the total is unknown."""
_COUNT_REACH = 64
MOST_STEPS = 2**63 - 1
"""What counts higher is no training, and no database keeps it."""
_CLOCK = re.compile(rb"\[(?:\d+:)?\d+:\d\d[<,](?:[^\[\]]|\[[^\]]*\])*\]")
"""`[00:00<00:08,  9.63it/s, loss=0.5]`: what every bar of tqdm ends with."""
_DRAWN = re.compile(rb"(?:\xe2[\x94-\x97][\x80-\xbf]){3}|\[[=#>. -]{3,}\]")
"""Three box or block characters (U+2500 to U+25FF), or `[===>  ]`: a bar when a percentage stands beside it."""
_PERCENT = re.compile(rb"\d ?%")
_UP = re.compile(rb"[ \t]*\x1b\[\d*A")
_ESCAPE = re.compile(rb"\x1b\[[0-9;?]*[ -/]*[@-~]")
_CURSOR = rb"\x1b\[[0-9;?]*[A-HJKSTfhlsu]"
_MOVES_BEFORE = re.compile(rb"(?:[ \t]*" + _CURSOR + rb")+[ \t]*")
_MOVE_AFTER = re.compile(_CURSOR + rb"\Z")
_TRAINING = re.compile(rb"(?:train(?:ing)?(?: steps?| progress)?|steps?)", re.IGNORECASE)
_SCALE = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}


class Bar(Struct, frozen=True, gc=False):
    """One drawing of a progress bar."""

    at: int
    """How many lines stood before it."""
    done: int
    total: int | None
    other: bool
    """It bears a title of its own (`Loading weights`) or hangs below another bar: not the training's bar."""
    ended: bool
    """Something follows it; until then it cannot be told from a bar that hangs below another."""


class Page(Struct, gc=False):
    """What became of some bytes."""

    consumed: int
    """Bytes used up; the rest must be offered again, with what follows it."""
    lines: list[bytes]
    bars: list[Bar]
    redrawn: dict[int, int]
    """Lines written over something, by index, and where the `\r` before each stands."""


def untangle(data: bytes, *, final: bool, limit: int = MAX_LINE_BYTES) -> Page:
    r"""Take bytes apart; with `final` nothing follows and nothing is left."""
    end = len(data) if final else data.rfind(b"\n") + 1
    page = _plain(data[:end], limit) if data.find(b"\r", 0, end) < 0 else _overdrawn(data[:end], limit)
    page.consumed = end
    if end < len(data):
        _take_tail(page, data, limit)
    return page


def _plain(text: bytes, limit: int) -> Page:
    lines = text.split(b"\n")
    if not lines[-1]:
        lines.pop()
    if lines and max(map(len, lines)) > limit:
        lines = [piece for line in lines for piece in _cut(line, limit)]
    return Page(0, lines, [], {})


def _overdrawn(text: bytes, limit: int) -> Page:
    page, offset = Page(0, [], [], {}), 0
    lines = text.split(b"\n")
    if not lines[-1]:
        lines.pop()
    for line in lines:
        shown = line.removesuffix(b"\r")
        if b"\r" in shown:
            _take_parts(page, shown.split(b"\r"), offset, limit)
        elif len(shown) > limit:
            page.lines += _cut(shown, limit)
        else:
            page.lines.append(shown)
        offset += len(line) + 1
    return page


def _take_tail(page: Page, data: bytes, limit: int) -> None:
    r"""Take what can be told already of text without its newline: parts that a `\r` ended, and what is too long to wait for."""
    # A `\r` at the very end may be half of `\r\n`, so it decides nothing yet.
    last = data.rfind(b"\r", page.consumed, len(data) - 1)
    if last >= 0:
        _take_parts(page, data[page.consumed : last + 1].split(b"\r"), page.consumed, limit)
        page.consumed = last
    start = last + 1 or page.consumed
    rest = data[start:].removesuffix(b"\r")
    *pieces, open_end = _cut(rest, limit)
    for piece in pieces:
        if start > page.consumed:
            _take_part(page, piece, page.consumed)
        else:
            page.lines.append(piece)
        start += len(piece)
        page.consumed = start
    if len(open_end) <= _MAX_BAR_BYTES and (found := _find_bar(open_end, at=len(page.lines), ended=False)):
        page.bars.append(found[0])


def _take_parts(page: Page, parts: list[bytes], offset: int, limit: int) -> None:
    r"""Take the parts of one stretch, which lone `\r` separate; `offset` is where the first begins."""
    for number, part in enumerate(parts):
        pieces = _cut(part, limit)
        for place, piece in enumerate(pieces):
            after_return = number > 0 and place == 0
            before_return = number < len(parts) - 1 and place == len(pieces) - 1
            if after_return or before_return:
                _take_part(page, piece, offset - 1 if after_return else None)
            else:
                page.lines.append(piece)
            offset += len(piece)
        offset += 1


def _take_part(page: Page, part: bytes, start: int | None) -> None:
    """Judge one part that was drawn over; `start` is where the carriage return before it stands."""
    rest = part
    if len(part) <= _MAX_BAR_BYTES:
        while found := _find_bar(rest, at=len(page.lines), ended=True):
            page.bars.append(found[0])
            rest = rest[found[1] :].lstrip(b" \t")
        if _DRAWN.search(rest) and _PERCENT.search(rest):
            return
    text = _without_moves(rest)
    if text:
        if start is not None:
            page.redrawn[len(page.lines)] = start
        page.lines.append(text)


def _find_bar(part: bytes, *, at: int, ended: bool) -> tuple[Bar, int] | None:
    """Return the first bar of tqdm in a part, and where it ends.

    It is found by its clock and read backwards from there: a pattern for the whole bar takes a tenth of a second for two thousand blanks.
    """
    clock = _CLOCK.search(part)
    if clock is None:
        return None
    reach = max(0, clock.start() - _COUNT_REACH)
    count = _COUNT.search(part[reach : clock.start()])
    if count is None:
        return None
    title = _ESCAPE.sub(b"", part[: reach + count.start()])
    if b"%" in title:
        title = title.rpartition(b"%")[0].rstrip(b"0123456789.")
    title = title.strip(b" \t:|")
    named = bool(title) and not _TRAINING.fullmatch(title)
    nested = _UP.match(part, clock.end()) is not None
    done, total = _number(count[1]), _number(count[2]) if count[2] else None
    if max(done, total or 0) > MOST_STEPS:
        return None
    return Bar(at, done, total, named or nested, ended), clock.end()


def _number(text: bytes) -> int:
    r"""Read tqdm's `90` or, with `unit_scale`, its `1.2k`."""
    digits = text.decode()
    scale = _SCALE.get(digits[-1])
    return int(float(digits[:-1]) * scale) if scale else int(float(digits))


def _without_moves(part: bytes) -> bytes:
    """Return what stays visible, colours kept; empty when nothing does."""
    if not _ESCAPE.sub(b"", part).strip():
        return b""
    if moves := _MOVES_BEFORE.match(part):
        part = part[moves.end() :]
    part = part.rstrip(b" \t")
    if part.endswith((b"A", b"K")) and (move := _MOVE_AFTER.search(part, max(0, len(part) - 16))):
        part = part[: move.start()].rstrip(b" \t")
    return part


def _cut(part: bytes, limit: int) -> list[bytes]:
    if len(part) <= limit:
        return [part]
    return [part[start : start + limit] for start in range(0, len(part), limit)]
