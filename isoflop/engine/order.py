"""In which order jobs start."""

from collections.abc import Callable, Iterable

from isoflop.plan.types import Cell
from isoflop.run_spec import Job, RunSpec

# Budgets whose jobs form one longest-first pool at the end, so that no worker idles behind a straggler.
POOLED_BUDGETS = 2


def start_order(cells: Iterable[Cell], pending: Iterable[str], seconds: Callable[[RunSpec], float]) -> list[Job]:
    """Jobs of the `pending` runs: budgets ascending, longest first inside; the last two budgets as one pool.

    A run asked for at several budgets starts with the smallest of them.
    """
    wanted = set(pending)
    budget_of: dict[str, float] = {}
    runs: dict[str, RunSpec] = {}
    for cell in sorted(cells, key=lambda cell: cell.budget_flops):
        if cell.run.run_id in wanted:
            budget_of.setdefault(cell.run.run_id, cell.budget_flops)
            runs.setdefault(cell.run.run_id, cell.run)
    budgets = sorted(set(budget_of.values()))
    pool = budgets[-POOLED_BUDGETS:][0] if budgets else 0.0

    def key(run_id: str) -> tuple[float, float]:
        return min(budget_of[run_id], pool), -seconds(runs[run_id])

    return [Job((runs[run_id],)) for run_id in sorted(runs, key=key)]
