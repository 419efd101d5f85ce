"""The completed run of a sweep that a person names, or that its budget names, with its weights."""

import re
import shlex
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from isoflop.errors import IsoflopError
from isoflop.plan.types import Role
from isoflop.run_spec import AnyRun, RunSpec
from isoflop.rundir import RunDir
from isoflop.rundir.kept_state import holds_weights
from isoflop.rundir.layout import dir_of_run
from isoflop.spec import SweepSpec, load_spec
from isoflop.store import CompletedResult, ConfirmPlace, RunCell, Store, read_snapshot, run_cells
from isoflop.sweep.selection import FEWEST_DIGITS
from isoflop.units import format_flops
from isoflop.wording import train_again

# Budgets are grouping keys written by people: 1e12 and 1.0e12 are one, 1e12 and 1.2e12 are not.
BUDGET_MATCH = 1e-6


@dataclass(frozen=True)
class RunChoice:
    """Which run of a sweep is meant; with neither, the run of lowest loss at the largest budget that has one.

    Attributes:
        run: the first digits of its id.
        budget_flops: the run of lowest loss among those that a fit uses at this budget.
        confirm: the confirm run, at its planned optimum; of several the one of the largest budget.
    """

    run: str | None = None
    budget_flops: float | None = None
    confirm: bool = False


@dataclass(frozen=True)
class TrainedRun:
    """A completed run of a sweep.

    Attributes:
        sweep: the sweep as it was last planned.
        file: its sweep file.
        cell: the run in its place.
        run: the run itself.
        result: what came of it.
        weights: where its weights lie, if they were kept.
        place: of a confirm run, its size against the predicted optimum.
    """

    sweep: SweepSpec
    file: Path
    cell: RunCell
    run: RunSpec
    result: CompletedResult
    weights: Path
    place: ConfirmPlace | None = None

    @property
    def has_weights(self) -> bool:
        """Whether its weights lie there whole; a damaged file, or another run's, is as good as none."""
        return holds_weights(self.weights, self.run)

    def require_weights(self) -> Path:
        """The file of its weights.

        Raises:
            IsoflopError: they were not kept; the hint says how to have them.
        """
        if self.weights.is_file():
            return self.weights
        hint, why = train_again(self.run.run_id, self.file), ""
        if self.sweep.run.keep != "all":
            why = f": the sweep keeps {self.sweep.run.keep!r}"
            hint += ' With [run] keep = "all" later runs keep theirs.'
        raise IsoflopError(f"The weights of run {self.run.run_id} are not on disk{why}.", hint=hint)


def trained_run(file: Path, db: Path, artifacts: Path, choice: RunChoice, *, any_module: bool = False) -> TrainedRun:
    """The run of the sweep in `file` that `choice` means; its weights may be gone.

    Of our decoder, unless `any_module` will do.

    Raises:
        IsoflopError: no such sweep or run, several runs that begin so, or one that did not complete or was simulated.
    """

    def the_one(cells: Sequence[RunCell], optima: Collection[str]) -> list[RunCell]:
        return [_chosen(cells, choice, optima, file)]

    return _of_sweep(file, db, artifacts, the_one, any_module=any_module)[0]


def trained_runs(file: Path, db: Path, artifacts: Path) -> list[TrainedRun]:
    """Every completed run of the sweep in `file`, each once, in order of budget and size.

    Raises:
        IsoflopError: no such sweep, nothing completed, or it was simulated.
    """

    def all_of(cells: Sequence[RunCell], optima: Collection[str]) -> list[RunCell]:
        return list({cell.run_id: cell for cell in reversed(cells) if cell.completed}.values())[::-1]

    return _of_sweep(file, db, artifacts, all_of)


def _of_sweep(
    file: Path,
    db: Path,
    artifacts: Path,
    choose: Callable[[Sequence[RunCell], Collection[str]], list[RunCell]],
    *,
    any_module: bool = False,
) -> list[TrainedRun]:
    """The runs that `choose` takes of all cells with a run, and of the ids of confirm runs at a predicted optimum."""
    name, quoted = load_spec(file).name, shlex.quote(str(file))

    def read(store: Store) -> list[TrainedRun]:
        if name not in store.sweep_names():
            raise IsoflopError(
                f"The sweep {name!r} is not planned yet: the database {str(db)!r} does not have it.",
                hint=f"`isoflop run {quoted}` plans and trains it; --db names another database.",
            )
        spec, cells = store.planned_sweep(name)
        if spec.trainer == "simulated":
            raise IsoflopError(
                f"The sweep {name!r} is simulated: no model was trained.", hint='Train it with trainer = "builtin".'
            )
        if spec.trainer == "command":
            raise IsoflopError(
                f"The sweep {name!r} is trained by a program of its own, whose models isoflop cannot read.",
                hint="Use that program. What it left in {checkpoint_dir} stays in <artifacts>/<run id>/checkpoint "
                "where run.keep asks for it: by default of the best run of each budget and of confirm runs.",
            )
        if spec.model.factory is not None and not any_module:
            raise IsoflopError(
                f"The sweep {name!r} trains modules of {spec.model.factory!r}; isoflop reads its own decoder alone.",
                hint='With run.keep = "all" weights stay in <artifacts>/<run id>/checkpoint: load them into the module '
                "by safetensors.torch.load_file and load_state_dict.",
            )
        completed = [cell for cell in run_cells(cells) if cell.completed is not None]
        if not completed:
            raise IsoflopError(f"No run of the sweep {name!r} completed.", hint=f"`isoflop run {quoted}` trains them.")
        places = {one.run_id: one.place for one in store.predictions(name)}
        optima = {run_id for run_id, place in places.items() if place is ConfirmPlace.OPTIMUM}
        return [
            TrainedRun(
                sweep=spec,
                file=file,
                cell=cell,
                run=_ours(store.run_spec(cell.run_id)),
                result=cell.completed,
                weights=RunDir(dir_of_run(artifacts, cell.run_id)).weights_path(cell.run_id),
                place=places.get(cell.run_id) if cell.role is Role.CONFIRM else None,
            )
            for cell in choose(run_cells(cells), optima)
            if cell.completed  # as all that are chosen
        ]

    return read_snapshot(db, read)


def _ours(run: AnyRun) -> RunSpec:
    assert isinstance(run, RunSpec), "of a sweep that isoflop trains"
    return run


def _chosen(cells: Sequence[RunCell], choice: RunChoice, optima: Collection[str], file: Path) -> RunCell:
    if choice.run is not None:
        return _by_id(cells, choice.run.strip().lower(), shlex.quote(str(file)))
    if choice.confirm:
        return _confirm_run(cells, optima, shlex.quote(str(file)))
    used = [cell for cell in cells if cell.used is not None]
    at = choice.budget_flops
    if at is None:
        at = max((cell.budget_flops for cell in used), default=0.0)
    here = [cell for cell in used if _is_at(cell, at)]
    if not here:
        budgets = ", ".join(dict.fromkeys(format_flops(cell.budget_flops) for cell in used))
        confirming = any(cell.role is Role.CONFIRM and _is_at(cell, at) for cell in cells)
        raise IsoflopError(
            f"No run that a fit uses has the budget {format_flops(at)} FLOPs."
            if at
            else "A fit uses none of the runs.",
            hint=f"Budgets with such runs: {budgets or 'none'}. --run names any run by its id"
            f"{', --confirm the confirm run' if confirming else ''}.",
        )
    return min(here, key=lambda cell: (cell.used.val_loss if cell.used else 0.0, cell.run_id))


def _is_at(cell: RunCell, budget_flops: float) -> bool:
    return budget_flops > 0 and abs(cell.budget_flops / budget_flops - 1) <= BUDGET_MATCH


def _by_id(cells: Sequence[RunCell], digits: str, sweep: str) -> RunCell:
    listed = f"`isoflop plan {sweep}` and `isoflop report {sweep}` list the runs."
    if not re.fullmatch(rf"[0-9a-f]{{{FEWEST_DIGITS},}}", digits):
        raise IsoflopError(
            f"{digits!r} is not a run id or at least its first {FEWEST_DIGITS} digits.",
            hint=f"Run ids are hexadecimal; {listed}",
        )
    found = {cell.run_id: cell for cell in cells if cell.run_id.startswith(digits)}
    if not found:
        raise IsoflopError(f"The sweep has no run {digits!r}.", hint=listed)
    if len(found) > 1:
        raise IsoflopError(
            f"{len(found)} runs of the sweep begin with {digits!r}: {', '.join(found)}.", hint="Give more digits."
        )
    return _completed(*found.values(), sweep=sweep)


def _confirm_run(cells: Sequence[RunCell], optima: Collection[str], sweep: str) -> RunCell:
    """The confirm run of the largest budget, of the sizes there the one predicted to be best."""
    confirming = [cell for cell in cells if cell.role is Role.CONFIRM]
    confirming = [cell for cell in confirming if cell.run_id in optima] or confirming
    if not confirming:
        raise IsoflopError(
            "The sweep has no confirm run.",
            hint=f"`isoflop run {sweep} --confirm C` trains the predicted optimum at C FLOPs.",
        )
    return _completed(max(confirming, key=lambda cell: cell.budget_flops), sweep=sweep)


def _completed(cell: RunCell, *, sweep: str) -> RunCell:
    if cell.completed is None:
        state = cell.status.value if cell.status else "pending"
        retry = " --retry" if cell.broken is not None else ""
        raise IsoflopError(
            f"Run {cell.run_id} did not complete: it is {state}.",
            hint=f"`isoflop status {sweep}` shows how it stands; `isoflop run {sweep}{retry}` trains it.",
        )
    return cell
