"""A summary on a terminal or in a pipe: the answer first, then what it rests on."""

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from isoflop.finding import Finding, Severity
from isoflop.report.summary import Summary
from isoflop.report.table import Table
from isoflop.report.wording import SIMULATED_SENTENCE, one_line

# From here on the columns that a narrow screen leaves out fit beside the others.
WIDE = 120

_SEVERITY_STYLE = {Severity.INFO: "cyan", Severity.WARNING: "yellow", Severity.ERROR: "bold red"}


def print_summary(summary: Summary, console: Console) -> None:
    """Nothing; `console` shows the summary."""
    console.print(text(summary.title, "bold"))
    if summary.simulated:
        console.print(text(SIMULATED_SENTENCE, "bold magenta"))
    console.print(text(summary.scope, "dim"))
    for sentence in summary.answer:
        console.print(Text(), text(sentence), sep="\n")
    for table in summary.fit_tables:
        console.print(block(table.title, table_block(table if console.width >= WIDE else table.essential())))
    if summary.findings:
        console.print(block("Findings", findings_block(summary.findings)))


def text(content: str, style: str = "") -> Text:
    """`content` on one line in `style`, never read as markup."""
    return Text(one_line(content), style=style)


def block(title: str, content: RenderableType) -> RenderableType:
    """`content` under its title, an empty line above."""
    return Group(Text(), text(title, "bold"), content)


def table_block(table: Table) -> RenderableType:
    """The table and its note."""
    drawn = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False, header_style="dim")
    for column in table.columns:
        drawn.add_column(text(column.heading), justify="right" if column.numeric else "left", overflow="fold")
    for row in table.rows:
        drawn.add_row(*(text(cell) for cell in row))
    return Group(drawn, text(table.note, "dim")) if table.note else drawn


def findings_block(findings: tuple[Finding, ...]) -> RenderableType:
    """Each finding with its severity, and its hint below."""
    grid = RichTable.grid(padding=(0, 2, 0, 0))
    for finding in findings:
        said = Group(text(finding.message), text(finding.hint, "dim"))
        grid.add_row(text(finding.severity, _SEVERITY_STYLE[finding.severity]), said)
    return grid
