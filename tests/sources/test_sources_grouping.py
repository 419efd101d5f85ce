"""Tables with achieved FLOPs: runs of one budget are fitted as one, from the file to the output."""

import json

import pytest

from isoflop.errors import IsoflopError
from isoflop.fit import Question
from isoflop.fit.laws import published_law
from isoflop.sources.columns.column_request import ColumnRequest
from isoflop.sources.grouping import Grouping, grouped
from isoflop.sources.load import load_sources
from isoflop.sources.source import fit_source
from isoflop.sources.table_options import TableOptions
from tests.commands import isoflop
from tests.fit.known_sweeps import DATA
from tests.report_examples import grid, make_result, save_sweep

ACHIEVED = DATA / "cases" / "01-achieved-flops" / "input.csv"


def load(*sources, **renames):
    options = TableOptions(columns=tuple(ColumnRequest(ours, theirs) for ours, theirs in renames.items()))
    return load_sources([str(source) for source in sources], db=DATA / "none.db", sweep=None, options=options)


def achieved():
    return load(ACHIEVED, budget_flops="achieved_flops")


def finding(source):
    (found,) = [one for one in source.findings if one.code == "grouped_budgets"]
    return found


def test_achieved_flops_give_the_valleys_of_the_planned_budgets():
    """Right by numpy.polyfit on the column of labels: floors 114.1M, 250.0M, 539.6M, a = 0.496, b = 0.504."""
    source = grouped(achieved(), Grouping())
    fit = fit_source(source, Question(targets=[1e20]))
    assert [profile.n_opt / 1e6 for profile in fit.profiles] == pytest.approx([114.1, 250.0, 539.6], rel=2e-3)
    assert fit.frontier.exponent_a == pytest.approx(0.496, abs=5e-4)
    assert fit.frontier.exponent_b == pytest.approx(0.504, abs=1e-3)
    values = finding(source).values
    assert (values["n_values"], values["n_budgets"], values["n_moved"]) == (21, 3, 21)
    assert values["largest_distance"] == pytest.approx(0.0062, abs=1e-4)
    assert values["chosen"] == "automatic"


def test_the_same_with_the_budgets_named_is_that_of_the_labels():
    named = fit_source(grouped(achieved(), Grouping(budgets=(9.56e17, 4.57e18, 2.2e19))), Question())
    labelled = fit_source(load(ACHIEVED, budget_flops="label"), Question())
    assert [profile.budget_flops for profile in named.profiles] == [9.56e17, 4.57e18, 2.2e19]
    ours, theirs = (fit.estimators.recommended.estimate for fit in (named, labelled))
    assert ours.exponent_a == pytest.approx(theirs.exponent_a, abs=1e-3)


def test_equal_budgets_come_back_as_they_are():
    source = load(DATA / "cases" / "base.csv")
    assert grouped(source, Grouping()) is source


def test_rows_keep_what_the_table_says():
    before, after = achieved().rows[0], grouped(achieved(), Grouping()).rows[0]
    assert after.as_read == (before.budget_flops, before.n_tokens, before.loss)
    assert after.n_tokens / before.n_tokens == pytest.approx(after.budget_flops / before.budget_flops)


def test_runs_of_sweeps_stay_at_their_budgets_and_rows_of_tables_join_them(tmp_path):
    path = tmp_path / "demo.db"
    cells = grid(1e12, 1e13)
    save_sweep(path, cells, [make_result(cell) for cell in cells])
    near = ["budget_flops,n_params,n_tokens,loss", "1.01e12,1e5,1.68e6,4.0", "1.02e13,1e5,1.7e7,3.5"]
    (tmp_path / "near.csv").write_text("\n".join(near))
    pooled = load(path, tmp_path / "near.csv")
    source = grouped(pooled, Grouping())
    n_ours = len(pooled.rows) - 2
    assert source.rows[:n_ours] == pooled.rows[:n_ours]
    assert [row.budget_flops for row in source.rows[n_ours:]] == [1e12, 1e13]
    assert [len(part.rows) for part in source.parts] == [n_ours, 2]
    assert source.parts[1].rows == source.rows[n_ours:]


def test_a_sweep_alone_is_never_grouped(tmp_path):
    path = tmp_path / "demo.db"
    cells = grid(1e12, 1.001e12)
    save_sweep(path, cells, [make_result(cell) for cell in cells])
    source = load(path)
    assert grouped(source, Grouping()) is source
    with pytest.raises(IsoflopError, match="group the runs of a table, and there is none"):
        grouped(source, Grouping(tolerance=0.1))


def test_a_loss_is_not_carried_across_budgets():
    with pytest.raises(IsoflopError, match=r"One budget of .* FLOPs would hold a run of"):
        grouped(achieved(), Grouping(tolerance=10.0))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--budget-tolerance", "0.6"], "--budget-tolerance 0.6 is not a share"),
        (["--budget-tolerance=-1"], "--budget-tolerance -1 is not a share"),
        (["--budget-tolerance", "nan"], "--budget-tolerance nan is not a share"),
        (["--budgets", "1e18,"], "'' is not a usable --budgets in FLOPs"),
        (["--budgets", "1e18,x"], "'x' is not a usable --budgets in FLOPs"),
        (["--budgets", "5"], "--budgets in FLOPs is 5, outside the range"),
    ],
)
def test_unusable_options_are_refused(options, said):
    command = ["fit", str(ACHIEVED), "--column", "budget_flops=achieved_flops", *options]
    assert said in " ".join(isoflop(*command, folder=DATA, code=1).stderr.split())


def test_the_command_says_what_it_grouped_and_leaves_it_when_told_to():
    command = ["fit", str(ACHIEVED), "--column", "budget_flops=achieved_flops", "--json"]
    document = json.loads(isoflop(*command, folder=DATA).stdout)
    assert "grouped_budgets" in [found["code"] for found in document["findings"]]
    assert len(document["profiles"]) == 3
    alone = json.loads(isoflop(*command, "--budget-tolerance", "0", folder=DATA).stdout)
    assert {"near_budgets", "no_profiles"} <= {found["code"] for found in alone["findings"]}


def test_diagonals_of_a_crossed_grid_are_not_grouped_unless_that_is_asked_for(tmp_path):
    law = published_law("epoch").surface
    rows = [
        (6 * n_params * n_tokens, n_params, n_tokens, law.loss(n_params, n_tokens))
        for n_params in (1e8, 2.06e8, 4.1e8, 8.2e8, 16.1e8)
        for n_tokens in (5e8, 1e9, 2e9, 4e9, 8e9, 16e9)
    ]
    path = tmp_path / "grid.csv"
    lines = ["budget_flops,n_params,n_tokens,loss", *(",".join(map(repr, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    source = load(path)
    assert grouped(source, Grouping()) is source
    assert grouped(source, Grouping(tolerance=0.03)) is not source


@pytest.mark.parametrize(("column", "n_moved"), [("achieved_flops", 14), ("label", 0)])
def test_runs_near_none_of_the_budgets_named_are_counted(column, n_moved):
    source = grouped(load(ACHIEVED, budget_flops=column), Grouping(budgets=(9.56e17, 4.57e18)))
    assert sum(row.as_read is not None for row in source.rows) == n_moved
    (off,) = [one for one in source.findings if one.code == "runs_off_budgets"]
    assert off.values["n_runs"] == 7
    assert "7 runs of 21 are near none of the budgets" in off.message
    every = grouped(load(ACHIEVED, budget_flops=column), Grouping(budgets=(9.56e17, 4.57e18, 2.2e19)))
    assert "runs_off_budgets" not in {one.code for one in every.findings}
