"""Runs that test a prediction: the nearest shapes that can be built and trained, none of which was trained before."""

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from isoflop import __version__
from isoflop.decision.confirmation import predict_loss
from isoflop.errors import IsoflopError
from isoflop.plan.grid import SIZE_TOLERANCE
from isoflop.plan.planner import run_of
from isoflop.plan.shapes import buildable, nearest_shape, shape_rule
from isoflop.plan.types import Extra, Limit, Role
from isoflop.run_spec import AnyRun
from isoflop.rundir import RunDir
from isoflop.rundir.layout import dir_of_run
from isoflop.shape import Shape
from isoflop.spec import SweepSpec
from isoflop.store import ConfirmPlace, Prediction, Store, hash_of_rows
from isoflop.store.columns import utc_now
from isoflop.sweep.planning import PlannedSweep
from isoflop.units import format_flops
from isoflop.wording import count

if TYPE_CHECKING:
    from isoflop.fit import SweepFit
    from isoflop.fit.results.target import Target
    from isoflop.sources.source import Source

# Losses of sweeps are held-out cross-entropy.
_LOSS_UNIT = "nats per token"
_HINTS = {
    Limit.MEMORY: "Give a smaller C, or train on a device with more memory (--device).",
    Limit.EPOCHS: "Give a smaller C or a larger corpus, or raise recipe.max_epochs.",
    Limit.STEPS: "Give a larger C, or lower recipe.min_steps.",
}


@dataclass(frozen=True)
class ConfirmRuns:
    """The runs that test one target of a fit, each with its prediction.

    Attributes:
        planned: the sweep as it is; `artifacts`: where its results are files.
        rows, fit: its results and what they say.
        target: what is tested.
        see_fit: the command that shows it.
    """

    store: Store
    spec: SweepSpec
    planned: PlannedSweep
    artifacts: Path
    _: KW_ONLY
    rows: "Source"
    fit: "SweepFit"
    target: "Target"
    see_fit: str

    def predicted(
        self, places: Sequence[ConfirmPlace], centre: Prediction | None
    ) -> Iterator[tuple[Extra, Prediction]]:
        """A run and its prediction for each of `places`; `centre` is the prediction at the optimum, if there is one."""
        budget = centre.budget_flops if centre else self.target.budget_flops
        # Counted as the fit counts now, whatever the prediction counted.
        n_centre = self.store.run_spec(centre.run_id).shape.n_params(self.spec.fit.params) if centre else None
        for place in places:
            wanted = self._n_opt if n_centre is None else place.factor * n_centre
            shape = self._shape(place, wanted, budget)
            run = self._untrained(shape, budget)
            prediction = self._predict(place, run, budget)
            n_centre = n_centre or prediction.n_params
            yield Extra(budget, shape, run.seed, Role.CONFIRM, run.run_id), prediction

    @property
    def _n_opt(self) -> float:
        assert self.target.n_opt is not None
        return self.target.n_opt

    def _shape(self, place: ConfirmPlace, wanted: float, budget: float) -> Shape:
        """The shape nearest the wanted size.

        Raises:
            IsoflopError: it cannot be built, or trained at this budget.
        """
        rule = shape_rule(self.spec, self.planned.corpus.vocab_size)
        sizes, _ = buildable(rule)
        shape = nearest_shape(rule, wanted)
        refused = self.planned.why_not(self.spec, shape, budget)
        if not sizes[0] / SIZE_TOLERANCE <= wanted <= sizes[-1] * SIZE_TOLERANCE:
            has = count(shape.n_params(rule.count))
            refused = Limit.SHAPE, f"{count(wanted)} parameters cannot be built; the nearest shape has {has}"
        if refused is not None:
            limit, reason = refused
            which = "confirm run" if place is ConfirmPlace.OPTIMUM else f"neighbour {place.words}"
            raise IsoflopError(
                f"The {which} at {format_flops(budget)} FLOPs ({count(wanted)} parameters) cannot be trained: "
                f"{reason}. Nothing was planned.",
                hint=_HINTS.get(limit, "Give another C.")
                + ("" if place is ConfirmPlace.OPTIMUM else " Or leave out --neighbours."),
            )
        return shape

    def _untrained(self, shape: Shape, budget: float) -> AnyRun:
        """The run of the smallest seed that nobody has trained: a prediction is of what is not known."""
        known, seed = self.store.statuses().keys() | self.planned.plan.runs.keys(), self.spec.grid.first_seed
        while True:
            run = run_of(self.spec, shape, budget, self.planned.corpus, seed=seed)
            run_dir = RunDir(dir_of_run(self.artifacts, run.run_id))
            if run.run_id not in known and run_dir.read_result(run.run_id) is None:
                return run
            seed += 1

    def _predict(self, place: ConfirmPlace, run: AnyRun, budget: float) -> Prediction:
        target, counted = self.target, self.spec.fit.params
        assert target.n_opt and target.d_opt and target.n_opt_ci and target.d_opt_ci and self.fit.valley
        n_params = run.shape.n_params(counted)
        loss = predict_loss(target, self.fit.valley, n_params, noise=self.fit.noise_sd, level=self.fit.level)
        if loss is None:
            raise IsoflopError(
                f"The loss that the fit predicts at {count(n_params)} parameters has no finite interval.",
                hint=f"{self.see_fit} shows how wide it is; give a C nearer to the fitted budgets.",
            )
        fitted = [(row.cell.run_id, row.loss) for row in self.rows.rows if row.cell]
        return Prediction(
            sweep=self.spec.name,
            run_id=run.run_id,
            place=place,
            budget_flops=budget,
            made_at=utc_now(),
            isoflop_version=__version__,
            estimator=target.estimator,
            param_count=counted,
            n_opt=target.n_opt,
            n_opt_low=target.n_opt_ci[0],
            n_opt_high=target.n_opt_ci[1],
            d_opt=target.d_opt,
            d_opt_low=target.d_opt_ci[0],
            d_opt_high=target.d_opt_ci[1],
            n_params=n_params,
            n_tokens=run.n_tokens,
            loss=loss.value,
            loss_low=loss.low,
            loss_high=loss.high,
            loss_unit=_LOSS_UNIT,
            level=self.fit.level,
            noise=self.fit.noise_sd,
            n_rows=len(fitted),
            rows_hash=hash_of_rows(fitted),
            fitted_runs=tuple(run_id for run_id, _ in fitted),
        )
