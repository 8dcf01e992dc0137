"""How a process is shown to whoever asks for its owner: what it waits for, what is the matter, why it failed."""

from datetime import datetime
from typing import Any

from msgspec import Struct, field
from msgspec.structs import asdict

from domain.processes.attempt import Attempt
from domain.processes.condition import Condition, ConditionName
from domain.processes.failure import Failure, FailureClass
from domain.processes.waiting import Holder, Reason, Waiting


class WaitingDetail(Struct, frozen=True, kw_only=True):
    """Why something waits."""

    reason: Reason
    reason_label: str
    text: str
    """What blocks it, in words."""
    position: int
    """1: the next to start."""
    holders: list[Holder]
    """Those that hold what it waits for."""
    starts_at: datetime | None
    """An estimate, where their progress allows one."""


class ConditionDetail(Struct, frozen=True, kw_only=True):
    """What is the matter with what lives."""

    name: ConditionName
    name_label: str
    reason: str
    since: datetime


class FailureDetail(Struct, frozen=True, kw_only=True):
    """Why something, or one attempt of it, failed."""

    failure_class: FailureClass = field(name="class")
    class_label: str
    reason: str
    evidence: list[str]
    log_excerpt: list[str]


class AttemptDetail(Struct, frozen=True, kw_only=True):
    """One attempt that has ended."""

    number: int
    host: str | None
    started_at: datetime | None
    ended_at: datetime
    exit_code: int | None
    failure: FailureDetail | None


def waiting_detail(waiting: Waiting, language: str) -> WaitingDetail:
    """Say why it waits."""
    return WaitingDetail(
        reason=waiting.reason,
        reason_label=waiting.reason.label(language),
        text=waiting.text_en if language == "en" else waiting.text_zh,
        position=waiting.position,
        holders=waiting.holders,
        starts_at=waiting.starts_at,
    )


def condition_detail(condition: Condition, language: str) -> ConditionDetail:
    """Say what is the matter."""
    return ConditionDetail(name=condition.name, name_label=condition.name.label(language), reason=condition.reason, since=condition.since)


def failure_detail(failure: Failure, language: str) -> FailureDetail:
    """Say why it failed."""
    return FailureDetail(**asdict(failure), class_label=failure.failure_class.label(language))


def attempt_detail(attempt: Attempt, language: str) -> AttemptDetail:
    """Show an attempt that has ended."""
    facts: dict[str, Any] = asdict(attempt) | {"failure": attempt.failure and failure_detail(attempt.failure, language)}
    return AttemptDetail(**facts)
