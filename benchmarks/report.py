"""A figure is something measured, how, and what it was meant to be; the report is a readable table of them."""

from collections.abc import Sequence

from msgspec import Struct
from rich.console import Console
from rich.table import Table
from rich.text import Text


class Figure(Struct, frozen=True, kw_only=True):
    """One measured thing."""

    what: str
    value: str
    goal: str = ""
    met: bool | None = None
    """None where there is no goal."""


class Section(Struct, frozen=True, kw_only=True):
    """Figures of one measurement."""

    title: str
    how: str
    figures: list[Figure]
    remarks: list[str] = []
    """Where the time goes, and what else a reader of the figures should know."""


def show(section: Section, out: Console) -> None:
    """Print a section."""
    table = Table(title=Text(section.title, style="bold"), title_justify="left", box=None, padding=(0, 3, 0, 0))
    for heading in ("", "measured", "goal", ""):
        table.add_column(heading, overflow="fold", justify="left")
    for figure in section.figures:
        table.add_row(figure.what, figure.value, figure.goal, _verdict(figure))
    out.print()
    out.print(table)
    out.print(Text(f"  {section.how}", style="dim"))
    for remark in section.remarks:
        out.print(Text(f"  · {remark}", style="dim"))


def show_missed(sections: Sequence[Section], out: Console) -> None:
    """Print which goals were missed."""
    missed = [f"{section.title}: {figure.what}" for section in sections for figure in section.figures if figure.met is False]
    goals = sum(figure.met is not None for section in sections for figure in section.figures)
    out.print()
    if missed:
        out.print(Text(f"{goals - len(missed)} of {goals} goals met; missed:", style="bold red"))
        for each in missed:
            out.print(f"  {each}")
    else:
        out.print(Text(f"all {goals} goals met", style="bold green"))


def _verdict(figure: Figure) -> Text:
    if figure.met is None:
        return Text("")
    return Text("ok", style="green") if figure.met else Text("MISSED", style="bold red")
