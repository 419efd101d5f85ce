import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from isoflop.counting import FlopCount, flops_per_token
from isoflop.errors import IsoflopError
from isoflop.report.write import write_report
from isoflop.sources.load import load_source
from isoflop.sources.recount import under_convention
from tests.report_examples import points_of, save_troubled_sweep, summary_of

FILES = {"index.html", "report.md", "report.json", "frontier.csv", "figure.svg", "figure.png"}


@pytest.fixture(scope="module")
def summary():
    return summary_of(points_of(1e12, 1e13, 1e14))


@pytest.fixture(scope="module")
def written(summary, tmp_path_factory):
    """A folder with its report, and the paths that were said to be its files. Not to be changed."""
    folder = tmp_path_factory.mktemp("deep") / "er" / "report"
    return folder, write_report(summary, folder)


@pytest.fixture
def out(written, tmp_path):
    """A copy of that folder of the test's own."""
    return shutil.copytree(written[0], tmp_path / "report")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_report_is_six_files_in_a_new_folder(written):
    out, paths = written
    assert {path.name for path in paths} == FILES == set(contents(out))
    assert all(path.parent == out and path.stat().st_size > 0 for path in paths)
    assert json.loads((out / "report.json").read_text())["schema_version"] == 1
    assert (out / "report.md").stat().st_mode & 0o444 == 0o444


@pytest.mark.slow
def test_the_same_report_twice_is_the_same_bytes_and_leaves_strangers_alone(summary, out):
    (out / "notes.txt").write_text("mine")
    first = contents(out)
    write_report(summary, out)
    assert contents(out) == first
    assert set(first) == FILES | {"notes.txt"}


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_in_place_of_the_folder_or_of_one_above_is_refused(summary, tmp_path, below):
    out = tmp_path / "report"
    out.write_text("mine")
    with pytest.raises(IsoflopError, match="report' is not a folder") as refused:
        write_report(summary, out / below)
    assert "--out" in refused.value.hint
    assert out.read_text() == "mine"


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_link_that_leads_nowhere_is_refused(summary, tmp_path, below):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(IsoflopError, match="link' is not a folder"):
        write_report(summary, tmp_path / "link" / below)
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sweep": "mine", "source": "isoflop.db"}, "holds the report of the sweep 'mine'"),
        ({"source": "a/b.csv"}, "holds the report of the file 'b.csv'"),
    ],
    ids=["of a sweep", "of a file"],
)
def test_the_report_of_something_else_is_not_overwritten(summary, out, changes, said):
    document = json.loads((out / "report.json").read_text())
    (out / "report.json").write_text(json.dumps({**document, **changes}))
    before = contents(out)
    with pytest.raises(IsoflopError, match=said) as refused:
        write_report(summary, out)
    assert "--out" in refused.value.hint
    assert contents(out) == before


@pytest.mark.parametrize("name", ["report.json", "index.html", "figure.png"])
@pytest.mark.parametrize("content", ['{"schema_version": 1, "sweep": "x"}', "[]", ""], ids=["json", "list", "nothing"])
def test_a_strangers_file_is_not_overwritten(summary, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(IsoflopError, match="is not part of a report") as refused:
        write_report(summary, tmp_path)
    assert name in refused.value.message and "--out" in refused.value.hint
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: content}


@pytest.mark.slow
def test_a_table_is_the_same_by_whichever_path_it_is_named(summary, out):
    renamed = dataclasses.replace(summary.source, path=Path("elsewhere") / summary.source.path)
    write_report(dataclasses.replace(summary, source=renamed), out)
    assert json.loads((out / "report.json").read_text())["source"] == f"elsewhere/{summary.source.path}"


def test_a_file_that_cannot_be_replaced_leaves_no_debris(summary, tmp_path):
    (tmp_path / "report.md").mkdir()
    with pytest.raises(IsoflopError, match="is not part of a report"):
        write_report(summary, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= FILES


@pytest.mark.slow
def test_a_full_disk_keeps_the_old_report(out):
    """A limit on the size of files stands in for the disk: the write fails halfway with OSError."""
    before = contents(out)
    code = (
        "import resource, signal, sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from tests.report_examples import *; from isoflop.errors import IsoflopError\n"
        "from isoflop.report.write import write_report\n"
        "summary = summary_of(points_of(1e12, 1e13, 1e15))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "try: write_report(summary, Path(sys.argv[2]))\n"
        "except IsoflopError as error: print(error.message)\n"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parents[2]), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Cannot write the report" in done.stdout
    assert contents(out) == before


@pytest.mark.slow
@pytest.mark.parametrize("flops", list(FlopCount))
@pytest.mark.parametrize("params", [None, "matmul"])
def test_a_report_under_any_convention_can_be_written(tmp_path, params, flops):
    save_troubled_sweep(tmp_path / "demo.db")
    source = load_source(str(tmp_path / "demo.db"), db=tmp_path / "none.db", sweep=None)
    summary = summary_of(under_convention(source, params, flops), targets=(1e14,))
    document = json.loads((next(p for p in write_report(summary, tmp_path / "out") if p.suffix == ".json")).read_text())
    assert (document["param_count"], document["flop_count"]) == (params or "total", flops)
    drawn = {cell.budget_flops for cell in summary.source.cells}
    assert drawn == {profile["budget_flops"] for profile in document["profiles"]}
    # what can be built spends the target, counted as the fit counts
    for built in summary.decisions[0].buildable:
        count = params or "total"
        assert flops_per_token(built.shape, flops, count) * built.n_tokens == pytest.approx(1e14)


def test_a_target_without_an_answer_is_reported_as_that(tmp_path):
    paths = write_report(summary_of(points_of(1e12), targets=(1e20,)), tmp_path)
    page = next(path for path in paths if path.suffix == ".html").read_text()
    assert "No compute-optimal frontier" in page
