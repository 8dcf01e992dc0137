"""What must hold of the world around the runs, P5, P6 and P8 to P10: GPUs, processes, requests, other trainings, files."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from tests.soak.evidence import Beat, Evidence
from tests.soak.monkey import LONGEST_REFUSAL
from tests.soak.tally import Tally, by_attempt, overlaps

LEAST_GAP = 1.0
"""Seconds between two beats of a training below which nothing is wrong: they come a few hundredths of a second apart."""
NOISE = 3.0
"""A gap may be so much longer than the longest of the undisturbed trainings at that time: three dozen processes share two cores."""

LONGEST_REST = 30.0
"""Seconds that a training's child may outlive it: five are granted, and its worker may be down or kept waiting as often as not."""


def no_gpu_twice(seen: Evidence, tally: Tally) -> None:
    """P5: a GPU goes from nobody to somebody and back; who used one held it all the while; nobody holds one at the end."""
    held: dict[tuple[str, int], list[tuple[float, float, str]]] = defaultdict(list)
    since: dict[tuple[str, int], tuple[float, str]] = {}
    for grant in seen.grants:
        gpu = (grant.host, grant.number)
        tally.check(None in (grant.before, grant.after), f"GPU {gpu} went from {grant.before} straight to {grant.after}")
        if grant.before is not None and gpu in since:
            at, holder = since.pop(gpu)
            held[gpu].append((at, grant.at, holder))
        if grant.after is not None:
            since[gpu] = (grant.at, grant.after)
    for row in seen.gpus:
        name = f"GPU {row['number']} of {row['host']}"
        tally.check(row["holder"] is None, f"{name} is still held by {row['holder']}")
        tally.check(row["set_aside"] is None, f"{name} is set aside: {row['set_aside']}")
    used: dict[tuple[str, int], list[tuple[float, float, str]]] = defaultdict(list)
    for (run, attempt), beats in by_attempt(seen.beats).items():
        begin, end = beats[0].at, beats[-1].at
        host = _host(seen, run, attempt)
        for device in beats[0].devices:
            gpu = (host, int(device))
            used[gpu].append((begin, end, f"{run} (attempt {attempt})"))
            whole = any(run == holder and at <= begin and end <= until for at, until, holder in held[gpu])
            tally.check(
                whole,
                f"attempt {attempt} of run {run} used GPU {gpu} from {begin:.3f} to {end:.3f}; it was held: {_near(held[gpu], begin, end)}",
            )
    for gpu, spans in used.items():
        for one, other in overlaps(sorted(spans)):
            tally.fail(f"GPU {gpu} was used by {one} and by {other} at one time")


def cancel_ends(seen: Evidence, tally: Tally) -> None:
    """P6: what was asked to cancel ended so, all of it, and the newest complete checkpoint is kept."""
    for answer in seen.record.answers:
        if answer.what == "cancel" and answer.status < 300:
            asked = seen.runs[answer.body["id"]]
            words = f"run {asked['id']} was asked to cancel, answered {answer.status}, and is {asked['status']}"
            tally.check(asked["status"] == "cancelled", words)
    for run, step in seen.newest.items():
        listed = [each.listed["step"] for each in seen.artifacts[run] if each.listed["type"] == "checkpoint" and each.listed["complete"]]
        newest = max(listed, default=None)
        tally.check(
            newest == step, f"run {run}: the newest complete checkpoint on the disk is of step {step}, the newest listed of {newest}"
        )
    for (run, attempt), beats in by_attempt(seen.beats).items():
        alone = beats[-1].at - max(beat.at for beat in beats if beat.what != "child")
        tally.check(alone < LONGEST_REST, f"what attempt {attempt} of run {run} left behind lived on for {alone:.1f} s")
    tally.check(not seen.living, f"processes still live: {seen.living}")
    for run, shown in seen.runs.items():
        tally.check(
            not any(each["name"] == "unkillable" for each in shown["conditions"]), f"run {run} is called unkillable: {shown['conditions']}"
        )


def faults_are_borne(seen: Evidence, tally: Tally) -> None:
    """P8: without Redis all goes on; without the database there is a 503 with Retry-After in time, and nobody of ours exits."""
    for told in seen.record.exits:
        tally.fail(told)
    for probe in seen.record.probes:
        answer = f"{probe.status} in {probe.seconds:.2f} s (Retry-After {probe.retry_after}): {probe.text}"
        words = f"{probe.window}: {probe.request} answered {answer}"
        in_time = probe.seconds < LONGEST_REFUSAL
        if probe.window == "Redis gone" or probe.request == "GET /healthz":
            tally.check(200 <= probe.status < 300 and in_time, words)
        else:
            tally.check(probe.status == 503 and probe.retry_after is not None and in_time, words)
    for said in seen.record.said:
        fine = said.status < 500 or (said.status == 503 and said.retry_after is not None)
        tally.check(fine, f"{said.request} answered {said.status} (Retry-After {said.retry_after}): {said.text}")


def no_training_hurt(seen: Evidence, tally: Tally) -> None:
    """P9: between two beats of a training no more time passes than for the undisturbed ones beside it."""
    rests = sorted(_gaps(seen.control), key=lambda gap: gap[1])
    for begin, end, beat in _gaps(seen.beats):
        length = end - begin
        if length <= LEAST_GAP:
            tally.checked += 1
            continue
        beside = max((to - at for at, to, _ in rests if at < end and to > begin), default=0.0)
        words = f"attempt {beat.attempt} of run {beat.run} stood still for {length:.2f} s at {begin:.3f}"
        tally.check(length <= LEAST_GAP + NOISE * beside, f"{words}; beside it the longest gap was {beside:.2f} s")


def artifacts_are_whole(seen: Evidence, tally: Tally) -> None:
    """P10: what is listed as complete has all its bytes, and had them when it was first listed."""
    for run, found in seen.artifacts.items():
        for left in found:
            listed = left.listed
            name = f"{listed['name']} ({listed['id']}) of run {run}"
            if not listed["complete"]:
                continue
            tally.check(listed["size_bytes"] == left.size, f"{name} is listed with {listed['size_bytes']} bytes and has {left.size}")
            tally.check(listed["sha256"] is not None, f"{name} has no sum")
            manifest = {each["path"]: each["sha256"] for each in listed["manifest"]}
            tally.check(manifest == left.sums, f"{name} has the sums {left.sums} and is listed with {manifest}")
    now = {each.listed["id"]: each for found in seen.artifacts.values() for each in found}
    for listing in seen.record.listings:
        kept = now.get(listing.artifact)
        tally.check(
            kept is not None and kept.listed["complete"] and kept.size == listing.size,
            f"{listing.artifact} of run {listing.run} was once listed complete with {listing.size} bytes; now: {kept and kept.listed}",
        )


def _gaps(beats: Iterable[Beat]) -> Iterator[tuple[float, float, Beat]]:
    """Give the time between each two beats of one trainer."""
    last: dict[int, Beat] = {}
    for beat in beats:
        if beat.what == "child":
            continue
        before = last.get(beat.pid)
        if before is not None and (before.run, before.attempt) == (beat.run, beat.attempt):
            yield before.at, beat.at, beat
        last[beat.pid] = beat


def _host(seen: Evidence, run: str, attempt: int) -> str:
    shown = seen.runs.get(run, {"attempts": []})
    return next((each["host"] for each in shown["attempts"] if each["number"] == attempt), "no known host")


def _near(spans: list[tuple[float, float, str]], begin: float, end: float) -> str:
    return "; ".join(f"by {who} from {at:.3f} to {to:.3f}" for at, to, who in spans if at < end + 1 and to > begin - 1) or "not at all"
