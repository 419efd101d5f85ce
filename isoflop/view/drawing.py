"""Text, tables and findings on a terminal. Everything is passed as `Text`, so that no name is read as markup."""

from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from isoflop.finding import Finding, Severity
from isoflop.view.table import Table
from isoflop.wording import one_line

# From here on the columns that a narrow screen leaves out fit beside the others.
WIDE = 120
# Blanks between two columns, and what a table is drawn with before it goes without a column.
GAP, NARROW_GAP = 3, 2
# What a column of text needs at least to be read, where it breaks over lines.
TEXT_WIDTH = 16

_SEVERITY_STYLE = {Severity.INFO: "cyan", Severity.WARNING: "yellow", Severity.ERROR: "bold red"}


def text(content: str, style: str = "") -> Text:
    """One line of `content`."""
    return Text(one_line(content), style=style)


def table_block(table: Table, console: Console) -> RenderableType:
    """`table` under its title, as wide as `console` allows: with narrow gaps, then without what is dispensable."""
    shown: Table | None = table if console.width >= WIDE else table.essential()
    while shown is not None:
        for gap in (GAP, NARROW_GAP):
            if _width(shown, gap) <= console.width:
                return _titled(table.title, _table(shown, gap, breaks=False))
        last, shown = shown, shown.narrower()
    return _titled(table.title, _table(last, NARROW_GAP, breaks=True))


def _width(table: Table, gap: int) -> int:
    """Columns of the screen that the table needs so that no number and no id is broken."""
    lines = [[column.heading for column in table.columns], *table.rows]
    widths = [max(cell_len(one_line(line[place])) for line in lines) for place in range(len(table.columns))]
    needed = (
        width if column.numeric or column.whole else min(width, max(TEXT_WIDTH, cell_len(column.heading)))
        for column, width in zip(table.columns, widths, strict=True)
    )
    return sum(needed) + gap * (len(table.columns) - 1)


def findings_block(findings: Sequence[Finding]) -> RenderableType:
    """Each finding with its hint."""
    grid = RichTable.grid(padding=(0, 2, 0, 0))
    for finding in findings:
        said = Group(text(finding.message), text(finding.hint, "dim"))
        grid.add_row(text(finding.severity, _SEVERITY_STYLE[finding.severity]), said)
    return _titled("Findings", grid)


def _titled(title: str, content: RenderableType) -> RenderableType:
    return Group(Text(), text(title, "bold"), content)


def _table(table: Table, gap: int, *, breaks: bool) -> RenderableType:
    """`breaks`: whether numbers and ids may break over lines, as the only way to show them all."""
    padding = (0, 1) if gap == GAP else (0, 1, 0, 0)  # beside the box's own blank
    drawn = RichTable(box=box.SIMPLE_HEAD, padding=padding, pad_edge=False, show_edge=False, header_style="dim")
    for column in table.columns:
        drawn.add_column(
            text(column.heading),
            justify="right" if column.numeric else "left",
            overflow="fold",
            no_wrap=(column.numeric or column.whole) and not breaks,
        )
    for row in table.rows:
        drawn.add_row(*(text(cell) for cell in row))
    return Group(drawn, text(table.note, "dim")) if table.note else drawn
