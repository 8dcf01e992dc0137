"""The life of one run on its host, from the start to the settled end.

Every step reads the row and the run directory first and can be repeated: so the same lines start a run, adopt one whose worker
died, and settle one that ended while nobody looked.
"""

import asyncio
import logging
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from math import isfinite
from pathlib import Path
from typing import Any

import msgspec

from domain.errors import Unavailable
from domain.ids import ProcessId, RunId
from domain.processes import actions as processes
from domain.processes.condition import ConditionName
from domain.processes.ports import BadInput, CannotStart, Cause, Executor, Sight, Spec
from domain.processes.process import Phase, Process
from domain.runs import hosting
from domain.runs.artifact import Look
from domain.runs.command import config_path, on_host
from domain.runs.ending import Ending
from domain.runs.measured import Measured
from domain.runs.run import Run, RunStatus
from domain.runs.said import Said
from domain.runs.telemetry import Reader
from infra import tasks
from infra.failpoints import failpoint
from infra.files import yaml_text
from infra.files.atomic import replace_file
from infra.files.beneath import stat_beneath
from infra.files.output import scan
from infra.files.report import read_report
from workers.fetch import fetch_missing
from workers.hand import Hand
from workers.stop import Stop
from workers.watch import Watchman

log = logging.getLogger(__name__)

READ_BYTES = 2 * 1024 * 1024
"""Output taken at once: large enough to keep up with 100,000 lines a second, small enough that others get their turn."""
SHORTEST_WAIT = 0.01
LONGEST_WAIT = 0.25
"""Seconds between two looks at a run: from just spoken to long silent."""
SCAN_SECONDS = 2.0
"""How often a speaking run's output folder is searched for new artifacts."""
PRESS_SECONDS = 0.1
"""How exactly a grace is kept."""
DATABASE_PAUSE = 1.0
"""Seconds before a database that did not answer is asked again."""
LOSS = "train/loss"
LOG_CUT = "日志缺口 the training's out.log is shorter than what was stored of it: somebody cut it, and what it said meanwhile is lost"
LINGER_SECONDS = 5.0
"""How long what a finished training left running may still write before it is ended."""


async def live(hand: Hand, process_id: ProcessId, nudge: asyncio.Event) -> None:
    """See one attempt of a run through to its end, reading its row again at a nudge; Ghost when another worker has taken over this host."""
    run, process = await hand.db.run(hosting.take, process_id, hand.speaker)
    if run.over or process.phase is Phase.over:
        return
    life = _Life(hand, run, process, nudge)
    try:
        executor = hand.executor_of(process)
    except CannotStart as refusal:
        await life.settle(refusal=refusal)
        return
    try:
        if process.phase is Phase.starting:
            await life.start(executor)
    except CannotStart as refusal:
        await executor.ask_to_stop(hand.directory_of(process))  # a frozen worker that thaws must not start it after all
        await executor.kill(hand.directory_of(process))  # a container may have been made for it
        await life.settle(refusal=refusal)
        return
    sight = await life.follow(executor)
    clean = sight.exit is not None and sight.exit.code == 0
    await life.settle(sight=sight, cause=None if clean else await executor.cause(hand.directory_of(process)))


class _Life:
    """One attempt of one run, followed by this worker."""

    def __init__(self, hand: Hand, run: Run, process: Process, nudge: asyncio.Event) -> None:
        self._hand = hand
        self._nudge = nudge
        self._run = run
        self._process = process
        self._directory = hand.directory_of(process)
        self._stop = Stop(self._directory)
        self._watchman = Watchman(hand, run, process, self._directory)
        self._output = hand.root / run.folder / "output"
        self._seen_output = hand.root_of(process) / run.folder / "output"
        self._reader = Reader(epochs=_number(run.config, "num_train_epochs"), max_steps=_whole(run.config, "max_steps"))
        self._seen = Look()
        self._scanned = 0.0
        self._left: list[int] = []
        self._freed = False

    async def start(self, executor: Executor) -> None:
        """Write the frozen config and start the attempt, once however often this is reached; CannotStart with the reason."""
        if await fetch_missing(self._run.inputs, self._hand):
            await self._read_row()  # that may have taken long
        if self._process.stop_asked_at is not None and not (await executor.look(self._directory)).started:
            raise CannotStart("it was cancelled before it began")
        await asyncio.to_thread(self._prepare)
        root = self._hand.root_of(self._process)
        spec = Spec(
            process_id=self._process.id,
            attempt=self._process.attempt,
            argv=on_host(self._process.argv, self._run.id, str(root)),
            env={"TUNEYARD_RUN_ID": self._run.id, "TUNEYARD_OUTPUT_DIR": str(self._seen_output)} | self._devices(),
            cwd=self._hand.cwd_of(self._process),
        )
        await executor.start(self._directory, spec)
        failpoint("worker", "started")

    async def follow(self, executor: Executor) -> Sight:
        """Store all that the run says until it is over; what the run directory then showed.

        Stopping and watching are tasks of their own: neither waits for a database that does not answer.
        """
        beside = [asyncio.create_task(self._press(executor)), asyncio.create_task(self._watchman.watch(executor))]
        wait = SHORTEST_WAIT
        try:
            while True:
                sight = await executor.look(self._directory)
                over = sight.started and not (sight.alive and not self._left)
                try:
                    spoke = await self._step(executor, sight, over=over)
                except Unavailable as problem:
                    log.warning("run %s: %s; what it says waits in its file", self._run.id, problem.detail)
                    await asyncio.sleep(DATABASE_PAUSE)
                    continue
                if over and not spoke:
                    return sight
                wait = SHORTEST_WAIT if spoke else min(wait * 1.5, LONGEST_WAIT)
                await self._rest(0 if spoke else wait)
        finally:
            await tasks.end(beside)

    async def settle(self, *, sight: Sight | None = None, cause: Cause | None = None, refusal: CannotStart | None = None) -> None:
        """Register what is there and write the end, in one transaction."""
        look = await asyncio.to_thread(scan, self._output)
        ending = Ending(
            attempt=self._process.attempt,
            began=bool(sight and sight.started),
            started_at=sight.started_at if sight else None,
            exit=sight.exit if sight else None,
            cause=cause,
            refusal=str(refusal) if refusal else None,
            bad_input=isinstance(refusal, BadInput),
            passing=bool(refusal and refusal.passing),
            left=self._left,
            look=look,
        )
        backoff = timedelta(seconds=self._hand.settings.retry_seconds)
        await self._hand.db.run(hosting.ended, self._process.id, self._hand.speaker, ending, backoff=backoff)

    async def _step(self, executor: Executor, sight: Sight, *, over: bool) -> bool:
        """Write down what there is to see and hear now; whether it said anything."""
        await self._note_beginning(sight)
        if over and not self._freed:
            await self._free(executor)
        if sight.log_size < self._process.log_offset:
            await self._watchman.note(ConditionName.log_gap, LOG_CUT)
        spoke = await self._listen(executor, final=over)
        if not over and self._lingered(sight) > LINGER_SECONDS:
            self._left = await self._stop.kill(executor)
        await self._look_for_artifacts()
        return spoke

    def _lingered(self, sight: Sight) -> float:
        """Return for how many seconds the command has been over; 0 while it lives, as far as anybody can tell."""
        if sight.exit is not None:
            return time.time() - sight.exit.ended_at
        return 0.0 if self._watchman.ended_at is None else time.monotonic() - self._watchman.ended_at

    async def _press(self, executor: Executor) -> None:
        """Do what a wish to stop demands, by this host's own clock."""
        while True:
            try:
                if self._process.stop_asked_at is not None:
                    self._left = await self._stop.press(executor, self._process)
            except Exception:
                log.exception("run %s could not be pressed to stop; it is tried again", self._run.id)
            await asyncio.sleep(PRESS_SECONDS)

    async def _free(self, executor: Executor) -> None:
        """Give back what it held as soon as all of it is dead: a free lock is no proof that every child is gone."""
        self._left = await executor.kill(self._directory)
        failpoint("worker", "killed")
        if self._left or self._process.gpus:
            await self._hand.db.run(hosting.freed, self._process.id, self._hand.speaker, self._left)
        self._freed = True

    async def _rest(self, seconds: float) -> None:
        """Rest until there may be something new; a nudge means that the row has changed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._nudge.wait()
        if self._nudge.is_set():
            with suppress(Unavailable):
                await self._read_row()
                self._nudge.clear()

    async def _read_row(self) -> None:
        now = await self._hand.db.read(processes.get, self._process.id)
        self._process = now or self._process

    async def _note_beginning(self, sight: Sight) -> None:
        if self._run.status is RunStatus.starting and sight.pid is not None:
            self._run = await self._hand.db.run(hosting.began, self._process.id, self._hand.speaker, sight)

    async def _listen(self, executor: Executor, *, final: bool) -> bool:
        """Store what was said since the last time; whether there was anything."""
        offset = self._process.log_offset
        data = await executor.read(self._directory, offset, READ_BYTES)
        reading = self._reader.read(data, final=final and len(data) < READ_BYTES)
        report = await asyncio.to_thread(read_report, self._output, self._process.report_offset)
        if not reading.consumed and not report.consumed:
            return False
        said = Said(
            attempt=self._process.attempt,
            lines=reading.lines,
            measured=[*self._not_in_report(reading.metrics), *report.measured],
            progress=max((each for each in (reading.progress, report.progress) if each is not None), default=None),
            first_byte=offset,
            end_byte=offset + reading.consumed,
            report_end=self._process.report_offset + report.consumed,
            seen_at=datetime.now(UTC),
        )
        self._process = await self._hand.db.run(hosting.said, self._process.id, self._hand.speaker, said)
        self._reader = reading.reader
        self._watchman.hear()
        for each in said.measured:
            if not isfinite(each.values.get(LOSS, 0.0)):
                await self._watchman.hear_nan(LOSS, each.step)
        return True

    def _not_in_report(self, measured: list[Measured]) -> list[Measured]:
        """Drop what the metrics file says better: it has the same numbers with their step."""
        return [each for each in measured if each.step is not None] if self._process.report_offset else measured

    async def _look_for_artifacts(self) -> None:
        if time.monotonic() - self._scanned < SCAN_SECONDS:
            return
        look = await asyncio.to_thread(scan, self._output)
        if look != self._seen:
            await self._hand.db.run(hosting.found, self._process.id, self._hand.speaker, look)
            self._seen = look
        self._scanned = time.monotonic()

    def _devices(self) -> dict[str, str]:
        """Show the command the GPUs that it was given, and no other; a host without any says nothing."""
        granted = self._process.gpus
        return {"CUDA_VISIBLE_DEVICES": ",".join(granted)} if granted or self._hand.gpus() else {}

    def _prepare(self) -> None:
        _check_unchanged(self._run, self._hand.root)
        config = _as_read(self._run, self._hand.root_of(self._process)) | {"output_dir": str(self._seen_output)}
        try:
            self._output.mkdir(parents=True, exist_ok=True)
            replace_file(self._hand.root / config_path(RunId(self._run.id)), yaml_text.write(config).encode())
        except OSError as error:
            raise CannotStart(f"the run's folder {self._output.parent} cannot be written: {error.strerror}") from None


def _check_unchanged(run: Run, root: Path) -> None:
    """BadInput when a file that was pinned by size and time is another one by now; uploads cannot change."""
    for name, pinned in run.inputs.items():
        now = stat_beneath(root, pinned.path)
        if now is None or now.st_size != pinned.size_bytes or (pinned.mtime_ns or now.st_mtime_ns) != now.st_mtime_ns:
            message = f"{name} is not the file any more that this run was launched with; launch a new run, or upload the file"
            raise BadInput(message)


def _as_read(run: Run, seen: Path) -> dict[str, Any]:
    """Return the frozen config as the trainer reads it: what it names lies below the training directory as the trainer sees it."""
    places = {name: str(seen / pinned.path) for name, pinned in run.inputs.items()}
    if checkpoint := run.config.get("resume_from_checkpoint"):
        places[checkpoint] = str(seen / checkpoint)
    return {key: places.get(value, value) if isinstance(value, str) else value for key, value in run.config.items()}


def _number(config: dict[str, Any], key: str) -> float | None:
    try:
        return msgspec.convert(config.get(key), float | None, strict=False)
    except msgspec.ValidationError:
        return None


def _whole(config: dict[str, Any], key: str) -> int | None:
    try:
        return msgspec.convert(config.get(key), int | None, strict=False)
    except msgspec.ValidationError:
        return None
