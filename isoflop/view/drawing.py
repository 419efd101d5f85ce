"""Text, tables and findings on a terminal. Everything is passed as `Text`, so that no name is read as markup."""

from collections.abc import Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from isoflop.finding import Finding, Severity
from isoflop.view.table import Table
from isoflop.wording import one_line

# From here on the columns that a narrow screen leaves out fit beside the others.
WIDE = 120

_SEVERITY_STYLE = {Severity.INFO: "cyan", Severity.WARNING: "yellow", Severity.ERROR: "bold red"}


def text(content: str, style: str = "") -> Text:
    """One line of `content`."""
    return Text(one_line(content), style=style)


def table_block(table: Table, console: Console) -> RenderableType:
    """`table` under its title, as wide as `console` allows."""
    return _titled(table.title, _table(table if console.width >= WIDE else table.essential()))


def findings_block(findings: Sequence[Finding]) -> RenderableType:
    """Each finding with its hint."""
    grid = RichTable.grid(padding=(0, 2, 0, 0))
    for finding in findings:
        said = Group(text(finding.message), text(finding.hint, "dim"))
        grid.add_row(text(finding.severity, _SEVERITY_STYLE[finding.severity]), said)
    return _titled("Findings", grid)


def _titled(title: str, content: RenderableType) -> RenderableType:
    return Group(Text(), text(title, "bold"), content)


def _table(table: Table) -> RenderableType:
    drawn = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False, header_style="dim")
    for column in table.columns:
        drawn.add_column(text(column.heading), justify="right" if column.numeric else "left", overflow="fold")
    for row in table.rows:
        drawn.add_row(*(text(cell) for cell in row))
    return Group(drawn, text(table.note, "dim")) if table.note else drawn
