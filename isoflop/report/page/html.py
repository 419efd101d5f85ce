"""A summary as one HTML page that needs nothing else: plotly.js, data and figure inside, no network."""

import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from html import escape

from isoflop import __version__
from isoflop.finding import Finding, Severity
from isoflop.report.fit_wording import percent
from isoflop.report.frontier_curves import confirmed_sizes, optimal_params, optimal_tokens
from isoflop.report.growth_words import growth_table
from isoflop.report.page.plotly_frontier import frontier_plot
from isoflop.report.page.plotly_plot import Plot
from isoflop.report.page.plotly_valleys import MOST_RUNS, valley_plot
from isoflop.report.page.scripts import MARK_LIVE, content_policy, page_script, page_style, plot_data, plotly_script
from isoflop.report.reproduce import reproduction
from isoflop.report.run_tables import listed_cells
from isoflop.report.summary import Summary
from isoflop.store import Standing
from isoflop.view.table import Table
from isoflop.wording import SIMULATED_SENTENCE, one_line, runs

# Longer text than this may wrap; numbers and names stay on one line.
_WRAPPED_LENGTH = 28

_WORST_FIRST = (Severity.ERROR, Severity.WARNING, Severity.INFO)

_ROW_KIND = {
    Standing.USED: "",
    Standing.DIVERGED: "broken",
    Standing.FAILED: "broken",
    Standing.OFF_PLAN: "broken",
}


def render_html(summary: Summary, *, svg: str, growth: str | None = None) -> str:
    """The report as one HTML document; `svg` and `growth` are figures as SVG documents of ours.

    A browser that runs scripts shows the plots, any other, and paper, the drawn figure.
    """
    panels = plots(summary)
    title = f"{'SIMULATED ' if summary.simulated else ''}{summary.title}"
    scripts = (MARK_LIVE, plotly_script(), page_script())
    body = "\n".join(_body(summary, svg, growth, panels))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{content_policy(scripts)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_escape(title)}</title>\n<style>{page_style()}</style>\n<script>{MARK_LIVE}</script>\n</head>\n"
        f'<body>\n{body}\n<script type="application/json" id="plots">{plot_data(panels)}</script>\n'
        f"<script>{scripts[1]}</script>\n<script>{scripts[2]}</script>\n</body>\n</html>\n"
    )


def _body(summary: Summary, svg: str, growth: str | None, panels: dict[str, Plot]) -> Iterator[str]:
    yield f"<h1>{_escape(summary.title)}</h1>"
    yield f'<p class="soft">{_escape(summary.scope)}</p>'
    if summary.simulated:
        yield f'<p class="alarm">{_escape(SIMULATED_SENTENCE)}</p>'
    yield from _answer(summary)
    yield _figure(summary, svg, panels)
    yield '<h2 id="findings">Findings</h2>'
    yield _findings(summary.findings)
    yield from (_table(table) for table in summary.fit_tables)
    yield from _growth(summary, growth)
    if summary.runs is not None:
        kinds = [_ROW_KIND.get(cell.standing, "left-out") for cell in listed_cells(summary.source.cells)]
        yield _table(summary.runs, kinds)
    yield from (_table(table) for table in summary.metrics)
    yield _table(summary.provenance)
    commands = "\n".join(_escape(command) for command in reproduction(summary))
    yield f"<h2>Commands to reproduce</h2>\n<pre>{commands}</pre>"
    for spec in summary.source.specs:
        planned = spec.to_show()
        yield f"<details><summary>Sweep as planned</summary><pre>{escape(planned)}</pre></details>"
    yield f"<footer>isoflop {_escape(__version__)}, {_escape(summary.generated_at)}</footer>"


def _answer(summary: Summary) -> Iterator[str]:
    """The decision first and large, then what else is known, then what speaks against relying on it."""
    decision = summary.answer.decision
    yield f'<p class="decision">{_escape(decision)}</p>'
    yield from (f"<p>{_escape(sentence)}</p>" for sentence in summary.answer.sentences if sentence != decision)
    counts = [(severity, sum(found.severity is severity for found in summary.findings)) for severity in _WORST_FIRST]
    doubts = [(severity, number) for severity, number in counts if number and severity is not Severity.INFO]
    if doubts:
        words = ", ".join(f"{number} {severity}{'s' if number > 1 else ''}" for severity, number in doubts)
        yield f'<p class="{doubts[0][0]}">Before relying on it: <a href="#findings">{words} below</a>.</p>'


def _figure(summary: Summary, svg: str, panels: dict[str, Plot]) -> str:
    places = "".join(f'<div id="{name}"></div>' for name in panels)
    # The XML prologue of a stand-alone SVG has no place inside HTML.
    drawn = f'<div class="drawn">{svg[svg.index("<svg") :]}</div>'
    return f'<figure>\n<div class="plots">{places}</div>\n{drawn}\n{_caption(summary, panels)}\n</figure>'


def _growth(summary: Summary, svg: str | None) -> Iterator[str]:
    """How a sweep that steered itself grew: its table and its figure, an image so that no id is on the page twice."""
    table = growth_table(summary.rounds)
    if table is None:
        return
    yield _table(table)
    if svg is not None:
        source = f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"
        yield f'<p class="growth"><img src="{source}" alt="Interval of N_opt against FLOPs spent"></p>'


def _caption(summary: Summary, panels: dict[str, Plot]) -> str:
    marks = (
        "Points are runs, lines the fitted parabolas, diamonds their floors with "
        f"{percent(summary.fit.level)} intervals; hollow and dashed: a budget without a floor among its sizes."
    )
    marks += " Squares are completed runs that are left out of the fit." if _has_omissions(summary) else ""
    marks += " Open stars are confirm runs, which no line is fitted to." if summary.confirmations else ""
    absent = "" if len(panels) > 1 else " No floor lies inside the sizes trained, so there is no frontier to draw."
    n_runs = len(summary.source.rows)
    thinned = f" Of {runs(n_runs)} about {MOST_RUNS} are drawn." if n_runs > MOST_RUNS else ""
    hands = "Point at a mark for its details; drag to zoom, double-click to come back"
    hands += "; click a legend to hide what it names."
    return f'<figcaption>{marks}{absent} <span class="live-only">{hands}{thinned}</span></figcaption>'


def _has_omissions(summary: Summary) -> bool:
    return any(cell.completed and not cell.used for cell in summary.source.cells)


def _findings(findings: Sequence[Finding]) -> str:
    """The worst first, each with what to do about it."""
    ordered = sorted(findings, key=lambda finding: _WORST_FIRST.index(finding.severity))
    items = "\n".join(_finding(finding) for finding in ordered)
    return f'<ul class="findings">\n{items}\n</ul>' if items else "<p>None.</p>"


def _finding(finding: Finding) -> str:
    kind = _escape(finding.severity)
    return (
        f'<li class="{kind}"><p><span class="severity {kind}">{kind}</span> {_escape(finding.message)}</p>'
        f'<p class="soft">{_with_code(finding.hint)} <code>{_escape(finding.code)}</code></p></li>'
    )


def _with_code(text: str) -> str:
    """`text` in which what stands between backticks is set as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", _escape(text))


def _table(table: Table, kinds: Sequence[str] = ()) -> str:
    """`table` under its title; `kinds` are the classes of its rows."""
    head = "".join(_cell("th", column.heading, numeric=column.numeric) for column in table.columns)
    classes = kinds or [""] * len(table.rows)
    rows = "\n".join(
        f'<tr class="{kind}">{_row(table, row)}</tr>' if kind else f"<tr>{_row(table, row)}</tr>"
        for kind, row in zip(classes, table.rows, strict=True)
    )
    note = f'<p class="soft">{_escape(table.note)}</p>' if table.note else ""
    return (
        f'<h2>{_escape(table.title)}</h2>\n<div class="scroll" tabindex="0">'
        f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>{note}"
    )


def _row(table: Table, row: tuple[str, ...]) -> str:
    pairs = zip(table.columns, row, strict=True)
    return "".join(_cell("td", text, numeric=column.numeric) for column, text in pairs)


def _cell(tag: str, text: str, *, numeric: bool) -> str:
    kind = "number" if numeric else "words" if len(text) > _WRAPPED_LENGTH else "name"
    return f'<{tag} class="{kind}">{_escape(text)}</{tag}>'


def _escape(text: str) -> str:
    return escape(one_line(text))


def plots(summary: Summary) -> dict[str, Plot]:
    """The panels by the id of their place on the page; without any floor only the valleys."""
    fit, targets, laws = summary.fit, summary.targets, summary.laws
    n_confirmed, d_confirmed = confirmed_sizes(summary)
    optima = {
        "params": optimal_params(fit, targets, laws, n_confirmed),
        "tokens": optimal_tokens(fit, targets, laws, d_confirmed),
    }
    shown = {name: optimum for name, optimum in optima.items() if optimum.floors or optimum.law}
    frontier = {name: frontier_plot(optimum, summary) for name, optimum in shown.items()}
    return {"valleys": valley_plot(summary), **frontier}
