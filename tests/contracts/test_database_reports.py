"""Reports on data files are kept by content, task and version of the rules, on both databases alike."""

from io import BytesIO

from msgspec.structs import replace

from domain.training.report import Inspected
from domain.training.rule import VERSION
from domain.training.task_type import TaskType
from infra.db.database import Database
from infra.db.transaction import Tx
from infra.files.inspection import inspect
from tests.things import AT, SAMPLES

BROKEN = '{"messages": [{"role": "user", "content": "问"}]}\n{"a": "\x1b"}\n{"NUL": "\\u0000"}\n'.encode()
"""What its problems tell must survive a database that knows no NUL."""


def inspected(task: TaskType, content: bytes, **facts: object) -> Inspected:
    report = inspect(BytesIO(content), "a.jsonl", task)
    return replace(Inspected(content="sha256:00", task_type=task, rules=VERSION, report=report, made_at=AT), **facts)


async def test_a_report_is_what_it_was(db: Database) -> None:
    kept = inspected(TaskType.sft, BROKEN)

    await db.run(lambda tx: tx.reports.put(kept))

    assert kept.report == await db.read(lambda tx: tx.reports.get("sha256:00", TaskType.sft))


async def test_each_task_and_each_content_has_its_own(db: Database) -> None:
    chat, text = inspected(TaskType.sft, SAMPLES["sft"]), inspected(TaskType.pretrain, SAMPLES["sft"])
    await db.run(lambda tx: tx.reports.put(chat))
    await db.run(lambda tx: tx.reports.put(text))

    def found(tx: Tx) -> list[bool | None]:
        wanted = [("sha256:00", TaskType.sft), ("sha256:00", TaskType.pretrain), ("sha256:00", TaskType.rl), ("sha256:01", TaskType.sft)]
        reports = [tx.reports.get(*each) for each in wanted]
        return [report.usable if report else None for report in reports]

    assert [True, False, None, None] == await db.read(found)


async def test_one_by_older_rules_is_none_and_gives_way(db: Database) -> None:
    older = inspected(TaskType.sft, BROKEN, rules=VERSION - 1)
    await db.run(lambda tx: tx.reports.put(older))
    before = await db.read(lambda tx: tx.reports.get("sha256:00", TaskType.sft))

    newer = inspected(TaskType.sft, SAMPLES["sft"])
    await db.run(lambda tx: tx.reports.put(newer))
    await db.run(lambda tx: tx.reports.put(newer))

    assert (None, newer.report) == (before, await db.read(lambda tx: tx.reports.get("sha256:00", TaskType.sft)))
