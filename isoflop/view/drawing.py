"""Text, tables and findings on a terminal. Everything is passed as `Text`, so that no name is read as markup."""

from collections import Counter
from collections.abc import Iterable, Sequence

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
# What a column of text needs at least to be read, where it breaks over lines; for a word up to the second it is given
# more. Longer words are paths, which break rather than cost the table a column.
TEXT_WIDTH, WORD_WIDTH = 16, 24

_SEVERITY_STYLE = {Severity.INFO: "cyan", Severity.WARNING: "yellow", Severity.ERROR: "bold red"}


def text(content: str, style: str = "") -> Text:
    """One line of `content`."""
    return Text(one_line(content), style=style)


def table_block(table: Table, console: Console) -> RenderableType:
    """`table` under its title, as wide as `console` allows.

    With narrow gaps, then without what is dispensable, then with the words of headings below each other.
    """
    shown: Table | None = table if console.width >= WIDE else table.essential()
    while shown is not None:
        for gap in (GAP, NARROW_GAP):
            if _width(shown, gap) <= console.width:
                return _titled(table.title, _table(shown, gap), *_left_out(table, shown))
        last, shown = shown, shown.narrower()
    breaks = _width(last, NARROW_GAP, stacked=True) > console.width
    return _titled(table.title, _table(last, NARROW_GAP, stacked=True, breaks=breaks), *_left_out(table, last))


def _left_out(table: Table, shown: Table) -> Sequence[Text]:
    """A line that names the essential columns which the screen has no room for; none where it shows them all."""
    left = Counter(column.heading for column in table.columns if column.essential)
    left.subtract(column.heading for column in shown.columns)
    names = [name for name, n_left in left.items() if n_left > 0]
    return [text(f"Left out on this narrow screen: {', '.join(names)}.", "dim")] if names else []


def _width(table: Table, gap: int, *, stacked: bool = False) -> int:
    """Columns of the screen that the table needs so that no number, no id and no word is broken."""
    return sum(needed for needed, _ in _widths(table, stacked=stacked)) + gap * (len(table.columns) - 1)


def _widths(table: Table, *, stacked: bool) -> list[tuple[int, int]]:
    """What every column needs, and what it takes where nothing is broken over lines."""
    found = []
    for place, column in enumerate(table.columns):
        headings = _heading(column.heading, stacked=stacked).splitlines()
        lines = [*headings, *(one_line(row[place]) for row in table.rows)]
        whole, word = _longest(lines), _longest(word for line in lines for word in line.split())
        least = max(TEXT_WIDTH, _longest(headings), min(word, WORD_WIDTH))
        found.append((whole if column.numeric or column.whole else min(whole, least), whole))
    return found


def _longest(texts: Iterable[str]) -> int:
    return max(map(cell_len, texts), default=0)


def _heading(heading: str, *, stacked: bool) -> str:
    return "\n".join(heading.split()) if stacked else one_line(heading)


def findings_block(findings: Sequence[Finding]) -> RenderableType:
    """Each finding with its hint."""
    grid = RichTable.grid(padding=(0, 2, 0, 0))
    for finding in findings:
        said = Group(text(finding.message), text(finding.hint, "dim"))
        grid.add_row(text(finding.severity, _SEVERITY_STYLE[finding.severity]), said)
    return _titled("Findings", grid)


def _titled(title: str, *content: RenderableType) -> RenderableType:
    return Group(Text(), text(title, "bold"), *content)


def _table(table: Table, gap: int, *, stacked: bool = False, breaks: bool = False) -> RenderableType:
    """`breaks`: whether numbers, ids and words may break over lines, as the only way to show them all."""
    padding = (0, 1) if gap == GAP else (0, 1, 0, 0)  # beside the box's own blank
    drawn = RichTable(box=box.SIMPLE_HEAD, padding=padding, pad_edge=False, show_edge=False, header_style="dim")
    for column, (needed, whole) in zip(table.columns, _widths(table, stacked=stacked), strict=True):
        drawn.add_column(
            Text(_heading(column.heading, stacked=stacked)),
            justify="right" if column.numeric else "left",
            overflow="fold",
            no_wrap=needed == whole and not breaks,
        )
    for row in table.rows:
        drawn.add_row(*(text(cell) for cell in row))
    return Group(drawn, text(table.note, "dim")) if table.note else drawn
