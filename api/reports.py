"""What inspections found, over HTTP: every broken rule with its places, and what the data is like."""

from typing import Annotated

from litestar import Controller, Response, get
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, HeaderParameter, QueryParameter
from litestar.status_codes import HTTP_200_OK, HTTP_202_ACCEPTED
from msgspec import Struct

from api.follow import wanted_wait
from api.provide import TheCaller
from domain.datasets.references import one_file
from domain.errors import Flaw, Invalid
from domain.files import Pinned
from domain.training.problem import Problem
from domain.training.report import Finding, Report, Statistics
from domain.training.rule import Severity
from domain.training.task_type import TaskType, task_type_of
from infra.files.inspector import Subject

RETRY_SECONDS = 1


class ProblemDetail(Struct, frozen=True, kw_only=True):
    """One broken rule at one place."""

    code: str
    severity: Severity
    severity_label: str
    where: str
    """In words; empty for the file as a whole."""
    line: int | None
    column: int | None
    message: str
    fix: str
    count: int
    """How many places broke the rule, where this one stands for them."""


class FindingDetail(Struct, frozen=True, kw_only=True):
    """All that broke one rule: how often, and the first places."""

    code: str
    severity: Severity
    severity_label: str
    count: int
    problems: list[ProblemDetail]


class StatisticsDetail(Statistics, frozen=True, kw_only=True):
    """What the sound samples are like."""

    over_long: float | None = None
    """Share of samples longer than the `max_seq_length` asked about, by the estimate of tokens."""


class ReportDetail(Struct, frozen=True, kw_only=True):
    """What an inspection found."""

    status: str
    """`done`, or `inspecting` while it is being made."""
    file: str
    task_type: TaskType | None
    task_type_label: str | None
    usable: bool | None = None
    """Whether nothing in it keeps a launch back."""
    complete: bool | None = None
    bytes: int | None = None
    lines: int | None = None
    samples: int | None = None
    sound: int | None = None
    errors: int | None = None
    warnings: int | None = None
    findings: list[FindingDetail] = []
    statistics: StatisticsDetail | None = None
    seconds: float | None = None
    """That the inspection took."""


class ReportController(Controller):
    """What people may ask about a dataset's files."""

    path = "/v1/datasets/{ref:str}/report"
    tags = ("datasets",)

    @get(responses={202: ResponseSpec(ReportDetail, description="Still being inspected; ask again.")})
    async def get_report(
        self,
        caller: TheCaller,
        ref: FromPath[str],
        file: Annotated[str | None, QueryParameter(description="Which file, where the dataset has several.")] = None,
        task_type: Annotated[
            str | None, QueryParameter(description="Judged for this task; else for the dataset's own, or what it looks like.")
        ] = None,
        max_seq_length: Annotated[int | None, QueryParameter(description="Say which share of the samples is longer.")] = None,
        prefer: Annotated[str | None, HeaderParameter(name="Prefer", description="`wait=N` seconds (RFC 7240); 10 unless said.")] = None,
    ) -> Response[ReportDetail]:
        """Judge a data file by the rules of its task: 200 with the report, 202 while it is being made."""
        dataset, upload = await caller.db.read(one_file, ref, file)
        task = _task(task_type) or task_type_of(dataset.task_type)
        pinned = Pinned(path=upload.stored_name, size_bytes=upload.bytes, sha256=upload.sha256)
        report = await caller.world.inspector.report(Subject.of(pinned), task, wanted_wait(prefer))
        if report is None:
            label = task.label(caller.language) if task else None
            making = ReportDetail(status="inspecting", file=upload.name, task_type=task, task_type_label=label)
            return Response(making, status_code=HTTP_202_ACCEPTED, headers={"Retry-After": str(RETRY_SECONDS)})
        return Response(_shown(report, upload.name, max_seq_length, caller.language), status_code=HTTP_200_OK)


def problem_detail(problem: Problem, language: str) -> ProblemDetail:
    """Show a problem in a language."""
    return ProblemDetail(
        code=problem.rule,
        severity=problem.rule.severity,
        severity_label=problem.rule.severity.label(language),
        where=problem.where(language),
        line=problem.line,
        column=problem.column,
        message=problem.message(language),
        fix=problem.fix(language),
        count=problem.count,
    )


def _task(text: str | None) -> TaskType | None:
    task = task_type_of(text) if text else None
    if text and task is None:
        message = f"task_type {text[:40]} is unknown; it must be one of {', '.join(TaskType)}"
        raise Invalid(message, [Flaw("task_type", message)])
    return task


def _shown(report: Report, file: str, length: int | None, language: str) -> ReportDetail:
    statistics = {field: getattr(report.statistics, field) for field in Statistics.__struct_fields__}
    return ReportDetail(
        status="done",
        file=file,
        task_type=report.task_type,
        task_type_label=report.task_type.label(language),
        usable=report.usable,
        complete=report.complete,
        bytes=report.bytes,
        lines=report.lines,
        samples=report.samples,
        sound=report.sound,
        errors=report.errors,
        warnings=report.warnings,
        findings=[_finding(each, language) for each in report.findings],
        statistics=StatisticsDetail(**statistics, over_long=None if length is None else round(report.over(length), 4)),
        seconds=report.seconds,
    )


def _finding(finding: Finding, language: str) -> FindingDetail:
    rule = finding.rule
    return FindingDetail(
        code=rule,
        severity=rule.severity,
        severity_label=rule.severity.label(language),
        count=finding.count,
        problems=[problem_detail(each, language) for each in finding.problems],
    )
