"""What a host does for a run: it lays out the frozen config, understands what the trainer says, and registers what it leaves."""

import asyncio
import logging
import time
from datetime import UTC, datetime, timedelta
from math import isfinite
from pathlib import Path
from typing import Any

import msgspec

from domain.errors import Ghost, Invalid, Unavailable
from domain.ids import ProcessId, RunId
from domain.processes.condition import ConditionName
from domain.processes.end import End
from domain.processes.ports import BadInput, CannotStart, Executor, Sight
from domain.processes.process import Process
from domain.runs import hosting
from domain.runs.artifact import Look
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
from workers.fetch import fetch_missing
from workers.hand import Hand
from workers.life import Order
from workers.watch import LOOK_SECONDS

log = logging.getLogger(__name__)

SCAN_SECONDS = 2.0
"""How often a speaking run's output folder is searched for new artifacts."""
LOSS = "train/loss"


async def take(hand: Hand, process_id: ProcessId) -> tuple["Training", Process] | None:
    """Claim the start of a run's process; None when the run is over."""
    run, process = await hand.db.run(hosting.take, process_id, hand.speaker)
    return None if run.over else (Training(hand, run, process), process)


class Training:
    """One run, as the host sees to it."""

    noun = "training"

    def __init__(self, hand: Hand, run: Run, process: Process) -> None:
        self._hand = hand
        self._run = run
        self._id = process.id
        self._directory = hand.directory_of(process)
        self._output = hand.root / run.folder / "output"
        self._seen_output = hand.root_of(process) / run.folder / "output"
        self._reader = Reader(epochs=_number(run.config, "num_train_epochs"), max_steps=_whole(run.config, "max_steps"))
        self._seen = Look()
        self._scanned = 0.0
        self._spoke_at = time.monotonic()
        self._log_size = 0
        self._noted = {each.name for each in run.conditions}

    async def order(self, process: Process) -> Order:
        """Fetch what is missing here, and write the frozen config as the trainer reads it."""
        await fetch_missing(self._run.inputs, self._hand)
        await asyncio.to_thread(self._prepare, process)
        return Order(
            argv=on_host(process.argv, self._run.id, str(self._hand.root_of(process))),
            env={"TUNEYARD_RUN_ID": self._run.id, "TUNEYARD_OUTPUT_DIR": str(self._seen_output)},
            cwd=self._hand.cwd_of(process),
        )

    async def began(self, process: Process, sight: Sight) -> None:
        """Let the run be running."""
        if self._run.status is RunStatus.starting:
            self._run = await self._hand.db.run(hosting.began, process.id, self._hand.speaker, sight)

    async def said(self, process: Process, output: bytes, *, final: bool) -> Process:
        """Store the lines with what they and the trainer's own metrics file measured."""
        reading = self._reader.read(output, final=final)
        report = await asyncio.to_thread(read_report, self._output, process.report_offset)
        if not reading.consumed and report.end == process.report_offset:
            return process
        said = Said(
            attempt=process.attempt,
            lines=reading.lines,
            measured=[*_not_in_report(process, reading.metrics), *report.measured],
            progress=max((each for each in (reading.progress, report.progress) if each is not None), default=None),
            first_byte=process.log_offset,
            end_byte=process.log_offset + reading.consumed,
            report_begin=process.report_offset,
            report_end=report.end,
            seen_at=datetime.now(UTC),
        )
        process = await self._hand.db.run(hosting.said, process.id, self._hand.speaker, said)
        self._reader = reading.reader
        self._spoke_at = time.monotonic()
        for each in said.measured:
            if not isfinite(each.values.get(LOSS, 0.0)):
                await self._hear_nan(LOSS, each.step)
        return process

    async def look(self, process: Process) -> None:
        """Search the output folder for what is new, now and then."""
        if time.monotonic() - self._scanned < SCAN_SECONDS:
            return
        look = await asyncio.to_thread(scan, self._output)
        if look != self._seen:
            await self._hand.db.run(hosting.found, process.id, self._hand.speaker, look)
            self._seen = look
        self._scanned = time.monotonic()

    async def attend(self, executor: Executor) -> None:
        """Watch whether it has fallen silent."""
        while True:
            await asyncio.sleep(min(LOOK_SECONDS, self._run.watch.stalled_after_seconds))
            try:
                await self._look_at_silence(await executor.look(self._directory))
            except Unavailable:
                continue
            except Ghost:
                return
            except Exception:
                log.exception("run %s could not be watched; it is tried again", self._run.id)

    async def note(self, name: ConditionName, reason: str | None, *, stop: bool = False) -> None:
        """Write it down, unless it is already; with `stop` the training is let save and stopped."""
        if (name in self._noted) is (reason is not None):
            return
        grace = timedelta(seconds=self._hand.settings.grace_seconds) if stop else None
        await self._hand.db.run(hosting.noted, self._id, self._hand.speaker, name, reason, stop_after=grace)
        self._noted ^= {name}

    async def freed(self, process: Process, left: list[int]) -> None:
        """Give back its GPUs."""
        await self._hand.db.run(hosting.freed, process.id, self._hand.speaker, left)

    async def ended(self, end: End) -> None:
        """Register what is there and write the end, in one transaction."""
        look = Look() if end.blind else await asyncio.to_thread(scan, self._output)
        ending = Ending(**msgspec.structs.asdict(end), look=look)
        backoff = timedelta(seconds=self._hand.settings.retry_seconds)
        await self._hand.db.run(hosting.ended, self._id, self._hand.speaker, ending, backoff=backoff)

    async def _hear_nan(self, name: str, step: int | None) -> None:
        """Note that the loss is not a number any more."""
        at = "" if step is None else f" at step {step}"
        reason = f"损失不是有限数 {name} is not a finite number{at}; the weights are probably lost: resume from an earlier checkpoint"
        await self.note(ConditionName.nan_loss, reason, stop=self._run.watch.stop_on_nan)

    async def _look_at_silence(self, sight: Sight) -> None:
        """Judge by its file, which grows also while the database is gone and nothing can be stored."""
        if sight.log_size != self._log_size:
            self._log_size = sight.log_size
            self._spoke_at = time.monotonic()
        limit = self._run.watch.stalled_after_seconds
        stalled = time.monotonic() - self._spoke_at > limit
        reason = f"训练停滞 the training has said nothing for {limit:g} s" if stalled else None
        await self.note(ConditionName.stalled, reason, stop=self._run.watch.stop_when_stalled)

    def _prepare(self, process: Process) -> None:
        _check_unchanged(self._run, self._hand.root)
        config = _as_read(self._run, self._hand.root_of(process)) | {"output_dir": str(self._seen_output)}
        try:
            self._output.mkdir(parents=True, exist_ok=True)
            replace_file(self._hand.root / config_path(RunId(self._run.id)), yaml_text.write(config).encode())
        except OSError as error:
            raise CannotStart(f"the run's folder {self._output.parent} cannot be written: {error.strerror}") from None


def _not_in_report(process: Process, measured: list[Measured]) -> list[Measured]:
    """Drop what the metrics file says better: it has the same numbers with their step."""
    return [each for each in measured if each.step is not None] if process.report_offset else measured


def _check_unchanged(run: Run, root: Path) -> None:
    """BadInput when a file that was pinned by size and time is another one by now; uploads cannot change."""
    for name, pinned in run.inputs.items():
        try:
            now = stat_beneath(root, pinned.path)
        except Invalid as wrong:
            message = f"{name} is not the file any more that this run was launched with: {wrong.detail}"
            raise BadInput(message) from None
        except OSError as problem:
            message = f"{name} cannot be read now: {problem.strerror}"
            raise CannotStart(message, passing=True) from None
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
