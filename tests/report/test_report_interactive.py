"""The plots as data: what is drawn, in which colour, and what a pointer is told."""

import dataclasses
import json

import matplotlib as mpl
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from isoflop.report.figure.valley_panel import draw_valleys
from isoflop.report.page.html import plots
from isoflop.report.page.plotly_valleys import MOST_RUNS
from isoflop.report.page.scripts import plot_data
from isoflop.report.ticks import MAX_TICKS, count_tick, flops_tick, tick_choices
from isoflop.sources.columns.loss_scale import PLAIN
from isoflop.sources.load import load_source
from tests.report.test_report_figures import SOURCES
from tests.report_examples import points_of, save_troubled_sweep, summary_of


def marks(plot, symbols=("circle", "circle-open")):
    """(x, y, hover, symbol, colour) of every run in a panel of valleys."""
    found = []
    for trace in plot["data"]:
        marker = trace.get("marker", {})
        if isinstance(marker.get("symbol"), list):
            rows = zip(trace["x"], trace["y"], trace["hovertext"], marker["symbol"], marker["color"], strict=True)
            found += [row for row in rows if row[3] in symbols]
    return found


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    db = tmp_path_factory.mktemp("report") / "isoflop.db"
    save_troubled_sweep(db)
    return load_source(str(db), db=db, sweep=None)


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_any_fit_becomes_plots(source):
    summary = summary_of(source)
    panels = json.loads(plot_data(plots(summary)))
    floors = any(profile.n_opt is not None for profile in summary.fit.profiles)
    assert list(panels) == (["valleys", "params", "tokens"] if floors else ["valleys"])
    assert len(marks(panels["valleys"])) == len(source.rows)
    for panel in panels.values():
        for axis, choices in panel["ticks"].items():
            logarithmic = panel["layout"][axis].get("type") == "log"
            assert bool(choices) is logarithmic


def test_every_row_of_a_table_is_a_point_that_says_what_it_is():
    source = points_of(1e12, 1e13)
    found = marks(plots(summary_of(source))["valleys"])
    for (x, y, hover, _, _), (number, point) in zip(found, enumerate(source.rows, start=1), strict=True):
        assert (x, y) == pytest.approx((point.n_params, point.loss), rel=1e-5)
        assert hover.startswith(f"<b>row {number}</b><br>{point.budget_flops:.2e} FLOPs".replace("e+", "e"))


def test_a_run_says_everything_that_is_known_of_it(cells):
    result = dataclasses.replace(cells.cells[1].result, bits_per_byte=1.25, model_flops_utilisation=0.375)
    known = dataclasses.replace(cells.cells[1], result=result, seed=7)
    source = dataclasses.replace(cells, cells=(*cells.cells[:1], known, *cells.cells[2:]))
    [hover] = [hover for *_, hover, _, _ in marks(plots(summary_of(source))["valleys"]) if known.run_id in hover]
    assert hover.split("<br>") == [
        f"<b>run {known.run_id}</b>",
        "1.00e12 FLOPs: N 39.2k, D 4.78M, 122 tokens/param",
        f"loss {result.val_loss:.4f} ± 0.01, 1.2500 bits/byte",
        "2x32 (heads 2x8, ff 96), seed 7",
        "18682 steps of 256 tokens, peak rate 0.01",
        "Some CPU, 12s, 2.56k tokens/s, 37.5 % of peak FLOP/s",
    ]


def test_a_completed_run_outside_the_fit_is_a_hollow_square_that_says_why(cells):
    panel = plots(summary_of(cells))["valleys"]
    [trace] = [trace for trace in panel["data"] if trace.get("name") == "not in the fit"]
    assert trace["marker"]["symbol"] == "square-open"
    assert sorted(trace["text"]) == ["check run", "excluded", "off plan"]
    said = {label: hover.split("<br>")[-1] for label, hover in zip(trace["text"], trace["hovertext"], strict=True)}
    assert said["excluded"] == "not in the fit: excluded (wrong corpus [red]mounted)"
    assert said["check run"] == "not in the fit: check run (probe)"
    completed = [cell for cell in cells.cells if cell.completed]
    assert len(marks(panel)) + 3 == len(completed)


def test_plots_and_the_drawn_figure_have_the_same_colours():
    summary = summary_of(points_of(1e12, 1e13, 1e14, floors=(0.0, 0.9, 0.0)))
    axes = Figure().subplots()
    with mpl.rc_context():
        draw_valleys(axes, summary.fit, summary.source.rows, scale=PLAIN)
    drawn = [to_hex(color) for collection in axes.collections for color in collection.get_edgecolors()]
    assert [color for *_, color in marks(plots(summary)["valleys"])] == drawn
    hollow = {symbol for *_, symbol, _ in marks(plots(summary)["valleys"])[7:14]}
    assert hollow == {"circle-open"}


def test_a_law_and_its_band_are_those_of_the_fit():
    summary = summary_of(points_of(1e12, 1e13, 1e14, floors=(0.1, 0.0, 0.1)), targets=(1e16,))
    recommended, target = summary.fit.estimators.recommended, summary.targets[0]
    low, high, everywhere, *_ = plots(summary)["params"]["data"]
    assert (low["y"][-1], high["y"][-1]) == pytest.approx(target.n_opt_ci_statistical, rel=1e-5)
    assert everywhere["x"][-1] == pytest.approx(1e16, rel=1e-5)
    assert everywhere["y"][0] == pytest.approx(10 ** recommended.n_line.at(12)[0], rel=1e-5)
    bars = plots(summary)["params"]["data"][-1]["error_y"]
    assert target.n_opt + bars["array"][0] == pytest.approx(target.n_opt_ci[1], rel=1e-5)
    assert target.n_opt - bars["arrayminus"][0] == pytest.approx(target.n_opt_ci[0], rel=1e-4)


@pytest.mark.slow
def test_ten_thousand_rows_are_thinned_and_stay_few_elements():
    source = points_of(*(10 ** (18 + k / 2500) for k in range(10_000)), n_sizes=1)
    panel = plots(summary_of(source))["valleys"]
    assert MOST_RUNS / 2 < len(marks(panel)) <= MOST_RUNS
    assert len(panel["data"]) < 10
    assert len(plot_data({"valleys": panel})) < 1_500_000


@pytest.mark.parametrize("simulated", [True, False], ids=["simulated", "real"])
def test_every_plot_says_simulated_exactly_when_it_is(simulated):
    for panel in plots(summary_of(points_of(1e12, 1e13, 1e14, simulated=simulated))).values():
        assert panel["layout"]["title"]["text"].startswith("<b>SIMULATED: ") is simulated
        assert [note["text"] for note in panel["layout"]["annotations"]] == ["SIMULATED"] * simulated


def test_of_the_choices_of_ticks_one_suits_any_range_that_is_zoomed_to():
    choices = tick_choices(3e6, 4e9, count_tick)
    assert tuple(count_tick(value) for value in (1.5e6, 3e8, 1e10)) == ("1.5M", "300M", "10B")
    assert tuple(flops_tick(value) for value in (1e20, 1.5e21)) == ("1e20", "1.5e21")
    for low, high in ((3e6, 4e9), (3e6, 3e7), (1e8, 2e8), (1.1e8, 1.6e8)):
        counts = [sum(low <= value <= high for value, _ in ticks) for ticks in choices]
        assert counts == sorted(counts, reverse=True)
        assert next(count for count in counts if count <= MAX_TICKS) >= 2
