"""The HTML page: what it holds and in which order, and that a stranger's text stays text."""

import base64
import dataclasses
import hashlib
import json
import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from isoflop.report.page.html import render_html
from isoflop.report.reproduce import reproduction
from isoflop.sources.load import load_source
from isoflop.units import parse_quantity
from tests.cli.test_cli_surface import SURFACE
from tests.report.pages import Page
from tests.report_examples import points_of, save_troubled_sweep, summary_of

EVIL = '</script><img src=x onerror=\'document.title="owned"\'><!--<script>" & &lt; \u2028\u2029 %{x} `$'
SHOWN = "".join(character if character.isprintable() else " " for character in EVIL)
# What is shown of the drawn figure is tested with it; here any SVG will do.
SVG = '<?xml version="1.0"?>\n<!DOCTYPE svg>\n<svg xmlns="http://www.w3.org/2000/svg"><g/></svg>'


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A sweep in which everything has happened."""
    db = tmp_path_factory.mktemp("report") / "isoflop.db"
    save_troubled_sweep(db)
    return load_source(str(db), db=db, sweep=None)


@pytest.fixture(scope="module")
def summary(source):
    return summary_of(source, targets=(1e15, 3e14))


@pytest.fixture(scope="module")
def page(summary):
    return Page(render_html(summary, svg=SVG))


def attack(source):
    """The same sweep, with markup in every text that comes from elsewhere."""
    cells = tuple(_marked(cell) for cell in source.cells)
    return dataclasses.replace(source, cells=cells, label=EVIL, path=Path(EVIL), corpus_fingerprint=EVIL)


def _marked(record):
    """A cell or a result with markup in its texts."""
    texts = {"device", "host", "git_commit", "torch_version", "isoflop_version", "log_path"}
    texts |= {name for name in ("reason", "excluded", "drop_reason") if getattr(record, name, None) is not None}
    changes = dict.fromkeys(texts & {field.name for field in dataclasses.fields(record)}, EVIL)
    if getattr(record, "result", None):
        changes["result"] = _marked(record.result)
    return dataclasses.replace(record, **changes)


@pytest.fixture(scope="module")
def attacked(source):
    return summary_of(attack(source), commands=[["isoflop", "report", EVIL]])


SECTIONS = (
    "Findings", "Frontier", "Targets", "Sizes nearly as good", "Shapes for 1.00e15 FLOPs", "Smaller models",
    "Shapes for 3.00e14 FLOPs", "Smaller models", "Profiles", "Conventions", "Runs", "Provenance",
    "Commands to reproduce",
)  # fmt: skip


def test_the_page_reads_from_the_answer_to_the_commands(page):
    assert page.texts("h1") == ["IsoFLOP fit of demo"]
    assert page.texts("h2") == [
        *SECTIONS,
    ]  # fmt: skip
    words = page.text
    order = [words.index(text) for text in ("For 1.00e15 FLOPs", "Compute-optimal:", "Points are runs", "Findings")]
    assert order == sorted(order)


def test_the_decision_is_one_sentence_on_the_largest_target(page, summary):
    decisions = [attrs for tag, attrs in page.elements if attrs.get("class") == "decision"]
    assert len(decisions) == 1
    first, *_ = [text for text in page.texts("p") if text in summary.answer.sentences]
    assert first == summary.answer.sentences[2] == summary.answer.decision
    assert first.startswith("For 1.00e15 FLOPs")
    assert all(page.text.count(sentence) == 1 for sentence in summary.answer.sentences)


def test_without_a_frontier_the_page_says_so_in_place_of_a_decision():
    page = Page(render_html(summary_of(points_of(1e12, 1e13, floors=(0.9, -0.9))), svg=SVG))
    first = page.texts("p")[1]
    assert first.startswith("No compute-optimal frontier: 0 of 2 budgets")
    assert "no frontier to draw" in page.text


def test_findings_come_worst_first_with_their_hints_and_are_announced_at_the_top(page, summary):
    severities = [text for text in page.texts("span") if text in ("error", "warning", "info")]
    assert severities == sorted(severities, key=("error", "warning", "info").index)
    assert len(severities) == len(summary.findings)
    for finding in summary.findings:
        assert finding.message in page.text
        assert finding.hint.replace("`", "") in page.text
    n_warnings = severities.count("warning")
    assert severities.count("error") == 1 and n_warnings > 1
    assert page.text.index(f"1 error, {n_warnings} warnings below") < page.text.index("Findings")


def test_the_page_holds_the_figure_and_every_row_of_every_table(page, summary):
    assert page.tags.count("svg") == 1
    assert page.tags.count("table") == 11
    for row in (*summary.runs.rows, *summary.provenance.rows, *summary.profiles.rows):
        assert all(cell in page.text for cell in row)


def test_runs_that_broke_or_were_left_out_look_different(page):
    kinds = [attrs.get("class") for tag, attrs in page.elements if tag == "tr"]
    assert kinds.count("broken") == 3  # diverged, failed, off plan
    assert kinds.count("left-out") == 4  # excluded, pending, check run, dropped


def test_exactly_the_scripts_of_ours_are_allowed(page):
    kinds = [kind for kind, _ in page.scripts]
    assert kinds == [None, "application/json", None, None]
    hashes = {
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for kind, text in page.scripts
        if kind is None
    }
    assert set(page.policy["script-src"]) == hashes
    assert page.policy["default-src"] == page.policy["base-uri"] == page.policy["form-action"] == ["'none'"]


def test_the_page_asks_for_nothing_from_elsewhere(page, summary):
    assert {"link", "img", "iframe", "object", "embed", "base", "form"}.isdisjoint(page.tags)
    loaded = [value for name, value in page.attributes if name in ("src", "href", "xlink:href", "action", "srcset")]
    assert [value for value in loaded if not value.startswith("#")] == []
    assert not any(name.startswith("on") for name, _ in page.attributes)
    html = render_html(summary, svg=SVG)
    plotly = max((text for _, text in page.scripts), key=len)
    assert html.count(plotly) == 1
    addresses = re.findall(r"https?://[^\s\"'<]*", html.replace(plotly, ""))
    assert addresses == ["http://www.w3.org/2000/svg"]  # the name of a language, not a place
    assert "url(" not in html.replace(plotly, "") and "@import" not in html.replace(plotly, "")


def test_a_strangers_text_stays_text(attacked):
    page = Page(render_html(attacked, svg=SVG))
    assert [kind for kind, _ in page.scripts] == [None, "application/json", None, None]
    assert {"img", "link", "iframe"}.isdisjoint(page.tags)
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert page.text.count(SHOWN) >= 10
    assert SHOWN in page.texts("h1")[0]
    assert SHOWN in page.texts("title")[0]


def test_the_data_of_the_plots_is_json_that_cannot_end_its_element(attacked):
    [data] = [text for kind, text in Page(render_html(attacked, svg=SVG)).scripts if kind == "application/json"]
    assert not set("<>&\u2028\u2029") & set(data)
    plots = json.loads(data)
    hovers = [text for trace in plots["valleys"]["data"] for text in trace.get("hovertext", [])]
    shown = SHOWN.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    runs = [text for text in hovers if text.startswith("<b>run ")]
    assert len(runs) == len(attacked.source.rows) + 3
    assert all(shown in text for text in runs)
    assert not any("<img" in text for text in hovers)


def test_a_simulated_page_says_so_first():
    page = Page(render_html(summary_of(points_of(1e12, 1e13, 1e14, simulated=True)), svg=SVG))
    assert page.texts("title")[0].startswith("SIMULATED ")
    assert page.text.index("SIMULATED: no model was trained") < page.text.index("For 1.00e15 FLOPs")


def test_the_commands_to_reproduce_go_from_the_plan_to_the_report(summary, source):
    lines = [shlex.split(line) for line in reproduction(summary)]
    assert [words[1] for words in lines] == ["plan", "run", "fit", "report"]
    for _, name, file, *options in lines:
        assert file == "demo.toml"
        assert {word for word in options if word.startswith("--")} <= SURFACE[name]
        assert options[:2] == ["--db", str(source.path)]
    targets = [parse_quantity(word, what="t") for before, word in pairwise(lines[2]) if before == "--target"]
    assert targets == [1e15, 3e14]


def test_the_commands_to_reproduce_name_the_sweep_file_that_was_named_and_end_as_it_was(source):
    recorded = "isoflop report 'my sweeps/x.toml' --out here"
    named = dataclasses.replace(source, path=Path("isoflop.db"), file=Path("my sweeps/x.toml"))
    lines = reproduction(summary_of(named, commands=[shlex.split(recorded)]))
    assert lines == (
        "isoflop plan 'my sweeps/x.toml'", "isoflop run 'my sweeps/x.toml'", "isoflop fit 'my sweeps/x.toml'", recorded,
    )  # fmt: skip


def test_a_table_of_other_peoples_runs_is_only_fitted():
    assert reproduction(summary_of(points_of(1e12, 1e13), targets=(3.8e25,))) == (
        "isoflop fit made-up.csv --target 3.8e+25",
        "isoflop report made-up.csv --target 3.8e+25",
    )


def test_the_fit_command_has_the_options_of_the_report_that_fit_knows(source):
    recorded = "isoflop report demo.toml --bootstrap 20 --window 0.6 --out=there --bootstrap=5 --params matmul --json"
    lines = reproduction(
        summary_of(dataclasses.replace(source, path=Path("other.db")), commands=[shlex.split(recorded)])
    )
    assert "isoflop fit demo.toml --window 0.6 --params matmul --db other.db" in lines
