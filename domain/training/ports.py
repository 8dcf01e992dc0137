"""What the data rules need from the world: reports that are kept."""

from typing import Protocol

from domain.training.report import Inspected, Report
from domain.training.task_type import TaskType


class Reports(Protocol):
    """The reports by today's rules."""

    def get(self, content: str, task: TaskType) -> Report | None:
        """Of these bytes for this task; None where there is none by today's rules."""
        ...

    def put(self, inspected: Inspected) -> None:
        """Keep one."""
        ...


class HasReports(Protocol):
    """A transaction that reaches reports."""

    @property
    def reports(self) -> Reports:
        """The reports."""
        ...
