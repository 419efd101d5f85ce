"""Several sources as one fit."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from isoflop.counting import FlopCount
from isoflop.errors import IsoflopError
from isoflop.report.fit_document import fit_document
from isoflop.report.markdown import render_markdown
from isoflop.report.page.hover import drawn_runs
from isoflop.report.page.html import render_html
from isoflop.report.reproduce import reproduction
from isoflop.report.write import write_report
from isoflop.sources.columns.column_request import parse_columns
from isoflop.sources.load import load_each, load_sources
from isoflop.sources.pool import shared_run_ids
from isoflop.sources.recount import under_convention
from isoflop.sources.source import Origin, Pool
from isoflop.sources.table_options import TableOptions
from isoflop.spec import FitSpec, SweepSpec
from isoflop.store import open_store
from tests.report_examples import grid, make_result, save_sweep, save_troubled_sweep, summary_of

HEADER = "budget_flops,n_params,n_tokens,loss"


def save_table(path: Path, *budgets: float, loss=2.5) -> Path:
    rows = [f"{budget},{n},{budget / 6 / n},{loss}" for budget in budgets for n in (1e4, 2e4, 4e4, 8e4, 16e4)]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def save(db: Path, *budgets: float, name="demo"):
    cells = grid(*budgets)
    save_sweep(db, cells, map(make_result, cells), spec=SweepSpec(name=name, budgets=budgets))
    return db


def load(*sources, db=Path("none.db"), sweep=None):
    return load_sources([str(source) for source in sources], db=db, sweep=sweep)


def refusal(*sources, **options) -> IsoflopError:
    with pytest.raises(IsoflopError) as refused:
        load(*sources, **options)
    assert refused.value.hint
    return refused.value


@pytest.fixture
def table(tmp_path):
    return save_table(tmp_path / "runs.csv", 1e14, 1e15)


@pytest.fixture
def db(tmp_path):
    return save(tmp_path / "isoflop.db", 1e12, 1e13)


def test_the_rows_of_all_sources_are_one_and_know_whose_they_are(db, table):
    source = load(db, table)
    assert [row.source for row in source.rows] == ["demo"] * 14 + ["runs.csv"] * 10
    assert [(part.label, part.origin, len(part.rows), part.param_count) for part in source.each] == [
        ("demo", Origin.SWEEP, 14, "total"),
        ("runs.csv", Origin.CSV, 10, "as_given"),
    ]
    assert (source.label, source.origin, source.param_count) == ("demo, runs.csv", Origin.SEVERAL, "mixed")
    assert (len(source.cells), source.simulated) == (14, False)


def test_one_source_is_no_pool(table):
    source = load(table)
    assert not isinstance(source, Pool)
    assert (source.each, source.label) == ((source,), "runs.csv")


def test_pooled_rows_are_fitted_like_those_of_one_table(tmp_path):
    halves = save_table(tmp_path / "a.csv", 1e14), save_table(tmp_path / "b.csv", 1e15)
    whole = summary_of(load(save_table(tmp_path / "c.csv", 1e14, 1e15)))
    assert summary_of(load(*halves)).fit == whole.fit


@pytest.mark.parametrize(
    ("sources", "labels"),
    [
        (("runs.csv", "other.csv"), ["runs.csv", "other.csv"]),
        (("runs.csv", "deep/runs.csv"), ["runs.csv (runs.csv)", "runs.csv (deep/runs.csv)"]),
        (("mine=runs.csv", " theirs =deep/runs.csv"), ["mine", "theirs"]),
        (("mine=runs.csv", "runs.csv=other.csv", "deep/runs.csv"), ["mine", "runs.csv", "runs.csv (deep/runs.csv)"]),
        (("a=b.csv", "runs.csv"), ["a=b.csv", "runs.csv"]),
        (("lr=1/runs.csv", "runs.csv"), ["runs.csv (lr=1/runs.csv)", "runs.csv (runs.csv)"]),
    ],
    ids=["names", "one name", "given", "given and one name", "a file of that name", "a folder with the sign"],
)
def test_labels_tell_the_sources_apart(tmp_path, monkeypatch, sources, labels):
    monkeypatch.chdir(tmp_path)
    for name in ("runs.csv", "other.csv", "deep/runs.csv", "a=b.csv", "lr=1/runs.csv"):
        save_table(Path(name), 1e14)
    source = load(*sources)
    assert [part.label for part in source.each] == labels
    assert list(dict.fromkeys(row.source for row in source.rows)) == labels


def test_the_hint_on_one_of_several_sources_mends_that_source_alone(tmp_path, table):
    other = tmp_path / "other runs.csv"
    other.write_text("\n".join([HEADER, *(f"1e16,{n / 1e6},{1e16 / 6 / n},2.1" for n in (1e5, 2e5, 4e5))]) + "\n")
    hint = refusal(table, other).hint
    assert "--column x:n_params='n_params*1e6'" in hint
    assert f"x='{other}'" in hint
    assert "--column own:n_params=" in refusal(table, f"own={other}").hint
    options = TableOptions(columns=parse_columns(["x:n_params=n_params*1e6"], ("n_params",)))
    source = load_sources([str(table), f"x={other}"], db=Path("none.db"), sweep=None, options=options)
    assert sorted(row.n_params for row in source.rows)[-3:] == [1.6e5, 2e5, 4e5]


def test_one_label_for_two_sources_is_refused(tmp_path, table):
    other = save_table(tmp_path / "other.csv", 1e14)
    assert "2 sources have the label 'x'" in refusal(f"x={table}", f"x={other}").message


def test_a_label_names_a_single_source_too(db):
    assert (load(f"x={db}").label, load(f"x={db}").sweep) == ("x", "demo")


def test_a_file_given_twice_is_refused_under_any_name(tmp_path, table, db):
    (tmp_path / "link.csv").symlink_to(table)
    assert f"{str(table)!r} is given twice: its rows would count twice" in refusal(table, table).message
    assert f"link.csv' is given twice, first as {str(table)!r}" in refusal(table, f"x={tmp_path}/link.csv").message
    assert "The sweep 'demo' of" in refusal(db, db).message


def test_a_sweep_file_beside_its_database_is_the_same_sweep_twice(tmp_path, db):
    (tmp_path / "s.toml").write_text('name = "demo"\nbudgets = [1e12, 1e13]\n')
    assert "is given twice" in refusal(tmp_path / "s.toml", db, db=db).message


def test_two_sweeps_of_one_database_are_two_sources(tmp_path, db):
    save(db, 1e14, name="more")
    for name, budgets in {"demo": "1e12, 1e13", "more": "1e14"}.items():
        (tmp_path / f"{name}.toml").write_text(f'name = "{name}"\nbudgets = [{budgets}]\n')
    source = load(tmp_path / "demo.toml", tmp_path / "more.toml", db=db)
    assert (source.origin, source.sweep, source.label) == (Origin.SWEEP, None, "demo, more")
    assert summary_of(source).runs.columns[0].heading == "sweep"
    assert len(source.specs) == 2


def test_the_option_sweep_applies_to_every_database_and_to_no_table(tmp_path, db, table):
    save(db, 1e13, name="other")
    second = save(tmp_path / "second.db", 1e14)
    source = load(db, second, table, sweep="demo")
    assert [part.sweep for part in source.each] == ["demo", "demo", None]
    assert "no sweep 'other'" in refusal(db, second, sweep="other").message
    assert "is a table of runs: it has no sweep 'demo'" in refusal(table, sweep="demo").message


def test_a_run_in_two_databases_counts_once(tmp_path, db):
    copy = tmp_path / "copy.db"
    shutil.copy(db, copy)
    save(copy, 1e12, 1e13, 1e14)
    source = load(db, copy)
    assert [len(part.rows) for part in source.each] == [14, 7]
    assert len({cell.run_id for cell in source.cells}) == len(source.cells) == 21
    [finding] = source.findings
    assert (finding.code, finding.severity, finding.values["n_runs"]) == ("shared_runs", "info", 14)
    assert source.sweep == "demo"


def test_findings_of_a_pooled_source_say_whose_they_are(tmp_path, table):
    save_troubled_sweep(tmp_path / "t.db")
    findings = [found for found in load(tmp_path / "t.db", table).findings if found.code != "unnamed_conventions"]
    assert findings and all(finding.message.startswith("demo: ") for finding in findings)
    assert {finding.values["source"] for finding in findings} == {"demo"}


def test_the_json_document_lists_the_sources(db, table):
    document = fit_document(summary_of(load(db, f"theirs={table}")))
    assert (document["sweep"], document["source"]) == (None, f"{db}, {table}")
    first = {"label": "demo", "path": str(db), "kind": "sweep", "n_rows": 14, "param_count": "total"}
    second = {"label": "theirs", "path": str(table), "kind": "csv", "n_rows": 10, "param_count": "as_given"}
    columns = {name: name for name in ("budget_flops", "n_params", "n_tokens", "loss")}
    assert document["sources"] == [
        {**first, "columns": None, "loss": "loss", "loss_unit": "nats per token"},
        {**second, "columns": columns, "loss": "loss", "loss_unit": None},
    ]
    json.dumps(document, allow_nan=False)


def test_every_output_names_the_sources(db, table):
    summary = summary_of(load(db, table), commands=[["isoflop", "report", "x"]])
    facts = dict(summary.provenance.rows)
    assert facts["source demo"] == f"{db} (sweep), 14 runs; N: every parameter, embedding and head included"
    assert facts["source runs.csv"] == f"{table} (csv), 10 runs; N: parameters as the file gives them"
    assert facts["simulated"] == "unknown: external data"
    assert "IsoFLOP fit of demo, runs.csv" in render_markdown(summary, figure="f.png")
    assert "Sweep as planned" in render_html(summary, svg="<svg></svg>")
    assert reproduction(summary) == ("isoflop report x",)


def test_a_point_says_which_source_it_is_of(db, table):
    hovers = [run.hover for run in drawn_runs(load(db, table))]
    assert len(hovers) == 24
    assert hovers[0].startswith("<b>run ") and "</b> of demo<br>" in hovers[0]
    assert hovers[14].startswith("<b>row 1</b> of runs.csv<br>")


def test_a_point_says_what_else_its_table_knows(tmp_path):
    (tmp_path / "a.csv").write_text(f"{HEADER},loss_se,trunk,seed\n1e18,1e8,2e9,2.5,0.02,<b>,7\n")
    [run] = drawn_runs(load(tmp_path / "a.csv"))
    assert run.hover.split("<br>")[2:] == ["loss 2.5 ± 0.02", "trunk &lt;b&gt;, seed 7"]


def test_a_title_of_many_sources_names_the_first(tmp_path):
    paths = [save_table(tmp_path / f"{letter}.csv", 1e14) for letter in "abcde"]
    assert load(*paths).label == "a.csv, b.csv, c.csv and 2 more"


@pytest.mark.slow(5)
def test_a_pooled_report_is_of_its_labels_in_any_order(tmp_path, db, table):
    out = tmp_path / "report"
    write_report(summary_of(load(db, table)), out)
    write_report(summary_of(load(table, db)), out)
    with pytest.raises(IsoflopError, match=r"holds the report of the sources 'demo', 'runs\.csv'"):
        write_report(summary_of(load(table)), out)
    with pytest.raises(IsoflopError, match="holds the report of the sources"):
        write_report(summary_of(load(db, f"x={table}")), out)


@pytest.mark.slow
def test_a_report_from_before_there_were_several_sources_is_renewed(tmp_path, table):
    summary = summary_of(load(table))
    write_report(summary, tmp_path / "report")
    document = json.loads((tmp_path / "report" / "report.json").read_text())
    del document["sources"]
    (tmp_path / "report" / "report.json").write_text(json.dumps(document))
    write_report(dataclasses.replace(summary), tmp_path / "report")
    assert "sources" in json.loads((tmp_path / "report" / "report.json").read_text())


def test_a_run_excluded_in_one_database_and_completed_in_another_is_left_out(tmp_path, db):
    copy = tmp_path / "copy.db"
    shutil.copy(db, copy)
    run_id = load(db).cells[0].run_id
    with open_store(copy, write=True) as store:
        store.exclude(run_id, reason="wrong corpus")
    source = load(db, copy)
    assert len(source.rows) == 13
    [disputed] = [finding for finding in source.findings if finding.code == "disputed_runs"]
    assert disputed.values["run_ids"] == [run_id]


def test_each_source_alone_keeps_the_runs_that_others_have_too(tmp_path, db):
    copy = tmp_path / "copy.db"
    shutil.copy(db, copy)
    save(copy, 1e12, 1e13, 1e14)
    one, other = load_each([str(db), str(copy)], db=db, sweep=None)
    assert (len(one.rows), len(other.rows)) == (14, 21)
    assert len(shared_run_ids(one, other)) == 14


def test_runs_excluded_elsewhere_leave_a_table_beside_them_whole(tmp_path, db, table):
    copy = tmp_path / "copy.db"
    shutil.copy(db, copy)
    with open_store(copy, write=True) as store:
        store.exclude(load(db).cells[0].run_id, reason="wrong corpus")
    assert [len(part.rows) for part in load(db, copy, table).each] == [13, 0, 10]


def test_where_every_run_is_excluded_in_some_source_there_is_nothing_to_fit(tmp_path, db):
    halves = [tmp_path / "one.db", tmp_path / "other.db"]
    run_ids = [cell.run_id for cell in load(db).cells]
    for half, mine in zip(halves, (run_ids[:7], run_ids[7:]), strict=True):
        shutil.copy(db, half)
        with open_store(half, write=True) as store:
            store.exclude(*mine, reason="doubtful")
    assert "No run remains to be fitted" in refusal(*halves).message


def test_a_copy_of_a_database_does_not_make_shapes_unknown(tmp_path, db):
    copy = tmp_path / "copy.db"
    shutil.copy(db, copy)
    alone, pooled = (under_convention(load(*sources), "matmul", FlopCount.SIX_ND) for sources in ((db,), (db, copy)))
    assert [row[:4] for row in pooled.rows] == [row[:4] for row in alone.rows]


def test_every_source_counts_as_its_own_sweep_does_in_any_order(tmp_path):
    one, other = (save_counted(tmp_path / f"{count}.db", budget, count)
                  for count, budget in (("total", 1e12), ("matmul", 1e13)))  # fmt: skip
    budgets = [
        sorted({row.budget_flops for row in under_convention(load(*sources), None, FlopCount.SIX_ND).rows})
        for sources in ((one, other), (other, one))
    ]
    assert budgets[0] == pytest.approx(budgets[1])


def save_counted(path, budget, count):
    cells = grid(budget)
    spec = SweepSpec(name="demo", budgets=(budget,), fit=FitSpec(params=count))
    save_sweep(path, cells, map(make_result, cells), spec=spec)
    return path
