"""One job, as its host sees to it: our own program is begun, heard, and settled from the report that it leaves."""

import asyncio
import logging
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from domain.ids import ProcessId
from domain.jobs import hosting
from domain.jobs.hosting import Ending, Words
from domain.jobs.job import Done, Job, JobStatus
from domain.processes.condition import ConditionName
from domain.processes.end import End
from domain.processes.ports import CannotStart, Executor, Sight
from domain.processes.process import Process
from infra.files.atomic import replace_file
from infra.jobs.order import Order as Written
from workers.hand import Hand
from workers.life import Order

log = logging.getLogger(__name__)


async def take(hand: Hand, process_id: ProcessId) -> tuple["Work", Process] | None:
    """Claim the start of a job's process; None when the job is over."""
    job, process = await hand.db.run(hosting.take, process_id, hand.speaker)
    return None if job.over else (Work(hand, job, process), process)


class Work:
    """One job."""

    noun = "job"

    def __init__(self, hand: Hand, job: Job, process: Process) -> None:
        self._hand = hand
        self._id = process.id
        self._job = job
        self._folder = hand.root / job.folder

    async def order(self, process: Process) -> Order:
        """Write down what is to be done, where the program finds it and its report will lie."""
        del process
        written = Written(
            root=str(self._hand.root),
            folder=str(self._folder),
            policy=self._job.policy,
            policy_id=self._job.policy_id,
            key_id=self._job.key_id,
            seed=self._job.seed,
            bad_lines=self._job.bad_lines,
            sources=self._job.sources,
            ratio=self._hand.settings.max_unpack_ratio,
        )
        try:
            await asyncio.to_thread(self._write, msgspec.json.encode(written))
        except OSError as problem:
            message = f"the job's folder {self._folder} cannot be written: {problem.strerror}"
            raise CannotStart(message, passing=True) from None
        argv = [sys.executable, "-P", "-m", "infra.jobs", str(self._folder)]
        return Order(argv=argv, env=self._keys(), cwd=str(self._hand.root))

    async def began(self, process: Process, sight: Sight) -> None:
        """Let the job be running."""
        if self._job.status is JobStatus.queued:
            self._job = await self._hand.db.run(hosting.began, process.id, self._hand.speaker, sight)

    async def said(self, process: Process, output: bytes, *, final: bool) -> Process:
        """Store whole lines, and what they say of the progress."""
        end = len(output) if final else output.rfind(b"\n") + 1
        if not end:
            return process
        lines = output[:end].removesuffix(b"\n").split(b"\n")
        words = Words(
            attempt=process.attempt,
            lines=lines,
            progress=_progress(lines),
            first_byte=process.log_offset,
            end_byte=process.log_offset + end,
            seen_at=datetime.now(UTC),
        )
        return await self._hand.db.run(hosting.said, process.id, self._hand.speaker, words)

    async def look(self, process: Process) -> None:
        """See nothing more: all that it makes appears at its end."""

    async def attend(self, executor: Executor) -> None:
        """Trust it: the program is ours."""

    async def note(self, name: ConditionName, reason: str | None) -> None:
        """Say it in our own log: a job goes on from its last chunk, whatever is the matter."""
        if reason is not None:
            log.warning("job %s: %s: %s", self._job.id, name, reason)

    async def freed(self, process: Process, left: list[int]) -> None:
        """Give back its place."""
        await self._hand.db.run(hosting.freed, process.id, self._hand.speaker, left)

    async def ended(self, end: End) -> None:
        """Settle the attempt with the report, if the program came to write one."""
        done = await asyncio.to_thread(_report, self._folder) if end.code == 0 and not end.blind else []
        ending = msgspec.convert({**msgspec.structs.asdict(end), "done": done}, Ending)
        backoff = timedelta(seconds=self._hand.settings.retry_seconds)
        await self._hand.db.run(hosting.ended, self._id, self._hand.speaker, ending, backoff=backoff)

    def _keys(self) -> dict[str, str]:
        """Hand on where the keys are: commands inherit none of our settings."""
        settings = self._hand.settings
        file = str(Path(settings.deid_key_file).absolute()) if settings.deid_key_file else None
        given = {"TUNEYARD_DEID_KEY_FILE": file, "TUNEYARD_DEID_KEYS": settings.deid_keys}
        return {name: value for name, value in given.items() if value}

    def _write(self, order: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        replace_file(self._folder / "order.json", order)


def _progress(lines: list[bytes]) -> float | None:
    """Return the last progress that was told."""
    for line in reversed(lines):
        if line.startswith(b'{"progress":'):
            with suppress(msgspec.MsgspecError):  # a disk that is full takes half a line
                return msgspec.json.decode(line, type=dict[str, float | int]).get("progress")
    return None


def _report(folder: Path) -> list[Done]:
    return msgspec.json.decode((folder / "report.json").read_bytes(), type=list[Done])
