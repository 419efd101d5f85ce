"""The grid of a sweep as lines of text: states and losses by budget and size, readable without colour."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby

from rich.text import Text

from isoflop.plan.types import Role
from isoflop.status.positions import Position, State
from isoflop.status.work import Activity
from isoflop.store import Standing
from isoflop.units import format_count, format_flops
from isoflop.wording import ABSENT

# Up to here each place has a column of its own; beyond it the grid would fill several screens.
MOST_COLUMNS = 120

_LABEL = 8  # `1.00e18 `
_COLUMN = 10  # nine characters (`check run`) and the mark of the lowest
_MARK = "*"

_STYLE: Mapping[State, str] = {
    Activity.RUNNING: "cyan",
    Activity.STOPPED: "yellow",
    Activity.ENDED: "cyan",
    Standing.DIVERGED: "red",
    Standing.FAILED: "red",
    Standing.OFF_PLAN: "red",
    Standing.PENDING: "dim",
    Standing.EXCLUDED: "dim",
    Standing.CHECK: "dim",
    Standing.DROPPED: "dim",
}
_LETTER: Mapping[State, str] = {
    Standing.USED: "u",
    Activity.RUNNING: "R",
    Activity.STOPPED: "S",
    Activity.ENDED: "E",
    Standing.PENDING: ".",
    Standing.DIVERGED: "D",
    Standing.FAILED: "F",
    Standing.OFF_PLAN: "o",
    Standing.EXCLUDED: "x",
    Standing.CHECK: "c",
    Standing.DROPPED: "-",
}


def grid_lines(places: Sequence[Position], shares: Mapping[str, float], width: int) -> list[Text]:
    """The grid in lines of at most `width` columns (20 at least); `shares` of runs that are under way, by id.

    Each place has its size, its loss or state, and what there is to add; in a large grid, one letter.
    """
    lines = _columns(places, shares, width) if len(places) <= MOST_COLUMNS else _letters(places, width)
    for line in lines:
        line.no_wrap = True
        line.rstrip()
    return lines


def legend(places: Sequence[Position]) -> str:
    """What the lines of the grid mean."""
    if len(places) <= MOST_COLUMNS:
        return f"N, below it held-out loss (nats per token) or state; {_MARK}: lowest of the budget."
    present = {place.state for place in places}
    letters = ", ".join(f"{letter} {state.words}" for state, letter in _LETTER.items() if state in present)
    return f"A letter per size, smallest first: {letters}; {_MARK} the lowest loss (held-out, nats per token)."


def _columns(places: Sequence[Position], shares: Mapping[str, float], width: int) -> list[Text]:
    per_line = max(1, (width - _LABEL) // _COLUMN)
    lines: list[Text] = []
    for label, budget in _by_budget(places):
        for begin in range(0, len(budget), per_line):
            lines += _block(label if begin == 0 else "", budget[begin : begin + per_line], shares)
    return lines


def _block(label: str, places: Sequence[Position], shares: Mapping[str, float]) -> list[Text]:
    """Sizes, what is there, and where needed a line of additions."""
    rows = [
        _row(label, places, lambda place: (f"{format_count(place.n_params)} ", "")),
        _row("", places, _content),
    ]
    additions = [_addition(place, shares) for place in places]
    if any(additions):
        by_place = dict(zip(map(id, places), additions, strict=True))
        rows.append(_row("", places, lambda place: (f"{by_place[id(place)]} ", "dim")))
    return rows


def _row(label: str, places: Iterable[Position], form: Callable[[Position], tuple[str, str]]) -> Text:
    line = Text(f"{label:{_LABEL}}")
    for place in places:
        content, style = form(place)
        line.append(" " * (_COLUMN - len(content)))
        line.append(content, style)
    return line


def _content(place: Position) -> tuple[str, str]:
    if (confirmed := _confirmed(place)) is not None:
        return f"{_loss(confirmed)} ", ""
    if place.loss is None:
        return f"{place.state.words} ", _STYLE.get(place.state, "")
    return f"{_loss(place.loss)}{_MARK if place.lowest else ' '}", "bold green" if place.lowest else ""


def _confirmed(place: Position) -> float | None:
    """The loss of a confirm run that nobody excluded: the only one of its size, and of no fit."""
    if place.role is not Role.CONFIRM or place.state is not Standing.CHECK:
        return None
    done = place.cells[0].completed
    return done.val_loss if done else None


def _loss(loss: float | None) -> str:
    if loss is None:
        return ABSENT
    fixed = f"{loss:.4f}"
    return fixed if len(fixed) < _COLUMN else f"{loss:.2e}"


def _addition(place: Position, shares: Mapping[str, float]) -> str:
    """`mean of 3`, `2 of 3` seeds so far, a share done, a loss that does not count, or a role."""
    n_cells = len(place.cells)
    if n_cells > 1:
        return f"mean of {n_cells}" if place.n_used == n_cells else f"{place.n_used} of {n_cells}"
    (cell,) = place.cells
    if place.state in (Activity.RUNNING, Activity.STOPPED):
        return f"{shares.get(cell.run_id or '', 0.0):.0%}"
    if place.loss is None and cell.completed is not None and _confirmed(place) is None:
        return f"({_loss(cell.completed.val_loss)})"
    return "" if place.role in (Role.GRID, Role.REPLICATE, None) else str(place.role)


def _letters(places: Sequence[Position], width: int) -> list[Text]:
    """Per budget a letter for each size, then the lowest loss; on a line of its own where both do not fit."""
    lines: list[Text] = []
    room = max(1, width - _LABEL)
    for label, budget in _by_budget(places):
        lowest = [place for place in budget if place.lowest]
        letters = [(_MARK if place.lowest else _LETTER[place.state], _STYLE.get(place.state, "")) for place in budget]
        lines += [
            Text.assemble(f"{label if begin == 0 else '':{_LABEL}}", *letters[begin : begin + room])
            for begin in range(0, len(letters), room)
        ]
        said = "".join(f"{_loss(place.loss)} at {format_count(place.n_params)}" for place in lowest[:1])
        if len(said) + 2 <= width - len(lines[-1]):
            lines[-1].append(f"  {said}")
        elif said:
            lines.append(Text(" " * _LABEL + said))
    return lines


def _by_budget(places: Iterable[Position]) -> list[tuple[str, list[Position]]]:
    grouped = groupby(places, key=lambda place: place.budget_flops)
    return [(format_flops(budget), list(group)) for budget, group in grouped]
