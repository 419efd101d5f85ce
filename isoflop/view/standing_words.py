"""How many cells are what to the fit, in words: `3 used`, `2 confirm runs`."""

from collections.abc import Collection

from isoflop.plan.types import Role
from isoflop.status.positions import State
from isoflop.store import Standing
from isoflop.units import plural


def standing_count(number: int, state: State, roles: Collection[Role | None]) -> str:
    """`number` cells in that state; `roles`, of those that only check, tell whether all of them are confirm runs."""
    if state is not Standing.CHECK:
        return f"{number} {state.words}"
    return plural(number, "confirm run" if set(roles) == {Role.CONFIRM} else state.words)
