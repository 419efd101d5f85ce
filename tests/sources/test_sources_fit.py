"""What a fit is given of its sources beside the rows: points along training curves."""

from unittest import mock

import numpy as np
import pytest

import isoflop.fit
from isoflop.counting import FlopCount, flops_per_token
from isoflop.fit import Question
from isoflop.sources.load import load_sources
from isoflop.sources.recount import under_convention
from isoflop.sources.source import fit_source
from tests.report_examples import grid, make_result, points_of, save_sweep


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("curves") / "demo.db"
    cells = grid(1e12, 1e13)
    results = []
    for cell in cells:
        n_tokens = cell.run.n_tokens
        curve = [{"step": step, "n_tokens": n_tokens * step // 4, "loss": 6.0 - step} for step in (1, 2, 4)]
        results.append(make_result(cell, curve=curve))
    save_sweep(path, cells, results)
    return load_sources([str(path)], db=path, sweep=None)


def given_curves(source):
    with mock.patch.object(isoflop.fit, "fit_sweep") as fit_sweep:
        fit_source(source, Question())
    return fit_sweep.call_args.args[1].curves


@pytest.mark.parametrize("flops", list(FlopCount))
@pytest.mark.parametrize("params", [None, "non_embedding"])
def test_points_on_the_way_are_counted_as_the_fit_counts(source, params, flops):
    counted = under_convention(source, params, flops)
    curves = given_curves(counted)
    # two of three points each: the last is the run itself
    assert len(curves.loss) == 2 * len(source.rows)
    assert set(curves.loss) == {5.0, 4.0}
    count = params or "total"
    expected = [flops_per_token(cell.shape, flops, count) * (cell.n_tokens // 4) for cell in source.cells]
    assert curves.flops[::2] == pytest.approx(expected)
    assert curves.n_params[::2].tolist() == [cell.shape.n_params(count) for cell in source.cells]
    assert curves.n_tokens[1::2] == pytest.approx(2 * curves.n_tokens[::2], rel=1e-3)


def test_runs_of_several_databases_bring_their_curves(source, tmp_path):
    cells = grid(1e14)
    path = tmp_path / "more.db"
    save_sweep(path, cells, [make_result(cell) for cell in cells])
    pooled = load_sources([str(source.path), str(path)], db=path, sweep=None)
    np.testing.assert_array_equal(given_curves(pooled).loss, given_curves(source).loss)


def test_tables_have_no_curves():
    assert given_curves(points_of(1e12, 1e13)) is None
