"""Terminal, Markdown, JSON and CSV."""

import csv
import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from isoflop.report.figure.figure import render_figure
from isoflop.report.fit_document import fit_document
from isoflop.report.frontier_csv import COLUMNS, render_frontier_csv
from isoflop.report.markdown import render_markdown
from isoflop.report.page.html import render_html
from isoflop.report.terminal import print_summary
from isoflop.sources.load import load_source
from isoflop.units import format_flops
from isoflop.view.document import dumps
from isoflop.wording import count
from tests.report.pages import Page
from tests.report_examples import points_of, save_troubled_sweep, summary_of

NASTY = "<script>alert(1)</script>[red]x|`*$\\frac$&amp;\x1b[31m"


@pytest.fixture(scope="module")
def troubled(tmp_path_factory):
    db = tmp_path_factory.mktemp("report") / "isoflop.db"
    save_troubled_sweep(db)
    return summary_of(load_source(str(db), db=db, sweep=None), targets=(1e14,))


@pytest.fixture(scope="module")
def nasty():
    return summary_of(points_of(1e12, 1e13, 1e14, label=NASTY, simulated=True), commands=[[NASTY]])


def terminal_text(summary, width=80):
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    print_summary(summary, console)
    return console.file.getvalue()


def test_the_terminal_gives_the_answer_first_and_fits_80_columns(troubled):
    lines = terminal_text(troubled).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "IsoFLOP fit of demo"
    order = [next(i for i, line in enumerate(lines) if line.startswith(start)) for start in
             ("Compute-optimal:", "For 1.00e14 FLOPs", "Frontier", "Targets", "Profiles", "Findings")]  # fmt: skip
    assert order == sorted(order)


def test_no_row_of_a_table_wraps_at_80_columns(troubled):
    rows = [line for line in terminal_text(troubled).splitlines() if re.match(r"[0-9.]+e[0-9]+ ", line)]
    assert len(rows) == 2 * len(troubled.fit.targets) + len(troubled.fit.profiles)  # targets and their bands


def test_a_wide_terminal_shows_every_column(troubled):
    assert "curvature" not in terminal_text(troubled, width=80)
    assert "curvature" in terminal_text(troubled, width=160)


def test_a_narrow_terminal_folds_and_never_cuts(troubled):
    shown = terminal_text(troubled, width=50)
    assert max(map(len, shown.splitlines())) <= 50
    assert not {"\u2026", "..."} & set(shown.split())


def test_findings_come_with_their_hints(troubled):
    shown = " ".join(terminal_text(troubled).split())
    for finding in troubled.findings:
        assert " ".join(finding.hint.split()) in shown


def test_a_name_is_never_markup_on_a_terminal(nasty):
    shown = terminal_text(nasty)
    assert "<script>alert(1)</script>[red]x|`*$\\frac$&amp; [31m" in shown
    assert "\x1b" not in shown


def test_a_name_is_never_markup_in_markdown(nasty):
    text = render_markdown(nasty, figure="figure.png")
    assert "<script" not in text
    assert "\\[red\\]x\\|\\`\\*$" in text
    assert "\x1b" not in text


def test_markdown_tables_have_as_many_cells_as_headings(troubled, nasty):
    for summary in (troubled, nasty):
        text = render_markdown(summary, figure="figure.png")
        blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
        assert len(blocks) == (9 if summary is troubled else 5)
        for block in blocks:
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block}) == 1


def test_markdown_holds_the_figure_the_answer_and_all_findings(troubled):
    text = render_markdown(troubled, figure="figure.png")
    assert "![Profiles and frontier](figure.png)" in text
    assert all(sentence in text for sentence in troubled.answer.sentences)
    assert text.count("\n- **") == len(troubled.findings)
    assert '"name": "demo"' in text


def test_the_json_document_has_exactly_these_keys(troubled):
    document = json.loads(dumps(fit_document(troubled)))
    assert list(document) == [
        "schema_version", "sweep", "source", "sources", "simulated", "param_count", "flop_count", "level", "profiles",
        "frontier",
        "estimators", "targets", "scorecard", "credible_decades", "loss_credible_decades", "suggested", "findings",
        "n_budgets", "bootstrap", "conventions", "decisions", "laws", "confirmations", "rounds", "metric", "measures",
        "run_metrics",
    ]  # fmt: skip
    assert (document["schema_version"], document["sweep"], document["param_count"]) == (1, "demo", "total")
    assert document["source"].endswith("isoflop.db")
    assert [target["budget_flops"] for target in document["targets"]] == [1e14]
    codes = [finding["code"] for finding in document["findings"]]
    assert codes[:5] == ["runs_pending", "runs_diverged", "runs_failed", "flops_mismatch", "runs_excluded"]
    assert codes[5:] == [finding.code for finding in troubled.fit.findings]


def test_the_json_document_of_a_table_has_no_sweep_and_no_unasked_target():
    document = fit_document(summary_of(points_of(1e12, 1e13, 1e14)))
    assert (document["sweep"], document["source"], document["param_count"]) == (None, "made-up.csv", "as_given")
    assert document["targets"] == []


def test_json_refuses_a_number_that_is_none():
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps({"loss": float("nan")})


def test_the_frontier_csv_reads_back(troubled):
    rows = list(csv.DictReader(io.StringIO(render_frontier_csv(troubled))))
    frontier = troubled.fit.frontier
    assert [float(row["n_opt"]) for row in rows] == [profile.n_opt for profile in troubled.fit.profiles]
    assert [float(row["d_opt_high"]) for row in rows] == [profile.d_opt_ci[1] for profile in troubled.fit.profiles]
    for row in rows:
        assert float(row["frontier_d_opt"]) == pytest.approx(
            frontier.coef_d * float(row["budget_flops"]) ** frontier.exponent_b, rel=1e-12
        )
        assert (row["vertex"], row["param_count"], row["simulated"]) == ("inside", "total", "false")


def test_the_frontier_csv_says_what_page_and_terminal_say_of_every_budget_and_what_the_parabola_says(troubled):
    budgets = [profile.budget_flops for profile in troubled.fit.profiles]
    asked = summary_of(troubled.source, targets=budgets)
    rows = list(csv.DictReader(io.StringIO(render_frontier_csv(asked))))
    terminal, page = " ".join(terminal_text(asked).split()), Page(render_html(asked, svg="<svg></svg>")).text
    for row, law in zip(rows, asked.readings.rows, strict=True):
        values = {name: float(row[name]) for name in ("budget_flops", *row) if "_opt" in name or "budget" in name}
        n_bounds, d_bounds = (
            f"{count(values[f'{letter}_opt_recommended_low'])} to {count(values[f'{letter}_opt_recommended_high'])}"
            for letter in "nd"
        )
        said = (
            f"For {format_flops(values['budget_flops'])} FLOPs: {count(values['n_opt_recommended'])} parameters "
            f"(90 % interval {n_bounds}) on {count(values['d_opt_recommended'])} tokens ({d_bounds})"
        )
        assert said in terminal and said in page
        assert count(values["n_opt_parabola"]) == dict(zip(headings(asked.readings), law, strict=True))["parabola"]
        assert (row["n_opt_parabola"], row["d_opt_parabola"]) == (row["frontier_n_opt"], row["frontier_d_opt"])
    assert any(row["n_opt_recommended"] != row["n_opt_parabola"] for row in rows)


def test_the_frontier_csv_of_the_quick_start_is_that_of_its_report():
    folder = Path(__file__).parents[2] / "docs" / "quickstart"
    document = json.loads((folder / "report.json").read_text())
    rows = list(csv.DictReader(io.StringIO((folder / "frontier.csv").read_text())))
    readings, parabola = document["estimators"]["recommended"]["readings"], document["frontier"]
    assert tuple(rows[0]) == COLUMNS
    for row, reading, profile in zip(rows, readings, document["profiles"], strict=True):
        for name in ("n_opt", "d_opt"):
            found = [row[f"{name}_recommended{end}"] for end in ("", "_low", "_high")]
            assert list(map(float, found)) == [reading[name], *reading[f"{name}_ci"]]
            assert float(row[name]) == profile[name]
        assert float(row["n_opt_parabola"]) == parabola["coef_n"] * row_budget(row) ** parabola["exponent_a"]


def row_budget(row):
    return float(row["budget_flops"])


def headings(table):
    return [column.heading for column in table.columns]


def test_what_is_not_known_is_empty_in_the_frontier_csv():
    rows = list(csv.DictReader(io.StringIO(render_frontier_csv(summary_of(points_of(1e12, 1e13, floors=(0.9, 0.0)))))))
    assert rows[0]["vertex"] == "above"
    assert [rows[0][name] for name in ("n_opt", "n_opt_low", "d_opt", "loss_opt", "frontier_n_opt")] == [""] * 5
    unknown = ("n_opt_recommended", "n_opt_recommended_low", "d_opt_recommended_high", "n_opt_parabola")
    assert [rows[0][name] for name in unknown] == [""] * 4


@pytest.mark.slow
def test_every_text_says_simulated_exactly_when_it_is(nasty, troubled):
    for summary in (nasty, troubled):
        svg = render_figure(summary).svg
        page = Page(render_html(summary, svg=svg)).text
        texts = [terminal_text(summary), render_markdown(summary, figure="f"), page, svg]
        assert ["SIMULATED" in text for text in texts] == [summary.simulated] * 4
        assert fit_document(summary)["simulated"] is summary.simulated
        flags = {row["simulated"] for row in csv.DictReader(io.StringIO(render_frontier_csv(summary)))}
        assert flags == {str(summary.simulated).lower()}
