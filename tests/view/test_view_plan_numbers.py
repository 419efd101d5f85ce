"""A plan as a document, as text and as tables: every number, counted or worked out by hand."""

import io

import pytest
from rich.console import Console

from isoflop.finding import Finding, Severity
from isoflop.plan.estimate import Estimate
from isoflop.plan.types import DroppedCell, Limit, Plan, Role
from isoflop.result import Status
from isoflop.store import PlanChanges, PlannedRun
from isoflop.view.plan_changes import changes_document, changes_sentence, print_changes
from isoflop.view.plan_tables import plan_tables
from isoflop.view.plan_view import NextRuns, PlanView, plan_document, print_plan
from isoflop.view.table import Column, Table
from tests.report_examples import column, make_cell, planned_otherwise

SMALL, LARGE = make_cell(1e12, 32), make_cell(1e13, 64, role=Role.REPLICATE, seed=3)
SHAPE = SMALL.run.shape
# 2 layers of 32 with 2 heads of 8 and 96 hidden: projections 4 x 32 x 16, MLP 3 x 32 x 96, gains; 257 rows in and out
PROJECTIONS, MLP, ENDS = 2 * 4 * 32 * 16, 2 * 3 * 32 * 96, 257 * 32
GAINS = 2 * (2 * 32 + 2 * 8) + 32
# 6 FLOPs per weight and token; attention over 64 tokens: 2 products of 16 numbers in each of 2 layers, as dear
FLOPS_PER_TOKEN = 6 * (PROJECTIONS + MLP + ENDS) + 6 * 2 * 2 * 64 * 16
WARNING = Finding("unusual_rate", Severity.WARNING, "This is odd.", "Look again.", {})
DROPPED = DroppedCell(3e13, SHAPE, "12 optimizer steps, fewer than 200", Limit.STEPS)
NEXT = NextRuns(Table("Suggested runs", (Column("gain"),), (("0.01",),)), ({"budget_flops": 1e14},), (WARNING,))


def view(*, cells=(SMALL, LARGE), done=None, changes=None, next_runs=None, excluded=None, dropped=(DROPPED,)):
    plan = Plan("demo", tuple(cells), tuple(dropped), (WARNING,))
    estimate = Estimate(seconds=7384.0, measured=False, devices=("Some CPU",) * 3)
    return PlanView(plan, None, estimate, {}, 12.3e6, done or {}, changes, next_runs, excluded or {})


def printed(show, *arguments) -> list[str]:
    console = Console(file=io.StringIO(), width=200)
    show(*arguments, console)
    return console.file.getvalue().splitlines()


def test_the_document_has_every_run_with_its_counts() -> None:
    document = plan_document(view(excluded={SMALL.run.run_id: "wrong corpus"}))
    small, large = document["runs"]
    assert small["n_params_non_embedding"] == PROJECTIONS + MLP + GAINS
    assert small["n_params_matmul"] == PROJECTIONS + MLP + GAINS + ENDS
    assert small["n_params_total"] == PROJECTIONS + MLP + GAINS + 2 * ENDS
    assert small["flops_per_token"] == FLOPS_PER_TOKEN
    # batches of 4 sequences of 64 tokens
    assert small["steps"] == round(1e12 / (FLOPS_PER_TOKEN * 256))
    assert (small["batch_tokens"], small["n_tokens"]) == (256, 256 * small["steps"])
    assert small["planned_flops"] == FLOPS_PER_TOKEN * small["n_tokens"]
    assert small["tokens_per_param"] == pytest.approx(small["n_tokens"] / small["n_params_total"])
    assert (small["learning_rate"], small["epochs"], small["seed"]) == (0.01, 0.5, 0)
    assert (small["role"], small["budget_flops"], small["excluded"]) == ("grid", 1e12, "wrong corpus")
    assert (large["role"], large["budget_flops"], large["seed"], large["excluded"]) == ("replicate", 1e13, 3, None)
    assert document["total_flops"] == small["planned_flops"] + large["planned_flops"]
    assert document["budgets"] == [1e12, 1e13, 3e13]
    assert document["dropped"] == [{"budget_flops": 3e13, "shape": SHAPE.as_dict(), "reason": DROPPED.reason}]


def test_the_document_counts_what_is_done_and_what_is_left() -> None:
    document = plan_document(view(done={SMALL.run.run_id: Status.COMPLETED}, next_runs=NEXT))
    left = document["estimate"]
    assert {name: left[name] for name in list(left)[:6]} == {
        "seconds": 7384.0, "measured": False, "devices": ["Some CPU"] * 3, "disk_bytes": 12.3e6, "n_done": 1,
        "n_pending": 1,
    }  # fmt: skip
    assert document["suggested"] == [{"budget_flops": 1e14}]
    assert [finding["code"] for finding in document["findings"]] == ["unusual_rate", "unusual_rate"]
    assert document["changes"] is None
    untouched = plan_document(view())
    assert (untouched["estimate"]["n_done"], untouched["estimate"]["n_pending"]) == (0, 2)
    assert (untouched["suggested"], len(untouched["findings"])) == ([], 1)


def test_a_run_of_two_budgets_is_counted_once() -> None:
    twice = view(cells=(SMALL, make_cell(1e12, 32), LARGE))
    assert plan_document(twice)["estimate"]["n_pending"] == 2
    assert "2 runs at 3 budgets, 1.10e13 FLOPs in all" in printed(print_plan, twice)


def test_the_text_has_totals_time_and_disk() -> None:
    lines = printed(print_plan, view())
    assert lines[0] == "Plan of demo"
    assert "2 runs at 3 budgets, 1.10e13 FLOPs in all" in lines
    assert "about 2h 03m on 3 x Some CPU (guessed), 12.3 MB of disk" in lines


def test_the_text_tells_what_is_done_and_how_it_ended() -> None:
    lines = printed(print_plan, view(done={SMALL.run.run_id: Status.COMPLETED}, excluded={"0123456789ab": "odd"}))
    assert "2 runs at 3 budgets, 1.10e13 FLOPs in all; 1 of 2 runs done" in lines
    assert "about 2h 03m for the remaining runs on 3 x Some CPU (guessed), 12.3 MB of disk" in lines
    assert "1 run excluded from fits by hand (0123456789ab: odd)" in lines
    ended = {SMALL.run.run_id: Status.DIVERGED, LARGE.run.run_id: Status.FAILED}
    lines = printed(print_plan, view(done=ended))
    assert any(line.endswith("; 2 of 2 runs done (2 diverged or failed)") for line in lines)
    assert "12.3 MB of disk" in lines  # nothing is left to take time


def test_rows_of_runs_have_tokens_per_parameter_and_shape() -> None:
    table, dropped = plan_tables(view().plan, {})
    n_params, n_tokens = PROJECTIONS + MLP + GAINS + 2 * ENDS, 256 * SMALL.run.n_steps
    assert float(column(table, "D/N")[0]) == pytest.approx(n_tokens / n_params, rel=0.01)
    small = dict(zip([one.heading for one in table.columns], table.rows[0], strict=True))
    assert small["N"] == f"{n_params / 1000:.1f}k"
    assert (small["shape"], small["heads"]) == ("2x32/96", "2x8")
    assert (small["steps"], small["batch"], small["epochs"]) == (str(SMALL.run.n_steps), "256", "0.50")
    assert (small["seed"], small["role"], small["run"]) == ("0", "grid", SMALL.run.run_id)
    assert dropped.rows == (("3.00e13", small["N"], DROPPED.reason),)


@pytest.mark.parametrize("n_runs", [200, 201])
def test_more_than_two_hundred_runs_are_a_row_per_budget_with_sums_and_spans(n_runs: int) -> None:
    cells = [make_cell(1e12, 32, seed=seed) for seed in range(n_runs - 2)] + [make_cell(1e12, 64), LARGE]
    seconds = {cell.run.run_id: 90.0 for cell in cells}
    [table] = plan_tables(Plan("demo", tuple(cells), (), ()), seconds)
    if n_runs == 200:
        assert column(table, "seeds") == ["198", "1", "1"]
        return
    assert column(table, "budget") == ["1.00e12", "1.00e13"]
    assert column(table, "runs") == ["200", "1"]
    assert column(table, "sizes") == ["2", "1"]
    assert column(table, "N") == [f"{_thousands(SMALL)} to {_thousands(LARGE)}",
                                  _thousands(LARGE)]  # fmt: skip
    few, many = sorted((SMALL.run.n_steps, cells[-2].run.n_steps))
    assert column(table, "steps") == [f"{few} to {many}", str(LARGE.run.n_steps)]
    assert column(table, "FLOPs") == ["2.00e14", "1.00e13"]
    assert column(table, "time") == ["5h 00m", "1m 30s"]
    [without] = plan_tables(Plan("demo", tuple(cells), (), ()), {})
    assert "time" not in [one.heading for one in without.columns]


def test_sizes_of_several_seeds_are_a_row_each_and_checks_have_their_own() -> None:
    twice = [make_cell(1e12, 32, seed=seed) for seed in range(2)]
    again = make_cell(1e12, 32, role=Role.REPLICATE, seed=2)
    check = make_cell(1e12, 32, role=Role.CONTROL, seed=3)
    other = planned_otherwise(make_cell(1e12, 32, seed=4), learning_rate=0.02)
    elsewhere = make_cell(2e12, 32)
    [table] = plan_tables(Plan("demo", (*twice, again, check, other, elsewhere), (), ()), {})
    assert table.title == "Runs by size" and "run" not in [one.heading for one in table.columns]
    assert column(table, "seeds") == ["3", "1", "1", "1"]
    assert column(table, "role") == ["grid, replicate", "control", "grid", "grid"]
    assert column(table, "rate") == ["0.01", "0.01", "0.02", "0.01"]
    assert column(table, "budget") == ["1.00e12"] * 3 + ["2.00e12"]
    assert table.note.endswith("--json lists every run.")


def _thousands(cell) -> str:
    return f"{cell.run.shape.n_params_total / 1000:.3g}k"


def test_more_than_two_hundred_dropped_cells_are_a_row_per_budget_and_kind_of_reason() -> None:
    wide = LARGE.run.shape
    dropped = [DroppedCell(1e12, SHAPE, "x", Limit.STEPS)] * 150 + [DroppedCell(1e12, wide, "y", Limit.MEMORY)] * 51
    _, table = plan_tables(Plan("demo", (SMALL,), tuple(dropped), ()), {})
    assert column(table, "cells") == ["150", "51"]
    assert column(table, "N") == [_thousands(SMALL), _thousands(LARGE)]
    assert column(table, "reason") == [Limit.STEPS.value, Limit.MEMORY.value]
    assert table.note == "--json lists every cell with its own reason."


@pytest.mark.parametrize(("number", "note"), [(203, "... and 3 more rows. FLOPs"), (201, "... and 1 more row. FLOPs")])
def test_of_more_than_two_hundred_budgets_the_rest_is_counted(number: int, note: str) -> None:
    cells = [make_cell(1e12 * (1 + index / 1000), 32) for index in range(number)]
    [table] = plan_tables(Plan("demo", tuple(cells), (), ()), {})
    assert len(table.rows) == 200
    assert table.note.startswith(note)


def a_run(name: str, status: Status | None = None) -> PlannedRun:
    return PlannedRun(name, 1e12, 56_000, 1_120_000, status)


CHANGES = PlanChanges(
    kept=(a_run("k1"), a_run("k2")),
    new=tuple(a_run(f"n{number}") for number in range(6)),
    no_longer_asked_for=(a_run("g1", Status.COMPLETED), a_run("g2"), a_run("g3", Status.FAILED)),
    keys={"recipe.learning_rate": (0.01, 0.02), "grid.lattice": (None, True)},
)


def test_changes_count_runs_and_the_results_of_those_no_longer_asked_for() -> None:
    assert changes_sentence(CHANGES) == ("2 runs kept, 6 new, 3 no longer asked for (2 results stay in the database)")
    one = PlanChanges(CHANGES.kept[:1], (), CHANGES.no_longer_asked_for[:1], {})
    assert changes_sentence(one) == "1 run kept, 0 new, 1 no longer asked for (its result stays in the database)"
    assert changes_sentence(PlanChanges((), (), (a_run("g"),), {})).endswith("1 no longer asked for")


def test_changes_as_a_document_list_every_run_and_key() -> None:
    assert changes_document(CHANGES) == {
        "kept": ["k1", "k2"], "new": [f"n{number}" for number in range(6)], "no_longer_asked_for": ["g1", "g2", "g3"],
        "keys": {"recipe.learning_rate": {"old": 0.01, "new": 0.02}, "grid.lattice": {"old": None, "new": True}},
        "corpus_fingerprint": None,
    }  # fmt: skip
    assert changes_document(PlanChanges((), (), (), None))["keys"] is None
    other_text = changes_document(PlanChanges((), (), (), {}, corpus=("c0ffee", "beef")))
    assert other_text["corpus_fingerprint"] == {"old": "c0ffee", "new": "beef"}


def test_changes_as_text_name_four_runs_and_count_the_others() -> None:
    lines = printed(print_changes, CHANGES)
    assert "  recipe.learning_rate: 0.01 -> 0.02" in lines
    assert "  grid.lattice: not given -> true" in lines
    assert [name for name in (f"n{number}" for number in range(6)) if any(name in line.split() for line in lines)] == [
        "n0", "n1", "n2", "n3",
    ]  # fmt: skip
    assert any("... and 2 more" in line for line in lines)
    [gone] = [line.split() for line in lines if "g1" in line.split()]
    assert gone == ["1.00e12", "56.0k", "1.12M", "g1", "completed"]


def test_of_many_keys_four_are_named_and_the_others_counted() -> None:
    keys = {f"key{number}": (number, number + 1) for number in range(7)}
    lines = printed(print_changes, PlanChanges((), (), (), keys))
    assert [line.strip() for line in lines if "key" in line][:4] == [f"key{n}: {n} -> {n + 1}" for n in range(4)]
    assert "  ... and 3 more keys" in lines
    four = PlanChanges((), tuple(a_run(f"n{number}") for number in range(4)), (), dict(list(keys.items())[:4]))
    assert not any("more" in line for line in printed(print_changes, four))


@pytest.mark.parametrize(
    ("parts", "expected"),
    [(((), (), (), {}), False), (((a_run("k"),), (), (), {}), False), (((), (a_run("n"),), (), {}), True),
     (((), (), (a_run("g"),), {}), True), (((), (), (), {"a": (1, 2)}), True)],
    ids=["empty", "kept alone", "a new run", "one gone", "a key"],
)  # fmt: skip
def test_a_plan_differs_where_a_run_or_a_key_does(parts, expected: bool) -> None:
    changes = PlanChanges(*parts)
    assert changes.differ is expected
    shown = any(line.startswith("Changed since") for line in printed(print_plan, view(changes=changes)))
    assert shown is expected
