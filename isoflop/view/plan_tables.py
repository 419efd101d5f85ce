"""A plan's cells as tables: a row per run, per size where sizes have several seeds, or in a large plan per budget."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from isoflop.plan.types import Cell, DroppedCell, Plan, Role
from isoflop.run_spec import RunSpec
from isoflop.shape import LadderModel
from isoflop.units import format_flops, format_seconds, plural
from isoflop.view.table import Column, Table
from isoflop.wording import ABSENT, count, ratio, two_digits

# As many rows are read one by one; beyond that a table is one of budgets, and cut here.
MOST_ROWS = 200

# What runs alike with other seeds shares a row.
_SEEDS = frozenset({Role.GRID, Role.REPLICATE})

_Item = TypeVar("_Item")
_Key = TypeVar("_Key", bound=Hashable)


def plan_tables(plan: Plan, seconds: Mapping[str, float]) -> Iterator[Table]:
    """The cells, then the dropped ones if any; `seconds` of every run on one worker, empty where none is trained."""
    yield _runs(plan.cells) if len(plan.cells) <= MOST_ROWS else _budgets(plan.cells, seconds)
    if plan.dropped:
        yield _dropped(plan.dropped) if len(plan.dropped) <= MOST_ROWS else _dropped_by_budget(plan.dropped)


def _runs(cells: Sequence[Cell]) -> Table:
    """A row per run, or per size where one has several seeds: rows that differ in nothing but an id say little."""
    sizes = list(_grouped(cells, _size).values())
    several = len(sizes) < len(cells)
    last = (
        (Column("seeds"), Column("role", numeric=False, essential=False))
        if several
        else (
            Column("seed", essential=False),
            Column("role", numeric=False, essential=False),
            Column("run", numeric=False, whole=True),
        )
    )
    columns = (
        Column("budget"), Column("N", spare=1), Column("D", spare=2), Column("D/N", spare=6), Column("shape"),
        Column("heads", essential=False), Column("steps", spare=3), Column("batch", spare=5), Column("rate", spare=4),
        Column("epochs", essential=False), *last,
    )  # fmt: skip
    if several:
        rows = tuple((*_recipe(size[0]), str(len(size)), _roles(size)) for size in sizes)
        return Table("Runs by size", columns, rows, f"{_note(cells)} Seeds: runs of the size; --json lists every run.")
    rows = tuple((*_recipe(cell), str(cell.run.seed), cell.role.value, cell.run.run_id) for cell in cells)
    return Table("Runs", columns, rows, _note(cells))


def _note(cells: Iterable[Cell]) -> str:
    """What the columns mean that have something in them."""
    runs = [cell.run for cell in cells]
    if all(isinstance(run.shape, LadderModel) for run in runs):
        shape = "Shape: keys of the ladder."
    else:
        shape = "Shape: layers x width/MLP."
    if not any(isinstance(run, RunSpec) for run in runs):
        return f"{shape} D: in tokens. Steps, batch and rate are the program's."
    return f"{shape} Batch and D: in tokens. Rate: peak learning rate of embedding and norm gains."


def _size(cell: Cell) -> Hashable:
    alike = cell.run.model_copy(update={"seed": 0}).run_id
    return cell.budget_flops, Role.GRID if cell.role in _SEEDS else cell.role, alike


def _roles(cells: Iterable[Cell]) -> str:
    return ", ".join(dict.fromkeys(cell.role.value for cell in cells))


def _recipe(cell: Cell) -> tuple[str, ...]:
    run, shape = cell.run, cell.run.shape
    ours = (
        (f"{shape.n_layers}x{shape.width}/{shape.d_ff}", f"{shape.n_heads}x{shape.head_dim}")
        if not isinstance(shape, LadderModel)
        else (str(shape), ABSENT)
    )
    recipe = (
        (str(run.n_steps), str(run.batch_tokens), two_digits(run.optimizer.learning_rate))
        if isinstance(run, RunSpec)
        else (ABSENT,) * 3
    )
    return (
        format_flops(cell.budget_flops), count(shape.n_params_total), count(run.n_tokens),
        ratio(run.n_tokens / shape.n_params_total), *ours, *recipe, f"{cell.epochs:.2f}",
    )  # fmt: skip


def _budgets(cells: Sequence[Cell], seconds: Mapping[str, float]) -> Table:
    columns = (
        Column("budget"), Column("runs"), Column("sizes"), Column("N"), Column("D", essential=False), Column("steps"),
        Column("FLOPs"), *((Column("time"),) if seconds else ()),
    )  # fmt: skip
    rows = [_budget_row(group, seconds) for group in _grouped(cells, lambda cell: cell.budget_flops).values()]
    note = "FLOPs and time: of all runs of the budget, one worker." if seconds else "FLOPs: of all runs of the budget."
    return _cut("Runs by budget (D in tokens)", columns, rows, f"{note} --json lists every run.")


def _budget_row(cells: Sequence[Cell], seconds: Mapping[str, float]) -> tuple[str, ...]:
    runs = {cell.run.run_id: cell.run for cell in cells}
    sizes = {run.shape.n_params_total for run in runs.values()}
    total = sum(seconds[run_id] for run_id in runs) if seconds else 0.0
    return (
        format_flops(cells[0].budget_flops), str(len(runs)), str(len({run.shape for run in runs.values()})),
        _span(sizes, count), _span((run.n_tokens for run in runs.values()), count),
        _span((run.n_steps for run in runs.values()), str),
        format_flops(sum(run.planned_flops for run in runs.values())), *((format_seconds(total),) if seconds else ()),
    )  # fmt: skip


def _dropped(dropped: Sequence[DroppedCell]) -> Table:
    columns = (Column("budget"), Column("N"), Column("reason", numeric=False))
    rows = tuple((format_flops(cell.budget_flops), count(cell.shape.n_params_total), cell.reason) for cell in dropped)
    return Table("Dropped", columns, rows)


def _dropped_by_budget(dropped: Sequence[DroppedCell]) -> Table:
    columns = (Column("budget"), Column("cells"), Column("N"), Column("reason", numeric=False))
    rows = [
        (
            format_flops(cells[0].budget_flops), str(len(cells)),
            _span((cell.shape.n_params_total for cell in cells), count), cells[0].limit.value,
        )
        for cells in _grouped(dropped, lambda cell: (cell.budget_flops, cell.limit)).values()
    ]  # fmt: skip
    return _cut("Dropped, by budget", columns, rows, "--json lists every cell with its own reason.")


def _grouped(items: Iterable[_Item], key: Callable[[_Item], _Key]) -> dict[_Key, list[_Item]]:
    groups: dict[_Key, list[_Item]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups


def _span(values: Iterable[int], form: Callable[[int], str]) -> str:
    """`861k to 86.1M`; one value where both ends read the same."""
    found = list(values)
    low, high = form(min(found)), form(max(found))
    return low if low == high else f"{low} to {high}"


def _cut(title: str, columns: tuple[Column, ...], rows: Sequence[tuple[str, ...]], note: str) -> Table:
    left = len(rows) - MOST_ROWS
    more = f"... and {plural(left, 'more row')}. " if left > 0 else ""
    return Table(title, columns, tuple(rows[:MOST_ROWS]), more + note)
