"""A summary as Markdown, to be committed or pasted into an issue."""

import re
from collections.abc import Iterator

from isoflop.finding import Finding
from isoflop.report.growth_words import growth_table
from isoflop.report.summary import Summary
from isoflop.view.table import Table
from isoflop.wording import SIMULATED_SENTENCE, one_line

_SYNTAX = re.compile(r"([\\`*\[\]|~#])")


def render_markdown(summary: Summary, *, figure: str, growth: str | None = None) -> str:
    """The report as GitHub-flavoured Markdown; `figure` and `growth` are paths of images, relative to the report.

    `growth`: the figure of a sweep that steered itself.
    """
    return "\n\n".join(_blocks(summary, figure, growth)) + "\n"


def _blocks(summary: Summary, figure: str, growth: str | None) -> Iterator[str]:
    yield f"# {_escape(summary.title)}"
    if summary.simulated:
        yield f"**{_escape(SIMULATED_SENTENCE)}**"
    yield _escape(summary.scope) + "."
    yield from (_escape(sentence) for sentence in summary.answer.sentences)
    yield f"![Profiles and frontier]({figure})"
    for table in summary.fit_tables:
        yield from _table(table)
    grown = growth_table(summary.rounds)
    if grown is not None:
        yield from _table(grown)
        if growth is not None:
            yield f"![Interval against FLOPs spent]({growth})"
    yield "## Findings"
    yield "\n".join(_finding(finding) for finding in summary.findings) or "None."
    for appendix in (*summary.run_tables, summary.provenance):
        yield from _table(appendix)
    for spec in summary.source.specs:
        yield "## Sweep as planned"
        # JSON puts no fence at the start of a line: strings hold no raw line breaks.
        yield f"```json\n{spec.to_show()}\n```"


def _table(table: Table) -> Iterator[str]:
    yield f"## {_escape(table.title)}"
    headings = [column.heading for column in table.columns]
    rules = " | ".join("---:" if column.numeric else ":---" for column in table.columns)
    yield "\n".join([_row(headings), f"| {rules} |", *(_row(row) for row in table.rows)])
    if table.note:
        yield _escape(table.note)


def _row(cells: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(_escape(cell) for cell in cells)} |"


def _finding(finding: Finding) -> str:
    return f"- **{finding.severity}** ({finding.code}): {_escape(finding.message)} {_escape(finding.hint)}"


def _escape(text: str) -> str:
    """`text` on one line, without meaning to Markdown or HTML."""
    plain = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SYNTAX.sub(r"\\\1", plain)
