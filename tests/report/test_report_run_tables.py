"""The table of runs, and where the numbers come from."""

import dataclasses

import pytest

from isoflop.plan.types import DroppedCell, Role
from isoflop.report import run_tables
from isoflop.report.page.html import render_html
from isoflop.report.run_tables import run_table
from isoflop.rundir import Execution
from isoflop.sources.load import load_source
from isoflop.wording import SIMULATED
from tests.report_examples import (
    column,
    grid,
    make_cell,
    make_result,
    planned_otherwise,
    points_of,
    save_sweep,
    save_troubled_sweep,
    summary_of,
)
from tests.run_examples import make_curve
from tests.status.status_examples import shown, status_of

CPU = Execution(device_kind="cpu", dtype="float32", n_threads=1, micro_batch_sequences=4)


@pytest.fixture
def db(tmp_path):
    return tmp_path / "isoflop.db"


def runs_of(db):
    return run_table(load_source(str(db), db=db, sweep=None).cells)


def facts_of(db):
    return dict(summary_of(load_source(str(db), db=db, sweep=None)).provenance.rows)


def test_a_row_says_everything_that_is_known_of_a_run(db):
    """By hand: D = 250 x 3 x 64; N = 2 x 257 x 32 + 2 x (4 x 32 x 2 x 8 + 3 x 32 x 96 + 2 x 32 + 2 x 8) + 32."""
    cell = planned_otherwise(make_cell(1e12, 32), n_steps=250, batch_sequences=3, learning_rate=3e-5, seed=7)
    measured = {"val_loss": 2.125, "val_loss_se": 0.00026, "bits_per_byte": 1.25, "model_flops_utilisation": 0.375}
    save_sweep(db, [cell], [make_result(cell, seconds=200.0, **measured)])
    table = runs_of(db)
    [row] = table.rows
    assert dict(zip((heading.heading for heading in table.columns), row, strict=True)) == {
        "FLOPs": "1.00e12", "run": cell.run.run_id, "N": "39.2k", "D": "48.0k", "in the fit": "used", "why": "",
        "loss": "2.1250", "error": "0.00026", "bits/byte": "1.2500", "shape": "2x32 (heads 2x8, ff 96)",
        "steps": "250", "batch": "192", "rate": "3e-5", "seed": "7", "epochs": "0.50",
        "time": "3m 20s", "tokens/s": "2.56k", "of peak": "37.5%",
    }  # fmt: skip


def test_steps_batch_and_rate_are_those_planned_however_a_run_ended(db):
    plans = [(250, 3, 3e-5), (1200, 8, 0.00042), (31, 1, 0.0123)]
    completed, diverged, _pending = cells = [
        planned_otherwise(make_cell(1e12, 32), n_steps=n_steps, batch_sequences=n_sequences, learning_rate=rate)
        for n_steps, n_sequences, rate in plans
    ]
    ended = {"status": "diverged", "reason": "loss was not finite", "val_loss": None, "val_loss_se": None}
    results = [make_result(completed), make_result(diverged, n_steps=17, n_tokens=17 * 512, **ended)]
    save_sweep(db, cells, results, dropped=[DroppedCell(1e12, cells[0].run.shape, "too few steps")])
    table = runs_of(db)
    columns = (column(table, heading) for heading in ("in the fit", "steps", "batch", "rate"))
    assert set(zip(*columns, strict=True)) == {
        ("used", "250", "192", "3e-5"),  # 3 sequences of 64 tokens
        ("diverged", "1200", "512", "0.00042"),
        ("pending", "31", "64", "0.012"),
        ("dropped", "-", "-", "-"),
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "float32"),
        ({"dtype": "bfloat16"}, "bfloat16"),
        ({"attention": "math"}, "float32, math attention"),
        ({"dtype": "bfloat16", "attention": "math"}, "bfloat16, math attention"),
        ({"n_threads": 8, "micro_batch_sequences": 64, "eval_batch_tokens": 64}, "float32"),
        ({"dtype": "bfloat16", "step": "graph", "compile": True}, "bfloat16"),
    ],
    ids=["plain", "precision", "kernel", "both", "only order of sums", "how a step is taken"],
)
def test_provenance_says_in_what_arithmetic_the_runs_were_computed(db, changes, words):
    cells = grid(1e12)
    execution = CPU.model_copy(update=changes).model_dump(mode="json")
    save_sweep(db, cells, [make_result(cell, execution=execution, curve=make_curve(cell.run)) for cell in cells])
    assert facts_of(db)["arithmetic"] == words


@pytest.mark.parametrize(
    ("executions", "words"),
    [
        ([{"dtype": "float32"}, {"dtype": "bfloat16"}, {"dtype": "float32", "n_threads": 8}], "bfloat16; float32"),
        ([{"dtype": "float32"}, {}, {}], "float32; unknown precision"),
        ([{"attention": "math"}, {"dtype": 16}, {}], "unknown precision; unknown precision, math attention"),
        ([{}, {}, {}], "unknown precision"),
    ],
    ids=["each kind once", "some say nothing", "no precision", "none says anything"],
)
def test_the_arithmetic_of_trainers_of_another_make_is_what_they_say_of_it(db, executions, words):
    cells = grid(1e12)[: len(executions)]
    results = [make_result(cell, execution=said) for cell, said in zip(cells, executions, strict=True)]
    save_sweep(db, cells, results)
    assert facts_of(db)["arithmetic"] == words


def test_every_cell_and_its_reason_is_in_the_runs_table(tmp_path):
    db = tmp_path / "isoflop.db"
    save_troubled_sweep(db)
    summary = summary_of(load_source(str(db), db=db, sweep=None))
    why = dict(zip(column(summary.runs, "in the fit"), column(summary.runs, "why"), strict=True))
    assert len(summary.runs.rows) == 22
    assert why["diverged"] == "loss was not finite at step 17"
    assert why["excluded"] == "wrong corpus [red]mounted"
    assert why["dropped"] == "12 optimizer steps, fewer than 200"
    assert why["off plan"] == "planned 1.00e12 FLOPs and 225k tokens, achieved 1.02e12 and 225k"
    assert why["check run"] == "probe run"
    assert summary.scope == (
        "15 runs at 3 budgets; not fitted: 1 pending, 1 diverged, 1 failed, 1 off plan, 1 excluded, 1 check run, "
        "1 dropped"
    )


def test_provenance_counts_each_run_once_and_names_machines_and_code(tmp_path):
    db = tmp_path / "isoflop.db"
    cells = save_troubled_sweep(db)
    summary = summary_of(load_source(str(db), db=db, sweep=None), commands=[["isoflop", "fit", "isoflop.db"]])
    facts = dict(summary.provenance.rows)
    spent = sum(cell.run.planned_flops for cell in cells) - cells[12].run.planned_flops
    assert float(facts["FLOPs spent"]) == pytest.approx(spent, rel=0.01)
    assert facts["training time"] == "4m 10s"  # 20 runs of 12.5 s
    assert facts["device"] == "Some CPU"
    assert facts["git commit"] == "0123abcd with uncommitted changes"
    assert facts["corpus"] == "c0ffee"
    assert facts["command 1"] == "isoflop fit isoflop.db"
    assert facts["simulated"] == "no"


def test_a_run_in_two_places_was_paid_for_once(tmp_path):
    db = tmp_path / "isoflop.db"
    cells = grid(1e12)
    again = dataclasses.replace(cells[0], role=Role.CONTROL, budget_flops=1e13)
    save_sweep(db, [*cells, again], map(make_result, cells))
    facts = dict(summary_of(load_source(str(db), db=db, sweep=None)).provenance.rows)
    assert facts["cells"] == "7 used, 1 check run"
    assert facts["training time"] == "1m 28s"  # 7 runs of 12.5 s


@pytest.mark.parametrize(
    ("roles", "words"),
    [
        ([Role.CONFIRM], "1 confirm run"),
        ([Role.CONFIRM] * 2, "2 confirm runs"),
        ([Role.CONFIRM, Role.PROBE], "2 check runs"),
    ],
    ids=["one", "two", "mixed"],
)
def test_runs_that_are_never_fitted_are_counted_by_what_they_are(tmp_path, roles, words):
    db = tmp_path / "x.db"
    cells = grid(1e12)
    checks = [dataclasses.replace(cell, role=role, budget_flops=1e13) for cell, role in zip(cells, roles, strict=False)]
    spec = save_sweep(db, [*cells, *checks], map(make_result, cells))
    summary = summary_of(load_source(str(db), db=db, sweep=None))
    assert summary.scope == f"7 runs at 1 budget; not fitted: {words}"
    assert dict(summary.provenance.rows)["cells"] == f"7 used, {words}"
    assert f": 7 used, {words}" in shown(status_of(tmp_path, spec))


def test_simulated_rows_are_called_that_and_those_of_a_file_are_not_called_measured():
    assert SIMULATED in dict(summary_of(points_of(1e12, simulated=True)).provenance.rows)["simulated"]
    assert dict(summary_of(points_of(1e12)).provenance.rows)["simulated"] == "unknown: external data"


def test_of_very_many_runs_those_are_listed_that_a_person_should_look_at(db, monkeypatch):
    cells = [make_cell(1e12, 32, seed=seed) for seed in range(9)]
    results = [make_result(cell) for cell in cells[:8]]
    dropped = [DroppedCell(1e12, cells[0].run.shape, "too few steps")]
    save_sweep(db, cells, results, dropped=dropped, excluded={cells[5].run.run_id: "the disk was failing"})
    whole = runs_of(db)
    monkeypatch.setattr(run_tables, "MOST_ROWS", 4)
    short = runs_of(db)
    assert len(whole.rows) == 10 and "rows; `isoflop" not in whole.note
    assert [row[4] for row in short.rows].count("used") == 1 and len(short.rows) == 4
    assert {row[4] for row in short.rows} == {"used", "excluded", "pending", "dropped"}
    assert [row for row in whole.rows if row in short.rows] == list(short.rows), "in their order"
    assert short.note.endswith("4 of 10 rows; `isoflop status SWEEP --json` has all.")
    page = render_html(summary_of(load_source(str(db), db=db, sweep=None)), svg="<svg></svg>")
    assert page.count(">used</td>") == 1
