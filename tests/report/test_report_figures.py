import dataclasses
import math
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from isoflop.fit.laws import PUBLISHED
from isoflop.fit.results.sweep_fit import Cloud
from isoflop.report.figure import valley_panel
from isoflop.report.figure.figure import render_figure
from isoflop.report.figure.frontier_panel import draw_params, draw_tokens
from isoflop.report.frontier_curves import MOST_LAWS_INSIDE
from isoflop.report.ticks import MAX_TICKS, log_ticks, tick_choices
from isoflop.sources.load import load_source
from tests.report_examples import LLAMA3, points_of, summary_of

PNG_HEADER = b"\x89PNG\r\n\x1a\n"

SOURCES = {
    "three_budgets": points_of(1e12, 1e13, 1e14, floors=(0.1, 0.0, -0.1)),
    "some_outside": points_of(1e12, 1e13, 1e14, floors=(0.0, 0.9, -0.9)),
    "none_inside": points_of(1e12, 1e13, floors=(0.9, -0.9)),
    "one_budget": points_of(1e12),
    "one_run": points_of(1e12, n_sizes=1),
    "too_few_runs": points_of(1e12, 1e13, n_sizes=3),
    "many_budgets": points_of(*(10 ** (12 + k / 10) for k in range(60))),
    "ungrouped": points_of(*(10 ** (12 + k / 100) for k in range(240)), n_sizes=1),
    "huge": points_of(1e303, 1e304, 1e305),
    "nasty_name": points_of(1e12, 1e13, label="$\\frac{$ <b> & \x1b --> $_^"),
}


@pytest.fixture(scope="module")
def llama3():
    return summary_of(load_source(str(LLAMA3), db=Path("none.db"), sweep=None), targets=(1e24,))


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_any_fit_can_be_drawn(source):
    images = render_figure(summary_of(source))
    assert ElementTree.fromstring(images.svg).tag.endswith("svg")
    assert images.png.startswith(PNG_HEADER)


def test_the_png_is_fine_enough_for_print():
    png = render_figure(summary_of(points_of(1e12, 1e13))).png
    width, height = (int.from_bytes(png[start : start + 4]) for start in (16, 20))
    assert width >= 1500
    assert height >= 1200


@pytest.mark.slow
def test_equal_summaries_give_equal_files():
    first, second = (render_figure(summary_of(points_of(1e12, 1e13, 1e14))) for _ in range(2))
    assert first == second


@pytest.mark.slow
def test_a_persons_matplotlib_settings_change_nothing():
    plain = render_figure(summary_of(points_of(1e12, 1e13))).svg
    with mpl.rc_context({"axes.facecolor": "red", "svg.fonttype": "none", "svg.hashsalt": "mine", "font.size": 20}):
        assert render_figure(summary_of(points_of(1e12, 1e13))).svg == plain
        assert mpl.rcParams["font.size"] == 20


def test_each_budget_is_one_colour_in_the_legend_and_a_budget_without_floor_is_named():
    svg = render_figure(summary_of(points_of(1e12, 1e13, floors=(0.0, 0.9)))).svg
    assert "<!-- 1.00e12 -->" in svg
    assert "<!-- 1.00e13 (above sizes) -->" in svg
    assert "stroke-dasharray" in svg


@pytest.mark.slow
def test_many_budgets_have_no_legend_of_their_own():
    svg = render_figure(summary_of(SOURCES["many_budgets"])).svg
    assert "<!-- training FLOPs -->" not in svg


def test_the_published_laws_are_in_the_figure(llama3):
    svg = render_figure(llama3).svg
    assert "<!-- parabola: 0.299 C^0.537 -->" in svg
    assert "<!-- parabola: 0.557 C^0.463 -->" in svg
    assert f"C^{llama3.fit.estimators.recommended.estimate.exponent_a:.3f} -->" in svg


@pytest.mark.parametrize(
    ("draw", "line", "coefficient", "exponent"),
    [(draw_params, "n_line", "coef_n", "exponent_a"), (draw_tokens, "d_line", "coef_d", "exponent_b")],
    ids=["params", "tokens"],
)
def test_the_line_is_the_recommended_law_dashed_where_it_extrapolates_the_parabola_dotted_beside_it(
    llama3, draw, line, coefficient, exponent
):
    frontier, axes = llama3.fit.frontier, Figure().subplots()
    recommended = getattr(llama3.fit.estimators.recommended, line)
    draw(axes, llama3.fit, llama3.targets)
    lines = {line.get_linestyle(): line for line in axes.lines if len(line.get_xdata()) > 2}
    for style, end in (("--", 1e24), ("-", 1e22)):
        budgets, optima = lines[style].get_data()
        assert budgets[-1] == pytest.approx(end)
        law = [10 ** recommended.at(math.log10(budget))[0] for budget in budgets]
        assert optima == pytest.approx(law)
    budgets, optima = lines[":"].get_data()
    assert optima == pytest.approx(getattr(frontier, coefficient) * budgets ** getattr(frontier, exponent))


def test_the_band_ends_in_the_statistical_interval_of_the_target(llama3):
    axes = Figure().subplots()
    draw_params(axes, llama3.fit, llama3.targets)
    edge = axes.collections[0].get_paths()[0].vertices
    at_target = edge[edge[:, 0] == edge[:, 0].max(), 1]
    assert (at_target.min(), at_target.max()) == pytest.approx(llama3.targets[0].n_opt_ci_statistical)


@pytest.mark.slow
def test_drawing_needs_no_display():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from tests.report_examples import *; from isoflop.report.figure.figure import render_figure\n"
        "render_figure(summary_of(points_of(1e12, 1e13)))\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    environment = {**os.environ, "DISPLAY": "", "MPLBACKEND": "tkagg"}
    command = [sys.executable, "-c", code, str(Path(__file__).parents[2])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(("low", "high"), [(1e5, 2e5), (3e4, 3e6), (1e3, 1e12), (1e-3, 1e300), (1.1e5, 1.2e5)], ids=str)
def test_logarithmic_ticks_are_few_round_and_inside(low, high):
    ticks = log_ticks(low, high)
    assert len(ticks) <= MAX_TICKS
    assert all(low <= tick <= high for tick in ticks)
    assert all(f"{tick:.0e}" == f"{tick:.6e}".replace(".000000", "") for tick in ticks)


@pytest.mark.parametrize("ends", [(1e290, 1.7e308), (5e-324, 1e-300), (1e12, 1e13)], ids=["huge", "tiny", "usual"])
def test_ticks_are_finite_at_the_ends_of_what_a_float_holds(ends):
    assert all(math.isfinite(tick) and tick > 0 for tick in log_ticks(*ends))
    assert all(math.isfinite(tick) and tick > 0 for choice in tick_choices(*ends, str) for tick, _ in choice)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 3, len(PUBLISHED)])
def test_few_published_laws_are_named_beside_the_curves_and_many_below_the_panels(llama3, count):
    svg = render_figure(dataclasses.replace(llama3, laws=PUBLISHED[:count])).svg
    assert svg.count(f"<!-- {PUBLISHED[0].label} -->") == (2 if count <= MOST_LAWS_INSIDE else 1)


def test_a_cloud_is_drawn_into_both_panels_and_named(llama3):
    line = llama3.fit.estimators.recommended.n_line
    with_cloud = dataclasses.replace(llama3.fit, cloud=Cloud((line,) * 30, (line,) * 20))
    for draw, number in ((draw_params, 30), (draw_tokens, 20)):
        plain, cloudy = Figure().subplots(), Figure().subplots()
        draw(plain, llama3.fit, llama3.targets)
        draw(cloudy, with_cloud, llama3.targets)
        (strands,) = [one for one in cloudy.collections if one not in plain.collections and len(one.get_paths()) > 1]
        assert len(strands.get_paths()) == number
        labels = [text.get_text() for text in cloudy.get_legend().get_texts()]
        assert f"surface, {number} resamples of the runs" in labels
        assert cloudy.get_xlim() == plain.get_xlim()


@pytest.mark.slow
def test_a_great_many_runs_are_an_image_inside_the_svg(monkeypatch):
    source = points_of(1e12, 1e13, 1e14, n_sizes=9)
    drawn = render_figure(summary_of(source)).svg
    monkeypatch.setattr(valley_panel, "MOST_VECTORS", 20)
    rasterized = render_figure(summary_of(source)).svg
    assert "<image" in rasterized and "<image" not in drawn
    assert rasterized.count("<use ") < drawn.count("<use ") - 20
