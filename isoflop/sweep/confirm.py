"""Confirm runs of a sweep: the recommended optimum beyond its budgets, predicted before it is planned."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from isoflop.decision.confirmation import changed_results
from isoflop.errors import IsoflopError
from isoflop.finding import Severity
from isoflop.plan.types import Extra, Role
from isoflop.result import Status
from isoflop.spec import SweepSpec
from isoflop.store import ConfirmPlace, PlanChanges, Prediction, Store
from isoflop.sweep.confirm_runs import ConfirmRuns
from isoflop.sweep.planning import PlannedSweep
from isoflop.units import format_flops, plural

if TYPE_CHECKING:
    from isoflop.fit import SweepFit
    from isoflop.fit.results.target import Target
    from isoflop.sources.source import Source

# Budgets that people write differ by more, and roundings of one by less.
SAME_BUDGET = 1e-6


@dataclass(frozen=True)
class ConfirmRequest:
    """What `run --confirm C` asks for.

    Attributes:
        budget_flops: C.
        neighbours: whether half and twice the predicted size are trained too.
        file: the sweep file, as hints name it.
    """

    budget_flops: float
    neighbours: bool = False
    file: Path = Path("SWEEP")

    @property
    def places(self) -> tuple[ConfirmPlace, ...]:
        """The sizes to train."""
        return tuple(ConfirmPlace) if self.neighbours else (ConfirmPlace.OPTIMUM,)

    @property
    def train_first(self) -> str:
        """How to have the results that a prediction rests on."""
        return f"`isoflop run {shlex.quote(str(self.file))}` trains what is pending; then give this command again."

    @property
    def see_the_fit(self) -> str:
        """The command that shows what the fit says at C."""
        return f"`isoflop fit {shlex.quote(str(self.file))} --target {self.budget_flops:g}`"

    def is_of(self, prediction: Prediction) -> bool:
        """Whether a prediction is of this budget."""
        return abs(prediction.budget_flops / self.budget_flops - 1) <= SAME_BUDGET


@dataclass(frozen=True)
class ConfirmPlan:
    """The confirm runs of one budget.

    Attributes:
        extras: runs to add to the sweep.
        new: their predictions, to be stored with them.
        standing: predictions of such runs that are there already.
        notes: what to know of them, one sentence each.
    """

    extras: tuple[Extra, ...] = ()
    new: tuple[Prediction, ...] = ()
    standing: tuple[Prediction, ...] = ()
    notes: tuple[str, ...] = ()


def refuse_early(store: Store, spec: SweepSpec, request: ConfirmRequest) -> None:
    """Nothing, where the sweep was planned and C lies above its budgets, or was predicted; before any text is read.

    Raises:
        IsoflopError: it is not so.
    """
    if spec.name not in store.sweep_names():
        raise IsoflopError(
            f"The sweep {spec.name!r} has never been run, so nothing predicts a confirm run.",
            hint=request.train_first,
        )
    if not any(request.is_of(prediction) for prediction in store.predictions(spec.name)):
        _refuse_inside(spec.budgets[-1], request)


def _refuse_inside(largest: float, request: ConfirmRequest) -> None:
    if request.budget_flops <= largest * (1 + SAME_BUDGET):
        raise IsoflopError(
            f"--confirm {format_flops(request.budget_flops)} FLOPs does not lie above the largest budget of the sweep, "
            f"{format_flops(largest)}: a confirm run tests an extrapolation.",
            hint="Give 3 to 10 times the largest budget.",
        )


def stored_extras(store: Store, spec: SweepSpec, request: ConfirmRequest) -> Iterator[Extra]:
    """Runs that were predicted for this budget before, though the plan may have lost them since."""
    for prediction in store.predictions(spec.name):
        if request.is_of(prediction) and prediction.place in request.places:
            run = store.run_spec(prediction.run_id)
            yield Extra(prediction.budget_flops, run.shape, run.seed, Role.CONFIRM, prediction.run_id)


def plan_confirmation(
    store: Store,
    spec: SweepSpec,
    request: ConfirmRequest,
    planned: PlannedSweep,
    *,
    changes: PlanChanges | None,
    artifacts: Path,
) -> ConfirmPlan:
    """What `request` adds to the sweep, which is `planned` with the confirm runs that it has, `changes` against before.

    A run that was predicted before stands, with its prediction; only what is missing is predicted now.

    Raises:
        IsoflopError: the sweep is not finished or changed, its fit predicts nothing that can be tested, or a run
            cannot be trained.
    """
    confirming = {cell.run.run_id for cell in planned.plan.cells if cell.role is Role.CONFIRM}
    predicted = [one for one in store.predictions(spec.name) if request.is_of(one) and one.run_id in confirming]
    standing = tuple(one for one in predicted if one.place in request.places)
    missing = [place for place in request.places if place not in {one.place for one in standing}]
    if not missing:
        return ConfirmPlan(standing=standing, notes=tuple(_on_standing(store, spec, standing)))
    _refuse_unready(store, spec, planned, changes, request)
    rows, fit = _fitted(store, spec, request)
    target = _credible(spec, rows, fit, request)
    runs = ConfirmRuns(store, spec, planned, artifacts, rows=rows, fit=fit, target=target, see_fit=request.see_the_fit)
    centre = next((one for one in predicted if one.place is ConfirmPlace.OPTIMUM), None)
    made = list(runs.predicted(missing, centre))
    return ConfirmPlan(
        extras=tuple(extra for extra, _ in made),
        new=tuple(prediction for _, prediction in made),
        standing=standing,
        notes=(*_on_standing(store, spec, standing), *_on_fit(store, planned, target, made)),
    )


def _on_standing(store: Store, spec: SweepSpec, standing: Sequence[Prediction]) -> Iterator[str]:
    for one in standing:
        if one.place is ConfirmPlace.OPTIMUM:
            changed = changed_results(one, store.cells(spec.name)).any
            since = "; the results changed since, and it stays as it was" if changed else ""
            yield (
                f"A confirm run at {format_flops(one.budget_flops)} FLOPs was predicted on {one.made_at[:10]} from "
                f"{plural(one.n_rows, 'result')}: that prediction stands{since}."
            )


def _refuse_unready(
    store: Store, spec: SweepSpec, planned: PlannedSweep, changes: PlanChanges | None, request: ConfirmRequest
) -> None:
    """Nothing, where the database has the results of all runs that the sweep file asks for."""
    plan = planned.plan
    own = {cell.run.run_id for cell in plan.cells if cell.role is not Role.CONFIRM}
    moved = changes is None or changes.no_longer_asked_for or any(run.run_id in own for run in changes.new)
    if moved or store.sweep_spec(spec.name).fit != spec.fit:
        raise IsoflopError(
            f"The sweep file asks for other runs than the sweep {spec.name!r} in the database has, so its results do "
            "not predict a confirm run of this file.",
            hint=request.train_first,
        )
    pending = own - store.statuses().keys()
    if pending:
        raise IsoflopError(
            f"{len(pending)} of the {plural(len(own), 'run')} of {spec.name!r} have no result yet: a prediction from "
            "the others would not be the sweep's.",
            hint=request.train_first,
        )


def _fitted(store: Store, spec: SweepSpec, request: ConfirmRequest) -> "tuple[Source, SweepFit]":
    """The results and what `isoflop fit SWEEP --target C` makes of them."""
    from isoflop.fit import Question
    from isoflop.sources.load import load_source
    from isoflop.sources.source import fit_source

    rows = load_source(str(store.path), db=store.path, sweep=spec.name)
    _refuse_inside(max(row.budget_flops for row in rows.rows), request)
    return rows, fit_source(rows, Question(targets=[request.budget_flops]))


def _credible(spec: SweepSpec, rows: "Source", fit: "SweepFit", request: ConfirmRequest) -> "Target":
    """The recommended estimate at C.

    Raises:
        IsoflopError: there is none, an error speaks against it, or it predicts no loss.
    """
    for finding in (*rows.findings, *fit.findings):
        if finding.severity is Severity.ERROR:
            raise IsoflopError(
                f"The fit of {spec.name!r} makes no prediction to rely on: {finding.message}", hint=finding.hint
            )
    (target,) = fit.targets
    if fit.valley is None or None in (target.n_opt, target.d_opt, target.n_opt_ci, target.d_opt_ci):
        raise IsoflopError(
            f"The fit of {spec.name!r} has no optimum with an interval at {format_flops(target.budget_flops)} FLOPs.",
            hint=f"{request.see_the_fit} says why; give a C nearer to the fitted budgets.",
        )
    if target.loss_ci is None:
        raise IsoflopError(
            f"The fit of {spec.name!r} predicts no loss at {format_flops(target.budget_flops)} FLOPs, so a confirm run "
            "there could not be judged.",
            hint="Add budgets: a law of the loss has three constants.",
        )
    return target


def _on_fit(
    store: Store, planned: PlannedSweep, target: "Target", made: Sequence[tuple[Extra, Prediction]]
) -> Iterator[str]:
    statuses = store.statuses()
    own = {cell.run.run_id for cell in planned.plan.cells if cell.role is not Role.CONFIRM}
    lost = sum(statuses.get(run_id) is not Status.COMPLETED for run_id in own)
    if lost:
        yield f"{lost} of the {plural(len(own), 'run')} diverged or failed; the prediction rests on the others."
    if target.credible is False and target.extrapolation_decades:
        yield (
            f"{format_flops(target.budget_flops)} FLOPs is {target.extrapolation_decades:.1f} decades above the "
            "largest fitted budget, farther out than this sweep's own forecasts proved right."
        )
    if len({extra.seed for extra, _ in made} | {min(run.seed for run in planned.plan.runs.values())}) > 1:
        yield "A run of this size and budget was trained before it was predicted: another seed is trained."
