"""Whose weights a sweep keeps: those of every run, of none, or of the lowest loss at each budget and confirm runs."""

from collections import defaultdict
from collections.abc import Iterable

from isoflop.errors import IsoflopError
from isoflop.plan.types import Role
from isoflop.result import RunResult, Status
from isoflop.spec import Keep
from isoflop.store import RunCell, Store, SweepCell, run_cells


class Ranking:
    """The run of the lowest loss at each budget of a sweep, among those that count, as results come in.

    What counts is what enters the fit: a completed grid, replicate or suggested run at its planned FLOPs that nobody
    excluded. Equal losses go by run id. Confirm runs are kept whatever their loss: they were trained to be used.
    """

    def __init__(self, cells: Iterable[SweepCell]) -> None:
        self._cells: dict[str, list[RunCell]] = defaultdict(list)
        self._best: dict[float, tuple[float, str]] = {}
        self._confirming: set[str] = set()
        for cell in run_cells(cells):
            self._cells[cell.run_id].append(cell)
            if cell.role is Role.CONFIRM:
                self._confirming.add(cell.run_id)
            self._enter(cell)

    @property
    def kept(self) -> frozenset[str]:
        """The ids of the best runs, one per budget that has any, and of the confirm runs."""
        return frozenset(run_id for _, run_id in self._best.values()) | self._confirming

    def take(self, result: RunResult) -> frozenset[str]:
        """The ids of the runs that are not kept now that `result` is in: its own, and those it displaces."""
        cells = self._cells.get(result.run_id, [])
        concerned = {result.run_id} | {self._best[c.budget_flops][1] for c in cells if c.budget_flops in self._best}
        for cell in cells:
            self._enter(cell.with_result(result))
        return frozenset(run_id for run_id in concerned if not self._stays(run_id))

    def _enter(self, cell: RunCell) -> None:
        if cell.used is not None:
            entry = (cell.used.val_loss, cell.run_id)
            self._best[cell.budget_flops] = min(entry, self._best.get(cell.budget_flops, entry))

    def _stays(self, run_id: str) -> bool:
        if run_id in self._confirming:
            return True
        budgets = (cell.budget_flops for cell in self._cells.get(run_id, []))
        return any(self._best.get(budget, (0.0, ""))[1] == run_id for budget in budgets)


def weights_to_keep(keep: Keep, cells: Iterable[SweepCell]) -> frozenset[str]:
    """The ids of the runs whose weights a sweep of these cells keeps."""
    if keep == "none":
        return frozenset()
    if keep == "all":
        return frozenset(cell.run_id for cell in run_cells(cells))
    return Ranking(cells).kept


def weights_any_keeps(store: Store, sweeps: Iterable[str]) -> frozenset[str]:
    """The ids of the runs whose weights at least one of `sweeps` keeps."""
    wanted = (weights_to_keep(_keep(store, sweep), store.cells(sweep)) for sweep in sweeps)
    return frozenset().union(*wanted)


def _keep(store: Store, sweep: str) -> Keep:
    try:
        return store.sweep_spec(sweep).run.keep
    except IsoflopError:
        return "all"  # planned by another version, with words that this one does not know: it may want anything


def leaves_weights(result: RunResult) -> bool:
    """Whether the run may have left weights: it completed, and something was trained."""
    return result.status is Status.COMPLETED and not result.simulated
