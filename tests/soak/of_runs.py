"""What must hold of every run, P1 to P4 and P7: rows against the log of their changes, both against what the trainings wrote down."""

from collections import Counter, defaultdict

from tests.house import TERMINAL
from tests.soak.evidence import Evidence
from tests.soak.tally import Tally, by_attempt, overlaps
from tests.toys import ledger

RANKS = {
    "run": {"queued": 0, "starting": 1, "running": 2, "cancelling": 3} | dict.fromkeys(TERMINAL, 9),
    "process": {"waiting": 0, "placed": 0, "starting": 1, "alive": 2, "over": 9},
}
OVER = 9
LOSES_THE_EXIT = ("shim", "trainer with its shim")
"""Harms after which nobody knows the exit code: infrastructure's fault, worth another attempt."""


def no_run_lost(seen: Evidence, tally: Tally) -> None:
    """P1: every accepted run is there and has ended, as its training did."""
    for told in (*seen.record.unaccepted, *seen.record.troubles):
        tally.fail(told)
    for answer in seen.record.answers:
        if answer.what != "cancel" and answer.status < 300:
            tally.check(answer.body["id"] in seen.runs, f"run {answer.body['id']} was accepted with key {answer.key} and is gone")
    for run, shown in seen.runs.items():
        waiting = (shown["waiting"] or {}).get("text")
        tally.check(shown["status"] in TERMINAL, f"run {run} is still {shown['status']}; it says: {waiting}")
        _check_truth(seen, run, tally)


def no_double_launch(seen: Evidence, tally: Tally) -> None:
    """P2: an attempt starts at most once, and no two attempts of a run live at one time."""
    starts = Counter((beat.run, beat.attempt) for beat in seen.beats if beat.what == "start")
    for (run, attempt), count in starts.items():
        tally.check(count == 1, f"attempt {attempt} of run {run} was started {count} times")
        tally.check(run in seen.runs, f"run {run} was started, and there is no such run")
    lives: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
    for (run, attempt), beats in by_attempt(seen.beats).items():
        lives[run].append((beats[0].at, beats[-1].at, attempt))
    for run, spans in lives.items():
        for one, other in overlaps(sorted(spans)):
            tally.fail(f"attempts {one} and {other} of run {run} lived at one time")
        tally.checked += 1


def no_line_lost(seen: Evidence, tally: Tally) -> None:
    """P3: the log has every line that was printed, once and in order; so has every live stream of it."""
    for run, shown in seen.runs.items():
        numbers = range(1, shown["attempt"] + 1)
        printed = [line for number in numbers if (run, number) in seen.attempts for line in seen.attempts[run, number].printed]
        said = [line for line in seen.logs[run] if _is_printed(line)]
        tally.check(printed == said, f"run {run}: {_difference(printed, said)}")
        for number in numbers:
            if (run, number) in seen.attempts:
                counted = [line for line in seen.attempts[run, number].printed if line.startswith("L ")]
                expected = [ledger.line(number, each) for each in range(len(counted))]
                tally.check(
                    expected == counted,
                    f"attempt {number} of run {run} did not print 0 to {len(counted) - 1}: {_difference(expected, counted)}",
                )
    for followed in seen.record.followed:
        dense = list(range(len(followed.numbers)))
        tally.check(dense == followed.numbers, f"the stream of run {followed.run} has other numbers than 0 to {len(dense) - 1}")
        whole = seen.logs[followed.run]
        tally.check(followed.lines == whole, f"the stream of run {followed.run} is not its log: {_difference(whole, followed.lines)}")


def never_backwards(seen: Evidence, tally: Tally) -> None:
    """P4: (attempt, rank of the state) never decreases, and what is over stays as it is."""
    last: dict[str, tuple[int, int, str]] = {}
    for move in seen.moves:
        now = (move.attempt, RANKS[move.kind][move.status], move.status)
        before = last.get(move.subject)
        if before is not None and before != now:
            words = f"{move.kind} {move.subject} went from {before[2]} of attempt {before[0]} to {now[2]} of attempt {now[0]}"
            tally.check(before[:2] <= now[:2] and before[1] != OVER, words)
        last[move.subject] = now


def same_key_same_run(seen: Evidence, tally: Tally) -> None:
    """P7: one key, one run, one body; one story, one run."""
    bodies: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for answer in seen.record.answers:
        if answer.what == "cancel":  # what it answers is the run as it is then
            bodies[answer.key].append((0, str(answer.body.get("id") or answer.status)))
        else:
            bodies[answer.key].append((answer.status, str(answer.body)))
    for key, told in bodies.items():
        tally.check(len(set(told)) == 1, f"key {key} was answered in several ways: {told}")
    stories = Counter(shown["labels"]["story"] for shown in seen.runs.values() if "story" in shown["labels"])
    for story, count in stories.items():
        tally.check(count == 1, f"story {story} has {count} runs, and asked for one")


def _check_truth(seen: Evidence, run: str, tally: Tally) -> None:
    """Check that a run ended as its training did, and that every attempt it lost was taken from it."""
    shown = seen.runs[run]
    last = seen.attempts.get((run, shown["attempt"]))
    code = last.code if last else None
    words = f"run {run} is {shown['status']} with code {shown['exit_code']}, its training ended with {code}: {shown['failure']}"
    tally.check((shown["status"] == "succeeded") == (code == 0) or shown["status"] == "cancelled", words)
    tally.check(shown["exit_code"] == code, words)
    tally.check(code != ledger.BAD_CHECKPOINT, f"run {run} was let go on from a checkpoint that is not whole")
    harmed = {(harm.run, harm.attempt): harm.kind for harm in seen.record.harms}
    numbers = [each["number"] for each in shown["attempts"]]
    tally.check(numbers == list(range(1, len(numbers) + 1)), f"run {run} has the attempts {numbers}")
    for each in shown["attempts"]:
        if each["failure"] and each["failure"]["class"] == "infrastructure":
            kind = harmed.get((run, each["number"]))
            tally.check(
                kind in LOSES_THE_EXIT, f"attempt {each['number']} of run {run} was lost, and nobody hurt it ({kind}): {each['failure']}"
            )


def _is_printed(line: str) -> bool:
    """Whether the trainer printed it, and not we."""
    return line.startswith(("L ", "{")) or line.endswith("is not whole")


def _difference(expected: list[str], found: list[str]) -> str:
    pairs = enumerate(zip(expected, found, strict=False))
    place = next((index for index, (one, other) in pairs if one != other), min(len(expected), len(found)))
    near = slice(place, place + 2)
    return f"{len(expected)} lines expected, {len(found)} found, first other at {place}: {expected[near]} / {found[near]}"
