"""The grid of a sweep: budgets x sizes, the seeds of a size together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from statistics import fmean

from isoflop.plan.types import Role
from isoflop.status.work import Activity
from isoflop.store import Standing, SweepCell

State = Standing | Activity
"""What a cell is to the fit; for a pending one that somebody began, what goes on there."""

# What runs alike with other seeds shares a place; probes and controls follow another recipe and have their own.
_SEEDS = frozenset({Role.GRID, Role.REPLICATE})

# What a place says of itself where its seeds differ: the first of these that any has.
_URGENCY: tuple[State, ...] = (
    Standing.USED, Activity.RUNNING, Activity.ENDED, Activity.STOPPED, Standing.FAILED, Standing.DIVERGED,
    Standing.OFF_PLAN, Standing.EXCLUDED, Standing.CHECK, Standing.PENDING, Standing.DROPPED,
)  # fmt: skip


@dataclass(frozen=True)
class Position:
    """A place in the grid.

    Attributes:
        n_params: every parameter of the model.
        role: why the sweep asks for it; None for a dropped cell.
        cells: the seeds there.
        state: `used` if any seed is, else the most urgent of theirs.
        loss: mean held-out loss of the seeds used, nats per token; None where none is.
        n_used: how many that are.
        lowest: whether that is the lowest of the budget.
    """

    budget_flops: float
    n_params: int
    role: Role | None
    cells: tuple[SweepCell, ...]
    state: State
    loss: float | None
    n_used: int
    lowest: bool


def positions(cells: Sequence[tuple[SweepCell, State]]) -> tuple[Position, ...]:
    """The places of `cells`, which are ordered by budget and size."""
    found: list[Position] = []
    for _, budget in groupby(cells, key=lambda entry: entry[0].budget_flops):
        places: dict[tuple[int, str | None], list[tuple[SweepCell, State]]] = {}
        for cell, state in budget:
            places.setdefault((cell.n_params_total, _kind(cell)), []).append((cell, state))
        found += _with_lowest([_position(entries) for entries in places.values()])
    return tuple(found)


def _kind(cell: SweepCell) -> str | None:
    return "seeds" if cell.role in _SEEDS else cell.role


def _position(entries: Sequence[tuple[SweepCell, State]]) -> Position:
    first, states = entries[0][0], {state for _, state in entries}
    losses = [cell.used.val_loss for cell, _ in entries if cell.used is not None]
    return Position(
        budget_flops=first.budget_flops,
        n_params=first.n_params_total,
        role=first.role,
        cells=tuple(cell for cell, _ in entries),
        state=next(state for state in _URGENCY if state in states),
        loss=fmean(losses) if losses else None,
        n_used=len(losses),
        lowest=False,
    )


def _with_lowest(places: Iterable[Position]) -> list[Position]:
    places = list(places)
    lowest = min((place.loss for place in places if place.loss is not None), default=None)
    return [replace(place, lowest=lowest is not None and place.loss == lowest) for place in places]
