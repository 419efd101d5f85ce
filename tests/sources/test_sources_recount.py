"""A budget recounted under another convention: the count of FLOPs at the floor of its runs."""

import dataclasses
import math

import numpy as np
import pytest

from isoflop.counting import FlopCount
from isoflop.errors import IsoflopError
from isoflop.shape import GROUPS, LadderModel
from isoflop.sources.load import load_sources
from isoflop.sources.recount import under_convention
from tests.report_examples import WIDTHS, grid, make_cell, make_result, save_sweep

BUDGET = 1e13


def recounted(folder, results, cells, flops=FlopCount.SIX_ND, params="total"):
    """The source counted otherwise, and 6 N D and N of each of its runs, in order of size."""
    path = folder / "demo.db"
    save_sweep(path, cells, results)
    source = load_sources([str(path)], db=path, sweep=None)
    n_params = np.array([cell.run.shape.n_params(params) for cell in cells], dtype=float)
    n_tokens = np.array([cell.run.n_tokens for cell in cells], dtype=float)
    order = np.argsort(n_params)
    return under_convention(source, params, flops), (6 * n_params * n_tokens)[order], n_params[order]


def budgets_of(source):
    return source.columns_of_fit["budget_flops"]


def straight_line_at(n_opt, n_params, counts):
    """numpy's own line of ln count over ln N, read at N_opt."""
    return math.exp(np.polyval(np.polyfit(np.log(n_params), np.log(counts), 1), math.log(n_opt)))


def on_valley(cell, log_n_opt, params="total"):
    """A completed run on an exact parabola with its floor at `log_n_opt`."""
    return make_result(cell, val_loss=2.5 + 0.4 * (math.log10(cell.run.shape.n_params(params)) - log_n_opt) ** 2)


@pytest.mark.parametrize("log_n_opt", [4.3, 5.4])
def test_the_budget_is_the_count_at_the_floor_wherever_the_floor_lies_among_the_sizes(tmp_path, log_n_opt):
    cells, count = grid(BUDGET), "non_embedding"
    results = [on_valley(cell, log_n_opt, count) for cell in cells]
    source, counts, n_params = recounted(tmp_path, results, cells, params=count)
    expected = straight_line_at(10**log_n_opt, n_params, counts)
    # 6 N D rises so steeply with these N that it matters where the floor lies
    assert abs(math.log(expected / np.exp(np.log(counts).mean()))) > 0.05
    assert set(budgets_of(source)) == {cell.budget_flops for cell in source.cells}
    assert budgets_of(source) == pytest.approx([expected] * len(cells), rel=1e-9)


def test_of_counts_that_are_a_power_of_size_the_budget_is_that_power_of_the_optimum(tmp_path):
    # 6 N D by hand: D such that the count is 300 N^1.5, whatever the planned budget says
    cells = [with_count(make_cell(BUDGET, width), lambda n: 300 * n**1.5) for width in WIDTHS]
    source, _, _ = recounted(tmp_path, [on_valley(cell, 4.5) for cell in cells], cells)
    assert budgets_of(source) == pytest.approx([300 * 10 ** (1.5 * 4.5)] * len(cells), rel=1e-3)


def with_count(cell, count):
    """The cell with as many steps as make 6 N D the count of its N; batches of one sequence of two tokens."""
    run = cell.run
    shape = dataclasses.replace(run.shape, context_length=2)
    n_params = shape.n_params_total
    n_steps = round(count(n_params) / (6 * n_params * 2))
    assert n_steps > 50
    run = run.model_copy(update={"shape": shape, "batch_sequences": 1, "n_steps": n_steps})
    return dataclasses.replace(cell, run=run)


@pytest.mark.parametrize("best", [0, -1], ids=["smallest", "largest"])
def test_where_a_budget_has_no_floor_its_best_run_is_taken_for_it(tmp_path, best):
    cells = grid(BUDGET)
    sign = 1 if best == 0 else -1
    results = [make_result(cell, val_loss=3 + sign * math.log10(cell.run.shape.n_params_total) / 9) for cell in cells]
    source, counts, n_params = recounted(tmp_path, results, cells)
    expected = straight_line_at(n_params[best], n_params, counts)
    assert budgets_of(source) == pytest.approx([expected] * len(cells), rel=1e-9)


def test_runs_of_one_size_have_the_mean_of_their_counts(tmp_path):
    cells = [make_cell(BUDGET, 64, seed=seed) for seed in range(3)]
    source, counts, _ = recounted(tmp_path, [make_result(cell) for cell in cells], cells)
    assert budgets_of(source) == pytest.approx([counts[0]] * 3)


def test_each_budget_is_read_at_its_own_floor_and_without_attention_counts_less(tmp_path):
    cells = grid(1e12, 1e13)
    results = [on_valley(cell, 4.6 if cell.budget_flops == 1e12 else 5.0) for cell in cells]
    source, _, _ = recounted(tmp_path, results, cells, FlopCount.NO_ATTENTION)
    for planned, log_n_opt in ((1e12, 4.6), (1e13, 5.0)):
        shapes = [cell.run for cell in cells if cell.budget_flops == planned]
        n_params = np.array([run.shape.n_params_total for run in shapes], dtype=float)
        # without attention: every matrix product of weights, 6 FLOPs for each of their parameters and tokens
        weights = [run.shape.n_params_matmul - run.shape.n_params_norm for run in shapes]
        counts = np.array([6.0 * w * run.n_tokens for w, run in zip(weights, shapes, strict=True)])
        expected = straight_line_at(10**log_n_opt, n_params, counts)
        [found] = {budget for budget in budgets_of(source) if planned / 3 < budget < planned * 1.5}
        assert found == pytest.approx(expected, rel=1e-9)


def test_exact_flops_leave_the_budgets_as_planned(tmp_path):
    cells = grid(BUDGET)
    source, _, _ = recounted(tmp_path, [on_valley(cell, 4.5) for cell in cells], cells, FlopCount.EXACT)
    assert set(budgets_of(source)) == {BUDGET}


def by_its_author(shape, **changes):
    """Our shape as a ladder with groups counts it."""
    groups = {f"n_params_{group}": getattr(shape, f"n_params_{group}") for group in GROUPS}
    return LadderModel(shape.n_params_total, shape.flops_per_token, **{**groups, **changes})


def with_ladder(source, **changes):
    def of(cell):
        return dataclasses.replace(cell, shape=by_its_author(cell.shape, **changes))

    rows = tuple(row._replace(cell=of(row.cell)) for row in source.rows)
    return dataclasses.replace(source, rows=rows, cells=tuple(map(of, source.cells)))


@pytest.mark.parametrize("params", ["total", "non_embedding", "matmul"])
@pytest.mark.parametrize("flops", [FlopCount.EXACT, FlopCount.SIX_ND])
def test_a_ladder_with_groups_is_recounted_as_the_shapes_that_it_counts(tmp_path, params, flops):
    path, cells = tmp_path / "demo.db", grid(BUDGET)
    save_sweep(path, cells, [on_valley(cell, 4.5) for cell in cells])
    source = load_sources([str(path)], db=path, sweep=None)
    ours, theirs = (under_convention(one, params, flops) for one in (source, with_ladder(source)))
    assert theirs.columns_of_fit == ours.columns_of_fit
    with pytest.raises(IsoflopError, match="--flops no-attention needs layers and widths, which only isoflop's own"):
        under_convention(with_ladder(source), params, FlopCount.NO_ATTENTION)
    alone = with_ladder(source, **{f"n_params_{group}": None for group in GROUPS})
    with pytest.raises(IsoflopError, match="need the parameters of every model by group, and models of this"):
        under_convention(alone, params, flops)
