"""Predicted losses and verdicts on confirm runs, by hand."""

import dataclasses
import math
from typing import Any

import pytest

from isoflop.decision.confirmation import Confirmation, changed_results, judge, predict_loss
from isoflop.decision.confirmation_findings import confirmation_findings
from isoflop.fit.reading.target_reader import unanswered_target
from isoflop.fit.results.target import Target
from isoflop.fit.valley import ValleyShape
from isoflop.plan.types import Cell, Role
from isoflop.store import ConfirmPlace, Prediction, RunCell, hash_of_rows, open_store
from tests.report_examples import grid, make_cell, make_result, save_sweep, unfinished

# Half-width of a 90 % normal interval, in standard deviations (any table of the normal law).
Z90 = 1.6448536
CURVATURE = 0.4
VALLEY = ValleyShape.of_parabola(CURVATURE)


def target(**changes: Any) -> Target:
    read = {"n_opt": 1e6, "n_opt_ci": (1e6, 1e6), "d_opt": 1e7, "loss": 2.0, "loss_ci": (1.97, 2.03)}
    return dataclasses.replace(unanswered_target(1e13), **{**read, **changes})


def test_at_the_optimum_the_interval_adds_that_of_the_law_and_the_noise_of_a_run() -> None:
    found = predict_loss(target(), VALLEY, 1e6, noise=0.04 / Z90, level=0.9)
    assert found is not None
    assert found.value == pytest.approx(2.0)
    assert (found.low, found.high) == (pytest.approx(1.95, abs=1e-6), pytest.approx(2.05, abs=1e-6))


@pytest.mark.parametrize("decades", [-0.3, 0.2])
def test_off_the_optimum_the_loss_rises_as_the_valley_does(decades: float) -> None:
    found = predict_loss(target(), VALLEY, 10 ** (6 + decades), noise=0.0, level=0.9)
    assert found is not None
    assert found.value == pytest.approx(2 + CURVATURE / 2 * 2 * decades**2, rel=1e-4)


def test_an_unsure_optimum_widens_the_interval_upwards_alone() -> None:
    """The size may lie off the floor, by 0.3 decades at most, and never below it."""
    found = predict_loss(target(n_opt_ci=(10**5.7, 10**6.2)), VALLEY, 1e6, noise=0.0, level=0.9)
    assert found is not None
    assert found.low == pytest.approx(1.97)
    assert found.high == pytest.approx(2 + math.hypot(0.03, CURVATURE * 0.3**2), rel=1e-5)


def test_a_size_outside_the_interval_of_the_optimum_may_lie_nearer_to_the_floor() -> None:
    found = predict_loss(target(n_opt_ci=(10**5.9, 10**6.1)), VALLEY, 10**6.3, noise=0.0, level=0.9)
    assert found is not None
    rise, least, most = (CURVATURE * decades**2 for decades in (0.3, 0.2, 0.4))
    assert found.value == pytest.approx(2 + rise, rel=1e-4)
    assert found.low == pytest.approx(2 + rise - math.hypot(0.03, rise - least), rel=1e-4)
    assert found.high == pytest.approx(2 + rise + math.hypot(0.03, most - rise), rel=1e-4)


@pytest.mark.parametrize("missing", ["loss", "loss_ci", "n_opt", "n_opt_ci"])
def test_without_a_law_of_the_loss_nothing_is_predicted(missing: str) -> None:
    assert predict_loss(target(**{missing: None}), VALLEY, 1e6, noise=0.0, level=0.9) is None


def test_a_loss_that_no_float_holds_is_none() -> None:
    steep = ValleyShape(30.0, 30.0, 0.0, 0.0, 0.0)
    assert predict_loss(target(), steep, 1e30, noise=0.0, level=0.9) is None


def prediction_of(cell: Cell, place: ConfirmPlace = ConfirmPlace.OPTIMUM, **changes: Any) -> Prediction:
    fields = {
        "sweep": "demo", "run_id": cell.run.run_id, "place": place, "budget_flops": cell.budget_flops,
        "made_at": "2026-01-02T03:04:05.678+00:00", "isoflop_version": "0.1.0", "estimator": "joint",
        "param_count": "total", "n_opt": 1e5, "n_opt_low": 9e4, "n_opt_high": 1.2e5, "d_opt": 1e7, "d_opt_low": 9e6,
        "d_opt_high": 1.1e7, "n_params": cell.run.shape.n_params_total, "n_tokens": cell.run.n_tokens, "loss": 2.0,
        "loss_low": 1.95, "loss_high": 2.1, "loss_unit": "nats per token", "level": 0.9, "noise": 0.01, "n_rows": 1,
        "rows_hash": "none", "fitted_runs": ("none",),
    }  # fmt: skip
    return Prediction(**{**fields, **changes})


CONFIRM, HALF, DOUBLE = (
    make_cell(1e14, width, role=Role.CONFIRM) for width in (96, 64, 128)
)  # fmt: skip
PLACES = {CONFIRM: ConfirmPlace.OPTIMUM, HALF: ConfirmPlace.HALF, DOUBLE: ConfirmPlace.DOUBLE}


def judged(losses: dict[Cell, float | None], **changes: Any) -> Confirmation:
    """The verdict on a confirm run whose predicted loss is 2.0 (1.95 to 2.1)."""
    cells = [_cell(cell, loss) for cell, loss in losses.items()]
    made = [prediction_of(cell, PLACES[cell], **changes) for cell in losses]
    (one,) = judge(made, cells)
    return one


def _cell(cell: Cell, loss: float | None) -> RunCell:
    run = cell.run
    bare = RunCell(
        sweep="demo", budget_flops=cell.budget_flops, shape=run.shape, role=cell.role, run_id=run.run_id,
        n_tokens=run.n_tokens, n_steps=run.n_steps, planned_flops=run.planned_flops, epochs=0.5,
        batch_tokens=run.batch_tokens, learning_rate=0.01, seed=0, log_path=None, n_attempts=1, excluded=None,
    )  # fmt: skip
    return bare if loss is None else bare.with_result(make_result(cell, val_loss=loss, val_loss_se=0.003))


@pytest.mark.parametrize(
    ("loss", "standard_error", "held"),
    [(2.05, 0.1 / Z90, True), (2.0999, 0.1 / Z90, True), (2.1001, 0.1 / Z90, False), (1.9501, 0.05 / Z90, True),
     (1.9499, 0.05 / Z90, False)],
)  # fmt: skip
def test_a_prediction_held_where_the_loss_lies_inside_its_interval(
    loss: float, standard_error: float, held: bool
) -> None:
    one = judged({CONFIRM: loss})
    assert one.error == pytest.approx(loss - 2.0)
    assert one.standard_error == pytest.approx(standard_error, rel=1e-6)
    assert one.n_standard_errors == pytest.approx((loss - 2.0) / standard_error, rel=1e-6)
    assert one.held is held
    assert [finding.code for finding in confirmation_findings([one])] == ([] if held else ["prediction_missed"])


def test_neighbours_are_compared_by_the_noise_of_two_runs() -> None:
    one = judged({CONFIRM: 2.0, DOUBLE: 1.97, HALF: 2.03})
    assert [beside.prediction.place for beside in one.neighbours] == [ConfirmPlace.HALF, ConfirmPlace.DOUBLE]
    half, double = one.neighbours
    assert half.worse_by == pytest.approx(0.03)
    assert half.n_standard_errors == pytest.approx(0.03 / (0.01 * math.sqrt(2)))
    assert double.n_standard_errors == pytest.approx(-0.03 / (0.01 * math.sqrt(2)))
    (finding,) = confirmation_findings([one])
    assert finding.code == "confirm_neighbour_better" and finding.values["place"] == "double"


def test_a_neighbour_that_is_better_within_the_noise_is_no_finding() -> None:
    one = judged({CONFIRM: 2.0, DOUBLE: 2.0 - 1.9 * 0.01 * math.sqrt(2)})
    assert list(confirmation_findings([one])) == []


def test_where_no_noise_is_known_errors_of_evaluation_stand_in() -> None:
    one = judged({CONFIRM: 2.0, HALF: 2.03}, noise=0.0)
    assert one.neighbours[0].standard_error == pytest.approx(0.003 * math.sqrt(2))


def test_what_has_no_result_has_no_verdict() -> None:
    waiting = judged({CONFIRM: None, HALF: 2.0})
    assert (waiting.held, waiting.error, waiting.neighbours[0].worse_by) == (None, None, None)
    assert list(confirmation_findings([waiting])) == []


def test_only_runs_that_the_sweep_asks_for_are_judged(tmp_path: Any) -> None:
    """A prediction whose run left the plan, and a run of another role, are none."""
    assert judge([prediction_of(CONFIRM)], []) == ()
    suggested = dataclasses.replace(CONFIRM, role=Role.SUGGESTED)
    assert judge([prediction_of(suggested)], [_cell(suggested, 2.0)]) == ()


def test_a_run_that_broke_is_told_as_such(tmp_path: Any) -> None:
    cell = _cell(CONFIRM, None).with_result(unfinished(CONFIRM, "diverged", "loss was not finite at step 17"))
    (one,) = judge([prediction_of(CONFIRM)], [cell])
    assert one.held is None and one.cell.broken is not None


def test_results_that_came_went_or_were_excluded_are_counted(tmp_path: Any) -> None:
    cells = grid(1e12)
    results = [make_result(cell) for cell in cells]
    ids = [cell.run.run_id for cell in cells]
    fitted = [(result.run_id, result.val_loss) for result in results[:-1] if result.val_loss]
    made = prediction_of(CONFIRM, fitted_runs=tuple(ids[:-1]), n_rows=6, rows_hash=hash_of_rows(fitted))
    path = tmp_path / "x.db"
    save_sweep(path, cells, results[:-1])
    with open_store(path, write=True) as store:
        assert not changed_results(made, store.cells("demo")).any
        store.record(results[-1])
        store.exclude(ids[0], reason="spike")
        changed = changed_results(made, store.cells("demo"))
        assert (changed.added, changed.excluded, changed.gone, changed.altered) == (1, 1, 0, False)
        gone = changed_results(
            dataclasses.replace(made, fitted_runs=(*made.fitted_runs, "0" * 12)), store.cells("demo")
        )
        assert (gone.added, gone.excluded, gone.gone) == (1, 1, 1)
        store.include(ids[0])
        altered = changed_results(dataclasses.replace(made, rows_hash="0" * 16), store.cells("demo"))
        assert altered.altered
