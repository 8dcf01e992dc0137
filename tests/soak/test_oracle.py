"""The oracle is worth its name: each way to break a promise is seen, and what is kept is called kept."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.soak.evidence import Attempt, Beat, Evidence, Grant, Left, Move
from tests.soak.oracle import judge
from tests.soak.plan import plan
from tests.soak.record import Answer, Followed, Listing, Probe, Record, Said
from tests.toys import ledger

RUN = "run_1"
LINES = [ledger.line(1, number) for number in range(3)]
CHECKPOINT = {"id": "ckpt_1", "name": "checkpoint-2", "type": "checkpoint", "complete": True, "step": 2, "size_bytes": 3, "sha256": "s"}


def kept() -> Evidence:
    """Return what a faultless soak of one cancelled run leaves."""
    record = Record(
        answers=[Answer("k", "launch", 201, {"id": RUN}), Answer("k", "launch", 201, {"id": RUN}), Answer("c", "cancel", 202, {"id": RUN})],
        followed=[Followed(RUN, list(range(5)), ["训练进程已启动", *LINES, "训练已取消"])],
        probes=[Probe("PostgreSQL gone", "GET /projects", 503, 2.0, "2", ""), Probe("Redis gone", "GET /projects", 200, 0.1, None, "")],
        listings=[Listing("ckpt_1", RUN, "checkpoint-2", 3)],
    )
    last = {"number": 1, "host": "soak-1", "failure": None}
    run = {"id": RUN, "status": "cancelled", "attempt": 1, "exit_code": 143, "failure": None, "waiting": None, "conditions": []}
    return Evidence(
        record=record,
        runs={RUN: run | {"labels": {"story": "1"}, "attempts": [last]}},
        moves=[Move("run", RUN, RUN, status, 1) for status in ("queued", "starting", "running", "cancelling", "cancelled")],
        grants=[Grant(10.0, "soak-1", 0, None, RUN), Grant(20.0, "soak-1", 0, RUN, None)],
        gpus=[{"host": "soak-1", "number": 0, "holder": None, "set_aside": None}],
        beats=[beat(11.0, "start"), beat(11.5, "step"), beat(12.0, "end")],
        control=[beat(10.0, "start"), beat(10.5, "step"), beat(12.5, "step")],
        attempts={(RUN, 1): Attempt(LINES, 143)},
        logs={RUN: ["训练进程已启动", *LINES, "训练已取消"]},
        artifacts={RUN: [Left(CHECKPOINT | {"manifest": [{"path": "w", "sha256": "a"}]}, 3, {"w": "a"})]},
        newest={RUN: 2},
    )


def beat(at: float, what: str, *, attempt: int = 1, pid: int = 1) -> Beat:
    return Beat(RUN, attempt, ("0",), pid, what, at)


def lost_run(seen: Evidence) -> None:
    seen.runs[RUN] |= {"status": "running"}


def false_success(seen: Evidence) -> None:
    seen.runs[RUN] |= {"status": "succeeded", "exit_code": 0}
    seen.record.answers.pop()


def attempt_nobody_took(seen: Evidence) -> None:
    seen.runs[RUN]["attempts"][0]["failure"] = {"class": "infrastructure"}


def second_start(seen: Evidence) -> None:
    seen.beats.append(beat(12.1, "start", pid=2))


def two_lives(seen: Evidence) -> None:
    seen.beats.append(beat(11.9, "start", attempt=2, pid=2))
    seen.runs[RUN]["attempts"].append({"number": 2, "host": "soak-1", "failure": None})


def lost_line(seen: Evidence) -> None:
    seen.record.followed.clear()
    seen.logs[RUN].remove(LINES[1])


def doubled_line(seen: Evidence) -> None:
    seen.record.followed.clear()
    seen.logs[RUN].insert(2, LINES[1])


def line_missed_by_a_stream(seen: Evidence) -> None:
    seen.record.followed[0].lines.pop(1)


def step_back(seen: Evidence) -> None:
    seen.moves.append(Move("run", RUN, RUN, "running", 1))


def gpu_straight_on(seen: Evidence) -> None:
    seen.grants.insert(1, Grant(15.0, "soak-1", 0, RUN, "run_2"))


def gpu_freed_too_early(seen: Evidence) -> None:
    seen.grants[1] = Grant(11.8, "soak-1", 0, RUN, None)


def gpu_never_freed(seen: Evidence) -> None:
    seen.gpus[0]["holder"] = "proc_1"


def cancel_without_end(seen: Evidence) -> None:
    seen.runs[RUN] |= {"status": "failed"}


def forgotten_checkpoint(seen: Evidence) -> None:
    seen.newest[RUN] = 4


def survivor(seen: Evidence) -> None:
    seen.living[7] = "runs/run_1/attempt-1"


def other_run_for_the_same_key(seen: Evidence) -> None:
    seen.runs["run_2"] = seen.runs[RUN] | {"id": "run_2", "labels": {"story": "2"}}
    seen.logs["run_2"], seen.attempts["run_2", 1] = [*LINES], Attempt(LINES, 143)
    seen.record.answers[1] = Answer("k", "launch", 201, {"id": "run_2"})


def slow_refusal(seen: Evidence) -> None:
    seen.record.probes[0] = seen.record.probes[0]._replace(seconds=4.0)


def refusal_without_redis(seen: Evidence) -> None:
    seen.record.probes[1] = seen.record.probes[1]._replace(status=503, retry_after="2")


def our_own_error(seen: Evidence) -> None:
    seen.record.said.append(Said(1.0, "GET /projects", 500, 0.1, None, ""))


def worker_that_gave_up(seen: Evidence) -> None:
    seen.record.exits.append("soak-1 ended by itself with code 1")


def standstill(seen: Evidence) -> None:
    seen.grants[1] = Grant(40.0, "soak-1", 0, RUN, None)
    seen.beats.append(beat(30.0, "step"))


def cut_file(seen: Evidence) -> None:
    seen.artifacts[RUN][0] = seen.artifacts[RUN][0]._replace(size=2)


def other_bytes(seen: Evidence) -> None:
    seen.artifacts[RUN][0] = seen.artifacts[RUN][0]._replace(sums={"w": "b"})


BREAKS: dict[str, list[Callable[[Evidence], None]]] = {
    "P1": [lost_run, false_success, attempt_nobody_took],
    "P2": [second_start, two_lives],
    "P3": [lost_line, doubled_line, line_missed_by_a_stream],
    "P4": [step_back],
    "P5": [gpu_straight_on, gpu_freed_too_early, gpu_never_freed],
    "P6": [cancel_without_end, forgotten_checkpoint, survivor],
    "P7": [other_run_for_the_same_key],
    "P8": [slow_refusal, refusal_without_redis, our_own_error, worker_that_gave_up],
    "P9": [standstill],
    "P10": [cut_file, other_bytes],
}


def test_what_is_kept_is_called_kept() -> None:
    verdicts = judge(kept())

    assert [[]] * 10 == [verdict.breaks for verdict in verdicts]
    assert all(verdict.checked for verdict in verdicts)


@pytest.mark.parametrize(("promise", "tamper"), [(promise, each) for promise, several in BREAKS.items() for each in several])
def test_each_break_is_seen(promise: str, tamper: Callable[[Evidence], Any]) -> None:
    seen = kept()

    tamper(seen)

    assert promise in [verdict.promise for verdict in judge(seen) if verdict.breaks]


def test_a_seed_tells_the_whole_soak() -> None:
    assert plan(7, 60) == plan(7, 60)
    assert plan(7, 60) != plan(8, 60)
