import dataclasses
import math

import pytest

from isoflop.plan.types import Role
from isoflop.report.source import load_source
from isoflop.report.wording import interval
from isoflop.view.wording import SIMULATED, count, one_line
from tests.report.report_examples import (
    LLAMA3,
    grid,
    make_result,
    points_of,
    save_sweep,
    save_troubled_sweep,
    summary_of,
)


@pytest.fixture(scope="module")
def llama3():
    return summary_of(load_source(str(LLAMA3), db=LLAMA3.parent / "none.db", sweep=None), targets=(3.8e25,))


def column(table, heading):
    index = [column.heading for column in table.columns].index(heading)
    return [row[index] for row in table.rows]


def test_the_answer_is_the_published_law_and_its_reading(llama3):
    """Llama 3 report (2024): D_opt = 0.299 C^0.537; at 3.8e25 FLOPs 402B parameters on 16.55T tokens.

    The points are read off its figure, and its own law is rounded: 3 %.
    """
    law, reading = llama3.answer
    assert "D_opt = 0.299 C^0.537 tokens" in law
    assert "10 of 10 budgets" in law
    assert reading.startswith("For 3.80e25 FLOPs: 39")
    assert "an extrapolation, 3.6 decades above the largest fitted budget" in reading
    assert float(column(llama3.readings, "N_opt")[0].removesuffix("B")) == pytest.approx(402, rel=0.03)
    assert float(column(llama3.readings, "D_opt")[0].removesuffix("T")) == pytest.approx(16.55, rel=0.03)


def test_without_targets_the_largest_budget_and_ten_times_it_are_read():
    summary = summary_of(points_of(1e12, 1e13, 1e14))
    assert [target.budget_flops for target in summary.targets] == [1e14, 1e15]
    assert summary.fit.targets == ()
    assert "extrapolation" not in summary.answer[1]
    assert "an extrapolation, 1.0 decades above" in summary.answer[2]
    assert "No target was given" in summary.readings.note
    assert summary.findings == ()


def test_a_target_below_the_data_is_called_that():
    summary = summary_of(points_of(1e12, 1e13, 1e14), targets=(1e11,))
    assert summary.answer[1].endswith("an extrapolation, 1.0 decades below the smallest fitted budget.")


def test_a_budget_near_the_end_of_floats_is_read_without_its_tenfold():
    summary = summary_of(points_of(1e306, 1e307, 1.5e308))
    assert [target.budget_flops for target in summary.targets] == [1.5e308]


def test_one_floor_is_reported_alone():
    summary = summary_of(points_of(1e12, 1e13, floors=(0.0, 0.9)))
    assert summary.answer[0].startswith("No compute-optimal frontier: 1 of 2 budgets has a floor inside")
    assert summary.answer[1].startswith("At 1.00e12 FLOPs alone: 56.2k parameters (90 % interval")
    assert (summary.frontier, summary.readings, summary.targets) == (None, None, ())


def test_an_unanswerable_target_is_said_to_be_that():
    summary = summary_of(points_of(1e12, 1e13, 1e14), targets=(1e300,))
    assert "1.00e300 FLOPs" in summary.answer[1]
    summary = summary_of(points_of(1e12), targets=(1e14,))
    assert column(summary.readings, "N_opt") == ["-"]


def test_rows_that_were_never_grouped_are_counted_and_mostly_not_shown():
    source = points_of(*(10 ** (12 + k / 100) for k in range(240)), n_sizes=1)
    summary = summary_of(source)
    assert "0 of 240 budgets have a floor" in summary.answer[0]
    assert len(summary.profiles.rows) == 5
    assert "Not shown: 235 more budgets." in summary.profiles.note


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
    summary = summary_of(load_source(str(db), db=db, sweep=None), commands=["isoflop fit isoflop.db"])
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


def test_simulated_rows_are_called_that_and_those_of_a_file_are_not_called_measured():
    assert SIMULATED in dict(summary_of(points_of(1e12, simulated=True)).provenance.rows)["simulated"]
    assert dict(summary_of(points_of(1e12)).provenance.rows)["simulated"] == "unknown: external data"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (124e6, "124M"), (2.5, "2.50"), (1e-9, "1.00e-09"), (3e40, "3.00e+40")],
    ids=["none", "millions", "few", "tiny", "huge"],
)
def test_a_count_reads_well_at_any_size(value, text):
    assert count(value) == text


def test_an_interval_without_bounds_is_a_dash():
    assert interval(None) == "-"
    assert interval((1e6, math.pi * 1e6)) == "1.00M to 3.14M"


def test_control_characters_and_line_breaks_become_blanks():
    assert one_line("a\nb\x1b[31mc\u202ed\udc80") == "a b [31mc d "
