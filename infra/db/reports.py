"""Reports on data files as rows."""

from sqlalchemy import bindparam, delete, select

from domain.training.report import Inspected, Report
from domain.training.rule import VERSION
from domain.training.task_type import TaskType
from infra.db.driver import fixed
from infra.db.rows import Rows
from infra.db.tables import REPORTS

_C = REPORTS.c
_ONE = fixed(
    select(_C.report).where(_C.content == bindparam("of"), _C.task_type == bindparam("task", type_=_C.task_type.type), _C.rules == VERSION)
)
_OLDER = delete(REPORTS.table).where(_C.content == bindparam("of"), _C.rules < VERSION)


class ReportRows(Rows[Inspected]):
    """The port `Reports`."""

    stored = REPORTS

    def get(self, content: str, task: TaskType) -> Report | None:
        """By today's rules."""
        report: Report | None = self.connection.scalar(_ONE, {"of": content, "task": task})
        return report

    def put(self, inspected: Inspected) -> None:
        """Keep it in the place of one that older rules made."""
        self.connection.execute(_OLDER, {"of": inspected.content})
        self.upsert([inspected])
