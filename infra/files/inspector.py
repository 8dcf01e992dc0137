"""The inspector: has each data file judged once, a large one in a process of its own, and keeps the report.

Small files are judged at once in a thread; larger ones by a child at low priority, one at a time, so that requests do not feel it. What is
not finished when the server ends is begun again when somebody asks for it: the bytes are the order, and the report is the receipt.
"""

import asyncio
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import IO, TypeVar

import msgspec
from msgspec import Struct

from domain.errors import Conflict, DomainError, Unavailable
from domain.files import Pinned
from domain.training.report import Inspected, Report
from domain.training.rule import VERSION
from domain.training.task_type import TaskType
from infra.db.database import Database
from infra.db.transaction import Tx
from infra.files.inspection import guess, inspect
from infra.files.reading import open_data
from infra.files.store import FileStore
from infra.settings import Settings

T = TypeVar("T")

log = logging.getLogger(__name__)

SMALL_BYTES = 256 * 1024
"""Judged at once: a few milliseconds, where a child's start alone takes a hundred."""
PACKED_SMALL_BYTES = 16 * 1024
LARGEST_BY_HAND = 2**30
"""Of a file that was never uploaded, no more is judged: a launch waits for it, and a corpus may have terabytes."""


class Subject(Struct, frozen=True):
    """Bytes to judge."""

    content: str
    """By which its report is kept."""
    path: str
    """Below the training directory."""
    size_bytes: int
    limit: int | None

    @classmethod
    def of(cls, pinned: Pinned) -> "Subject":
        """Return the bytes that a run would pin."""
        if pinned.sha256 is not None:
            return cls(f"sha256:{pinned.sha256}", pinned.path, pinned.size_bytes, None)
        content = f"file:{pinned.path}:{pinned.size_bytes}:{pinned.mtime_ns}"
        return cls(content, pinned.path, pinned.size_bytes, LARGEST_BY_HAND)

    @property
    def small(self) -> bool:
        """Whether judging it takes no time to speak of."""
        return self.size_bytes <= (PACKED_SMALL_BYTES if self.path.endswith((".gz", ".zst")) else SMALL_BYTES)


class Inspector:
    """Reports on data files, made when they are first needed."""

    def __init__(self, db: Database, store: FileStore, settings: Settings) -> None:
        self._db = db
        self._root = store.root
        self._ratio = settings.max_unpack_ratio
        self._making: dict[tuple[str, TaskType], asyncio.Task[Report]] = {}
        self._arriving = set[asyncio.Task[None]]()
        self._turn = asyncio.Semaphore(1)

    def soon(self, subject: Subject, task: TaskType | None) -> None:
        """Have it judged, without waiting: a file has arrived."""
        arriving = asyncio.create_task(self._arrived(subject, task))
        self._arriving.add(arriving)
        arriving.add_done_callback(self._arriving.discard)

    async def report(self, subject: Subject, task: TaskType | None, wait: float) -> Report | None:
        """Return its report; None when that is still being made after `wait` seconds. Without a task, its first samples tell.

        Unavailable when it cannot be judged at all.
        """
        meant = await asyncio.to_thread(self._guess, subject) if task is None else task
        known = await self._db.read(_known, subject.content, meant)
        if known is not None:
            return known
        making = self._making.get((subject.content, meant)) or self._begin(subject, meant)
        await asyncio.wait([making], timeout=wait)
        return making.result() if making.done() else None

    async def close(self) -> None:
        """End what is being made; children are killed."""
        pending = [*self._arriving, *self._making.values()]
        for each in pending:
            each.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    async def _arrived(self, subject: Subject, task: TaskType | None) -> None:
        try:
            await self.report(subject, task, wait=0)
        except DomainError as problem:
            log.warning("inspection of %s: %s", subject.path, problem.detail)

    def _begin(self, subject: Subject, task: TaskType) -> asyncio.Task[Report]:
        making = asyncio.create_task(self._make(subject, task))
        key = (subject.content, task)
        self._making[key] = making

        def made(done: asyncio.Task[Report]) -> None:
            self._making.pop(key, None)
            if not done.cancelled() and (problem := done.exception()) is not None:
                log.warning("inspection of %s: %s", subject.path, problem)

        making.add_done_callback(made)
        return making

    async def _make(self, subject: Subject, task: TaskType) -> Report:
        if subject.small:
            report = await asyncio.to_thread(self._inspect, subject, task)
        else:
            async with self._turn:
                report = await self._in_child(subject, task)
        await asyncio.to_thread(self._still, subject)
        await self._db.run(
            _keep, Inspected(content=subject.content, task_type=task, rules=VERSION, report=report, made_at=datetime.now(UTC))
        )
        return report

    def _guess(self, subject: Subject) -> TaskType:
        return self._opened(subject, lambda file: guess(file, subject.path))

    def _inspect(self, subject: Subject, task: TaskType) -> Report:
        return self._opened(subject, lambda file: inspect(file, subject.path, task, limit=subject.limit))

    def _opened(self, subject: Subject, look: Callable[[IO[bytes]], T]) -> T:
        try:
            with open_data(self._root, subject.path, ratio=self._ratio) as file:
                return look(file)
        except FileNotFoundError:
            raise _gone(subject) from None

    def _still(self, subject: Subject) -> None:
        """Let no report be kept of other bytes than it is kept under; Conflict."""
        try:
            size = (self._root / subject.path).stat().st_size
        except FileNotFoundError:
            raise _gone(subject) from None
        if size != subject.size_bytes:
            raise Conflict(
                f"{subject.path} has {size:,} bytes now instead of {subject.size_bytes:,}; upload it again, or name another file"
            )

    async def _in_child(self, subject: Subject, task: TaskType) -> Report:
        arguments = [str(self._root), subject.path, str(self._ratio), str(task), "" if subject.limit is None else str(subject.limit)]
        command = [sys.executable, "-P", "-m", "infra.files.inspection", *arguments]
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe)
        try:
            output, said = await child.communicate()
        finally:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()
        if child.returncode:
            last = (said.decode(errors="replace").strip().splitlines() or [f"exit code {child.returncode}"])[-1]
            raise Unavailable(f"the data file cannot be inspected just now: {last}")
        return msgspec.json.decode(output, type=Report)


def _gone(subject: Subject) -> Conflict:
    return Conflict(f"{subject.path} is not there any more; upload it again, or name another file")


def _known(tx: Tx, content: str, task: TaskType) -> Report | None:
    return tx.reports.get(content, task)


def _keep(tx: Tx, inspected: Inspected) -> None:
    tx.reports.put(inspected)
