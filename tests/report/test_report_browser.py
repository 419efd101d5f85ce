"""The page in a real browser: it draws, answers the pointer, complains of nothing and asks nobody."""

import json
import time

import pytest

from isoflop.report.figure.figure import render_figure
from isoflop.report.page.html import render_html
from isoflop.sources.load import load_source
from tests.report.chromium import PATIENCE, Chromium, missing
from tests.report.test_report_page import EVIL, SHOWN, attack
from tests.report_examples import LLAMA3, points_of, save_troubled_sweep, summary_of

pytestmark = [pytest.mark.slow, pytest.mark.skipif(missing() is not None, reason=str(missing()))]

DRAWN = "document.querySelectorAll('.scatterlayer .trace').length"
PLOTTED = "[...document.querySelectorAll('.plots > div')].every((place) => place.querySelector('.modebar-container'))"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A sweep in which everything has happened, with markup in every text that comes from elsewhere."""
    db = tmp_path_factory.mktemp("report") / "isoflop.db"
    save_troubled_sweep(db)
    return summary_of(attack(load_source(str(db), db=db, sweep=None)), commands=[[EVIL]])


@pytest.fixture(scope="module")
def html(sweep):
    return render_html(sweep, svg=render_figure(sweep).svg)


@pytest.fixture(scope="module")
def path(html, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(html)
    return path


@pytest.fixture
def opened(browser):
    """Opens a page, waits for its plots, and closes it after the test: a page behind another is slow."""
    pages = []

    def opens(path, *, wait=PLOTTED, **how):
        pages.append(browser.open(path, **how))
        pages[-1].wait_until(wait)
        return pages[-1]

    yield opens
    for page in pages:
        page.close()


def wait_for_file(path):
    soon = time.monotonic() + PATIENCE
    # there is no telling a file that is made from one that is written but by what it holds
    while not (path.exists() and path.stat().st_size) and time.monotonic() < soon:
        time.sleep(0.05)


def shown(page, selector):
    return page.evaluate(f"getComputedStyle(document.querySelector({json.dumps(selector)})).display") != "none"


def point_at_a_run(page, number):
    """Nothing; the mouse is on the run of that number in the panel of valleys."""
    place = page.evaluate(
        f"""(() => {{
          const mark = document.querySelectorAll("#valleys .scatterlayer .point")[{number}];
          mark.scrollIntoView({{ block: "center" }});
          const box = mark.getBoundingClientRect();
          return [box.x + box.width / 2, box.y + box.height / 2];
        }})()"""
    )
    page.point_at(*place)
    page.wait_until("document.querySelector('#valleys .hoverlayer .hovertext')")


@pytest.mark.parametrize(("width", "dark"), [(1400, False), (390, True)], ids=["wide", "narrow_dark"])
def test_the_page_draws_fits_and_complains_of_nothing(opened, path, width, dark):
    page = opened(path, width=width, dark=dark)
    assert page.evaluate(DRAWN) > 10
    assert shown(page, ".plots") and not shown(page, ".drawn")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.body.scrollWidth") <= width
    assert page.complaints() == []
    assert page.requests() == [page.url]


@pytest.mark.parametrize("width", [1400, 390], ids=["wide", "narrow"])
def test_pointing_at_a_run_names_it(opened, path, sweep, width):
    page = opened(path, width=width)
    point_at_a_run(page, 2)
    label = page.evaluate("document.querySelector('#valleys .hoverlayer .hovertext').textContent")
    used = [cell for cell in sweep.source.cells if cell.run_id and cell.run_id in label]
    assert len(used) == 1
    assert f"loss {used[0].result.val_loss:.4f} ± 0.01" in label
    assert " ".join(SHOWN.split()) in " ".join(label.split())
    assert page.evaluate("document.querySelectorAll('.hoverlayer a, .hoverlayer image').length") == 0
    assert page.complaints() == []


def test_an_injected_script_does_not_run(opened, path):
    page = opened(path)
    assert page.evaluate("document.title").startswith("IsoFLOP fit of ")
    assert page.evaluate("document.images.length") == 0
    # Neither would one that had got past the escaping.
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"document.title=1\">')")
    page.wait_until("document.images[0].complete")
    assert page.evaluate("document.title") != "1"
    assert "Content Security Policy" in str(page.complaints())


def test_zooming_renews_the_ticks(opened, path):
    page = opened(path)
    ticks = "[...document.querySelectorAll('#valleys .xtick text')].map((tick) => tick.textContent)"
    before = page.evaluate(ticks)
    page.evaluate("Plotly.relayout('valleys', {'xaxis.range': [5, 5.15]}).then(() => 'done')")
    page.wait_until(f"{ticks}.includes('120k')")
    after = page.evaluate(ticks)
    assert 2 <= len(after) <= 7 and set(after) != set(before)
    assert page.complaints() == []


def test_no_button_sends_anything_away_and_the_download_works(browser, opened, path, tmp_path):
    page = opened(path)
    buttons = page.evaluate("[...document.querySelectorAll('#valleys .modebar-btn')].map((b) => b.dataset.title)")
    assert buttons == ["Download plot", "Zoom", "Pan", "Zoom in", "Zoom out", "Reset axes"]
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.evaluate("document.querySelector('#valleys [data-title=\"Download plot\"]').click()")
    page.wait_until("document.querySelector('.plotly-notifier')?.textContent.includes('succeeded')")
    wait_for_file(tmp_path / "isoflop-valleys.svg")
    assert "<svg" in (tmp_path / "isoflop-valleys.svg").read_text()
    assert page.complaints() == []
    assert [url for url in page.requests() if not url.startswith("blob:")] == [page.url]


def test_without_scripts_and_on_paper_there_is_the_drawn_figure(opened, path):
    page = opened(path, scripts=False, wait="true")
    assert shown(page, ".drawn") and not shown(page, ".plots") and not shown(page, ".live-only")
    page = opened(path)
    page.call("Emulation.setEmulatedMedia", media="print")
    assert shown(page, ".drawn") and not shown(page, ".plots")


def test_printing_and_turning_the_screen_leave_the_page_in_order(opened, path):
    page = opened(path)
    page.call("Page.printToPDF", printBackground=True)
    point_at_a_run(page, 2)
    page.picture()  # for a moment the window is one pixel wide
    page.resize(390)
    page.wait_until("document.querySelector('#valleys .modebar') === null")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.resize(1400)
    page.wait_until("document.querySelector('#valleys .modebar') !== null")
    assert page.evaluate("document.querySelector('#valleys .main-svg').clientWidth") > 1000
    assert page.complaints() == []


def test_where_the_plots_cannot_be_drawn_there_is_the_drawn_figure(opened, html, tmp_path):
    broken = tmp_path / "index.html"
    broken.write_text(html.replace('id="plots">{', 'id="plots">?'))
    page = opened(broken, wait="!document.documentElement.classList.contains('live')")
    assert shown(page, ".drawn") and not shown(page, ".plots")
    assert "JSON" in str(page.complaints())


def test_a_table_of_ten_thousand_runs_opens(opened, tmp_path):
    summary = summary_of(points_of(*(10 ** (18 + k / 2500) for k in range(10_000)), n_sizes=1))
    (tmp_path / "index.html").write_text(render_html(summary, svg="<svg></svg>"))
    page = opened(tmp_path / "index.html")
    assert page.evaluate("document.querySelectorAll('#valleys .scatterlayer .point').length") > 2000
    assert page.complaints() == []


def test_axis_titles_keep_eight_pixels_from_the_heading_on_a_narrow_screen(opened, tmp_path):
    table = summary_of(load_source(str(LLAMA3), db=tmp_path / "isoflop.db", sweep=None))
    (tmp_path / "index.html").write_text(render_html(table, svg=render_figure(table).svg))
    page = opened(tmp_path / "index.html", width=400)
    crossed = page.evaluate(
        """[...document.querySelectorAll(".plots .js-plotly-plot")].flatMap((plot) => {
          const [heading, ...axes] = [".gtitle", ".ytitle", ".xtitle"].map((name) => plot.querySelector(name));
          const h = heading.getBoundingClientRect();
          return axes.filter((axis) => {
            const a = axis.getBoundingClientRect();
            return a.left < h.right && h.left < a.right && a.top < h.bottom + 8 && h.top < a.bottom + 8;
          }).map((axis) => axis.textContent);
        })"""
    )
    assert crossed == []
    assert page.evaluate("document.querySelectorAll('.plots .ytitle').length") == 3
