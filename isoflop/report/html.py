"""A summary as one HTML page that needs nothing else: no script, no network, the figure inside."""

from collections.abc import Iterator
from html import escape

from isoflop import __version__
from isoflop.finding import Finding
from isoflop.report.summary import Summary
from isoflop.report.table import Table
from isoflop.report.wording import SIMULATED_SENTENCE, one_line

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5b6168; --line: #d5d9de; --page: #ffffff; --alarm: #a1208a }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e6e8; --soft: #9aa1a9; --line: #3a3f45; --page: #16181a; --alarm: #f08bdc }
}
body { margin: 0 auto; max-width: 68rem; padding: 1.5rem 1rem 4rem; color: var(--ink); background: var(--page);
  font: 1rem/1.5 system-ui, sans-serif }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0; overflow-wrap: anywhere }
h2 { font-size: 1.1rem; margin: 2.5rem 0 .5rem }
p { margin: .5rem 0; max-width: 46rem; overflow-wrap: anywhere }
.soft { color: var(--soft) }
.alarm { color: var(--alarm); font-weight: 700 }
.answer { font-size: 1.1rem }
.scroll { overflow-x: auto }
figure { margin: 1.5rem 0; background: #fff; border: 1px solid var(--line); border-radius: .5rem; padding: .5rem }
figure svg { display: block; width: 100%; min-width: 40rem; height: auto }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .9rem .25rem 0; text-align: left; vertical-align: top; white-space: nowrap }
th { color: var(--soft); font-weight: 600; border-bottom: 1px solid var(--line) }
.number { text-align: right }
.words { white-space: normal; min-width: 14rem; overflow-wrap: anywhere }
dt { margin-top: .8rem; font-weight: 600 }
dd { margin: 0; max-width: 46rem; overflow-wrap: anywhere }
pre { overflow-x: auto; font-size: .85rem }
footer { margin-top: 3rem; font-size: .85rem; color: var(--soft) }
"""

# Even if something were to slip through the escaping, a browser may run and load nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

# Longer text than this may wrap; numbers and names stay on one line.
_WRAPPED_LENGTH = 28


def render_html(summary: Summary, *, svg: str) -> str:
    """The report as one HTML document; `svg` is the figure as an SVG document of ours."""
    title = f"{'SIMULATED ' if summary.simulated else ''}{summary.title}"
    body = "\n".join(_body(summary, svg))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _body(summary: Summary, svg: str) -> Iterator[str]:
    yield f"<h1>{_escape(summary.title)}</h1>"
    yield f'<p class="soft">{_escape(summary.scope)}</p>'
    if summary.simulated:
        yield f'<p class="alarm">{_escape(SIMULATED_SENTENCE)}</p>'
    yield from (f'<p class="answer">{_escape(sentence)}</p>' for sentence in summary.answer)
    # The XML prologue of a stand-alone SVG has no place inside HTML.
    yield f'<figure class="scroll">{svg[svg.index("<svg") :]}</figure>'
    yield from (_table(table) for table in summary.fit_tables)
    yield "<h2>Findings</h2>"
    found = "".join(_finding(finding) for finding in summary.findings)
    yield f"<dl>{found}</dl>" if found else "<p>None.</p>"
    yield from (_table(table) for table in (summary.runs, summary.provenance) if table is not None)
    if summary.source.spec is not None:
        planned = summary.source.spec.model_dump_json(indent=2)
        yield f"<details><summary>Sweep as planned</summary><pre>{escape(planned)}</pre></details>"
    yield f"<footer>isoflop {_escape(__version__)}, {_escape(summary.generated_at)}</footer>"


def _table(table: Table) -> str:
    head = "".join(_cell("th", column.heading, numeric=column.numeric) for column in table.columns)
    rows = "\n".join(f"<tr>{_row(table, row)}</tr>" for row in table.rows)
    note = f'<p class="soft">{_escape(table.note)}</p>' if table.note else ""
    return (
        f"<h2>{_escape(table.title)}</h2>\n"
        f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>{note}'
    )


def _row(table: Table, row: tuple[str, ...]) -> str:
    pairs = zip(table.columns, row, strict=True)
    return "".join(_cell("td", text, numeric=column.numeric) for column, text in pairs)


def _cell(tag: str, text: str, *, numeric: bool) -> str:
    kind = "number" if numeric else "words" if len(text) > _WRAPPED_LENGTH else "name"
    return f'<{tag} class="{kind}">{_escape(text)}</{tag}>'


def _finding(finding: Finding) -> str:
    return (
        f"<dt>{_escape(finding.severity)}: {_escape(finding.message)}</dt>"
        f'<dd>{_escape(finding.hint)} <span class="soft">{_escape(finding.code)}</span></dd>'
    )


def _escape(text: str) -> str:
    return escape(one_line(text))
