"""Whether a confirm run did what was predicted for it before it existed. Pure; loads no scipy."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from isoflop.store import CompletedResult, ConfirmPlace, Prediction, RunCell, SweepCell, hash_of_rows, run_cells

if TYPE_CHECKING:
    from isoflop.fit.results.target import Target
    from isoflop.fit.valley import ValleyShape


@dataclass(frozen=True)
class PredictedLoss:
    """The loss that a run of one size is to reach, nats per token, with an interval that holds one run."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ChangedResults:
    """How the results of now differ from those that a prediction rests on.

    Attributes:
        added, excluded, gone: runs that are fitted now and were not then; that a person excluded since; that the plan
            has no more, or that are no longer fitted for another reason.
        altered: whether the same runs have other losses.
    """

    added: int
    excluded: int
    gone: int
    altered: bool = False

    @property
    def any(self) -> bool:
        """Whether anything changed."""
        return bool(self.added or self.excluded or self.gone or self.altered)


@dataclass(frozen=True)
class Neighbour:
    """A run at C of half or twice the predicted size, against the confirm run.

    Attributes:
        prediction, cell: of this run.
        worse_by: its loss above the confirm run's, nats; negative where it is better; None until both completed.
        standard_error: of that, by the noise of one run.
    """

    prediction: Prediction
    cell: RunCell
    worse_by: float | None
    standard_error: float | None

    @property
    def n_standard_errors(self) -> float | None:
        """How many of them it is worse by."""
        return _ratio(self.worse_by, self.standard_error)


@dataclass(frozen=True)
class Confirmation:
    """A confirm run against its prediction.

    Attributes:
        prediction: as it was stored before the run existed.
        cell: the run, with its result if it has one.
        error: observed less predicted loss, nats; None until the run completed.
        standard_error: of that: error of the prediction and noise of one run.
        held: whether the loss lies inside the predicted interval.
        neighbours: runs of other sizes at C.
        changed: how the results of now differ from those that were fitted.
    """

    prediction: Prediction
    cell: RunCell
    error: float | None
    standard_error: float | None
    held: bool | None
    neighbours: tuple[Neighbour, ...]
    changed: ChangedResults

    @property
    def observed(self) -> CompletedResult | None:
        """What came of the run; None until it completed."""
        return self.cell.completed

    @property
    def n_standard_errors(self) -> float | None:
        """How many of them the loss lies above the predicted one; negative below."""
        return _ratio(self.error, self.standard_error)


def predict_loss(
    target: "Target", valley: "ValleyShape", n_params: float, *, noise: float, level: float
) -> PredictedLoss | None:
    """The loss of a run of `n_params` at the budget of `target`; None where the fit has no law of the loss.

    The optimum's loss, and the rise of the recommended estimate's valley from its N_opt to this size. The interval adds
    in quadrature the target's own interval of the loss, the rises from the ends of the interval of N_opt, and the
    `noise` of one run, a standard deviation in nats. No size lies below the floor, so towards lower losses the rises
    end at 0 where the interval of N_opt holds this size.
    """
    if target.loss is None or target.loss_ci is None or target.n_opt is None or target.n_opt_ci is None:
        return None
    n_low, n_high = target.n_opt_ci
    log_c = math.log10(target.budget_flops)
    rise, *ends = (valley.rise(n_params, optimum, log_c) for optimum in (target.n_opt, n_low, n_high))
    least = 0.0 if n_low <= n_params <= n_high else min(ends)
    spread = _quantile(level) * noise
    value = target.loss + rise
    low = value - math.hypot(target.loss - target.loss_ci[0], rise - least, spread)
    high = value + math.hypot(target.loss_ci[1] - target.loss, max(ends) - rise, spread)
    return PredictedLoss(value, low, high) if math.isfinite(low) and math.isfinite(high) else None


def judge(predictions: Sequence[Prediction], cells: Sequence[SweepCell]) -> tuple[Confirmation, ...]:
    """The confirm runs among `cells` of a sweep, by ascending budget, each against its own of `predictions`."""
    runs = {cell.run_id: cell for cell in run_cells(cells) if cell.role == "confirm"}
    planned = [(prediction, runs[prediction.run_id]) for prediction in predictions if prediction.run_id in runs]
    return tuple(
        sorted(
            (
                _confirmation(prediction, cell, planned, cells)
                for prediction, cell in planned
                if prediction.place is ConfirmPlace.OPTIMUM
            ),
            key=lambda confirmation: confirmation.prediction.budget_flops,
        )
    )


def _confirmation(
    prediction: Prediction,
    cell: RunCell,
    planned: Sequence[tuple[Prediction, RunCell]],
    cells: Sequence[SweepCell],
) -> Confirmation:
    error = standard_error = held = None
    if cell.completed is not None:
        error = cell.completed.val_loss - prediction.loss
        half = prediction.loss_high - prediction.loss if error > 0 else prediction.loss - prediction.loss_low
        standard_error, held = half / _quantile(prediction.level), abs(error) <= half
    return Confirmation(
        prediction=prediction,
        cell=cell,
        error=error,
        standard_error=standard_error,
        held=held,
        neighbours=tuple(_neighbours(prediction, cell, planned)),
        changed=changed_results(prediction, cells),
    )


def _neighbours(
    prediction: Prediction, cell: RunCell, planned: Sequence[tuple[Prediction, RunCell]]
) -> Iterator[Neighbour]:
    """The other sizes at the budget, the smaller first."""
    for place in (ConfirmPlace.HALF, ConfirmPlace.DOUBLE):
        for other, beside in planned:
            if other.place is place and other.budget_flops == prediction.budget_flops:
                yield _neighbour(other, beside, prediction, cell)


def _neighbour(other: Prediction, beside: RunCell, prediction: Prediction, cell: RunCell) -> Neighbour:
    if beside.completed is None or cell.completed is None:
        return Neighbour(other, beside, None, None)
    worse_by = beside.completed.val_loss - cell.completed.val_loss
    # All runs are evaluated on the same held-out tokens, so their errors of evaluation mostly cancel.
    noise = (prediction.noise, prediction.noise)
    if not prediction.noise:
        noise = (beside.completed.val_loss_se or 0.0, cell.completed.val_loss_se or 0.0)
    return Neighbour(other, beside, worse_by, math.hypot(*noise))


def changed_results(prediction: Prediction, cells: Sequence[SweepCell]) -> ChangedResults:
    """How the fitted results of `cells` differ from those that the prediction rests on."""
    before, runs = set(prediction.fitted_runs), {cell.run_id: cell for cell in run_cells(cells)}
    now = {cell.run_id: cell.used.val_loss for cell in run_cells(cells) if cell.used}
    left = before - now.keys()
    excluded = sum(run_id in runs and runs[run_id].excluded is not None for run_id in left)
    rows = [(run_id, now[run_id]) for run_id in prediction.fitted_runs] if not left else []
    return ChangedResults(
        added=len(now.keys() - before),
        excluded=excluded,
        gone=len(left) - excluded,
        altered=not left and hash_of_rows(rows) != prediction.rows_hash,
    )


def _quantile(level: float) -> float:
    """Half-width, in standard deviations, of a two-sided normal interval."""
    return NormalDist().inv_cdf((1 + level) / 2)


def _ratio(value: float | None, standard_error: float | None) -> float | None:
    return None if value is None or not standard_error else value / standard_error
