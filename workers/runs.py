"""The life of one run on its host, from the start to the settled end.

Every step reads the row and the run directory first and can be repeated: so the same lines start a run, adopt one whose worker
died, and settle one that ended while nobody looked.
"""

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from domain.ids import ProcessId, RunId
from domain.processes import actions as processes
from domain.processes.ports import CannotStart, Executor, Sight, Spec
from domain.processes.process import Phase, Process
from domain.runs import actions
from domain.runs.artifact import Found
from domain.runs.command import config_path, on_host
from domain.runs.ending import Ending
from domain.runs.measured import Measured
from domain.runs.run import Run, RunStatus
from domain.runs.said import Said
from domain.runs.telemetry import Reader
from infra.files import yaml_text
from infra.files.atomic import replace_file
from infra.files.beneath import stat_beneath
from infra.files.output import scan
from infra.files.report import read_report
from workers.hand import Hand
from workers.stop import Stop

READ_BYTES = 2 * 1024 * 1024
"""Output taken at once: large enough to keep up with 100,000 lines a second, small enough that others get their turn."""
SHORTEST_WAIT = 0.01
LONGEST_WAIT = 0.25
"""Seconds between two looks at a run: from just spoken to long silent."""
SCAN_SECONDS = 2.0
"""How often a speaking run's output folder is searched for new artifacts."""
LINGER_SECONDS = 5.0
"""How long what a finished training left running may still write before it is ended."""


async def live(hand: Hand, process_id: ProcessId, nudge: asyncio.Event) -> None:
    """See one run through to its end, reading its row again at a nudge; Ghost when another worker has taken over this host."""
    run, process = await hand.db.run(actions.take, process_id, hand.speaker)
    if run.over or process.phase is Phase.over:
        return
    life = _Life(hand, run, process, nudge)
    try:
        executor = hand.executor_of(process)
        if process.phase is Phase.starting:
            await life.start(executor)
    except CannotStart as refusal:
        await life.settle(refusal=str(refusal))
        return
    sight = await life.follow(executor)
    await executor.kill(hand.directory_of(process))  # a free lock is no proof that every child is gone
    await life.settle(sight=sight)


class _Life:
    """One attempt of one run, followed by this worker."""

    def __init__(self, hand: Hand, run: Run, process: Process, nudge: asyncio.Event) -> None:
        self._hand = hand
        self._nudge = nudge
        self._stop = Stop(hand.directory_of(process))
        self._run = run
        self._process = process
        self._directory = hand.directory_of(process)
        self._output = hand.root / run.folder / "output"
        self._seen_output = hand.root_of(process) / run.folder / "output"
        self._reader = Reader(epochs=_number(run.config, "num_train_epochs"), max_steps=_whole(run.config, "max_steps"))
        self._findings: list[Found] = []
        self._scanned = 0.0

    async def start(self, executor: Executor) -> None:
        """Write the frozen config and start the attempt, once however often this is reached; CannotStart with the reason."""
        if self._process.stop_asked_at is not None and not (await executor.look(self._directory)).started:
            raise CannotStart("it was cancelled before it began")
        await asyncio.to_thread(self._prepare)
        root = self._hand.root_of(self._process)
        spec = Spec(
            process_id=self._process.id,
            attempt=self._process.attempt,
            argv=on_host(self._process.argv, self._run.id, str(root)),
            env={"TUNEYARD_RUN_ID": self._run.id, "TUNEYARD_OUTPUT_DIR": str(self._seen_output)},
            cwd=self._hand.cwd_of(self._process),
        )
        await executor.start(self._directory, spec)

    async def follow(self, executor: Executor) -> Sight:
        """Store all that the run says until it is over; what the run directory then showed."""
        wait = SHORTEST_WAIT
        while True:
            sight = await executor.look(self._directory)
            await self._note_beginning(sight)
            over = sight.started and not sight.alive
            spoke = await self._listen(executor, final=over)
            if over and not spoke:
                return sight
            if sight.exit is not None and time.time() - sight.exit.ended_at > LINGER_SECONDS:
                await executor.kill(self._directory)
            await self._look_for_artifacts()
            if self._process.stop_asked_at is not None and sight.exit is None:
                await self._stop.press(executor, self._process)
            wait = SHORTEST_WAIT if spoke else min(wait * 1.5, LONGEST_WAIT)
            await self._rest(0 if spoke else wait)

    async def settle(self, *, sight: Sight | None = None, refusal: str | None = None) -> None:
        """Register what is there and write the end, in one transaction."""
        self._findings = await asyncio.to_thread(scan, self._output)
        ending = Ending(
            began=bool(sight and sight.started),
            exit=sight.exit if sight else None,
            refusal=refusal,
            findings=self._findings,
            root=self._output.as_uri(),
        )
        await self._hand.db.run(actions.ended, self._process.id, self._hand.speaker, ending)

    async def _rest(self, seconds: float) -> None:
        """Rest until there may be something new; a nudge means that the row has changed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._nudge.wait()
        if self._nudge.is_set():
            self._nudge.clear()
            now = await self._hand.db.read(processes.get, self._process.id)
            self._process = now or self._process

    async def _note_beginning(self, sight: Sight) -> None:
        if self._run.status is RunStatus.starting and sight.pid is not None:
            self._run = await self._hand.db.run(actions.began, self._process.id, self._hand.speaker, sight)

    async def _listen(self, executor: Executor, *, final: bool) -> bool:
        """Store what was said since the last time; whether there was anything."""
        offset = self._process.log_offset
        data = await executor.read(self._directory, offset, READ_BYTES)
        reading = self._reader.read(data, final=final and len(data) < READ_BYTES)
        report = await asyncio.to_thread(read_report, self._output, self._process.report_offset)
        if not reading.consumed and not report.consumed:
            return False
        said = Said(
            lines=reading.lines,
            measured=[*self._not_in_report(reading.metrics), *report.measured],
            progress=max((each for each in (reading.progress, report.progress) if each is not None), default=None),
            first_byte=offset,
            end_byte=offset + reading.consumed,
            report_end=self._process.report_offset + report.consumed,
            seen_at=datetime.now(UTC),
        )
        self._process = await self._hand.db.run(actions.said, self._process.id, self._hand.speaker, said)
        self._reader = reading.reader
        return True

    def _not_in_report(self, measured: list[Measured]) -> list[Measured]:
        """Drop what the metrics file says better: it has the same numbers with their step."""
        return [each for each in measured if each.step is not None] if self._process.report_offset else measured

    async def _look_for_artifacts(self) -> None:
        if time.monotonic() - self._scanned < SCAN_SECONDS:
            return
        findings = await asyncio.to_thread(scan, self._output)
        if findings != self._findings:
            await self._hand.db.run(actions.found, self._process.id, self._hand.speaker, findings, self._output.as_uri())
            self._findings = findings
        self._scanned = time.monotonic()

    def _prepare(self) -> None:
        _check_unchanged(self._run, self._hand.root)
        self._output.mkdir(parents=True, exist_ok=True)
        config = _as_read(self._run, self._hand.root, self._hand.root_of(self._process)) | {"output_dir": str(self._seen_output)}
        replace_file(self._hand.root / config_path(RunId(self._run.id)), yaml_text.write(config).encode())


def _check_unchanged(run: Run, root: Path) -> None:
    """CannotStart when a file that was pinned by size and time is another one by now; uploads cannot change."""
    for name, pinned in run.inputs.items():
        now = stat_beneath(root, pinned.path)
        if now is None or now.st_size != pinned.size_bytes or (pinned.mtime_ns or now.st_mtime_ns) != now.st_mtime_ns:
            message = f"{name} is not the file any more that this run was launched with; launch a new run, or upload the file"
            raise CannotStart(message)


def _as_read(run: Run, root: Path, seen: Path) -> dict[str, Any]:
    """Return the frozen config as the trainer reads it: what it names lies below the training directory as the trainer sees it."""
    places = {name: str(seen / pinned.path) for name, pinned in run.inputs.items()}
    if checkpoint := run.config.get("resume_from_checkpoint"):
        places[checkpoint] = str(seen / Path(checkpoint).relative_to(root))
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
