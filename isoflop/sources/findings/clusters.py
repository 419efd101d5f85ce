"""A finding where a column that is not read tells the losses of like runs apart."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from isoflop.finding import Finding, Severity
from isoflop.sources.table.cells import Numbers, number
from isoflop.sources.table.conditions import cell_text
from isoflop.sources.table.missing_columns import quoted
from isoflop.sources.table.run_table import RunTable

MIXED_GROUPS = "mixed_groups"
# A column of more values names runs, not kinds of them; and a kind needs a few runs over some sizes.
_MOST_KINDS, _FEWEST_RUNS, _FEWEST_SIZES = 20, 4, 3
# Columns and rows that are looked at: more would keep a reader waiting.
_MOST_COLUMNS, _MOST_ROWS = 40, 200_000
# How much less the residuals' sum of squares must be with an offset per kind. Noise gives 1 + (kinds - 1) / (rows - 6 -
# kinds) on average; ten times is two valleys apart.
_NOTABLE, _CLEAR = 2.0, 10.0
_LEAST_F = 12.0
_BINS_PER_DECADE = 10
# Share of runs that must have a run of another kind in their bin of budgets, of sizes and of tokens.
_SHARED = 0.5

Indices = npt.NDArray[np.intp]


def mixed_groups(table: RunTable, numbers: Mapping[str, Numbers]) -> Iterator[Finding]:
    """One finding for the column of texts that explains most, if the losses of its kinds lie on shifted surfaces."""
    if not 2 * _FEWEST_RUNS <= len(table) <= _MOST_ROWS:
        return
    design, loss = _quadratic(numbers), numbers["loss"]
    plain = _squares(design, loss)
    found = [
        (plain / with_kinds if with_kinds else np.inf, column, names)
        for column, names in _kinds(table, numbers)
        if (with_kinds := _explained(design, loss, plain, names)) is not None
    ]
    if found:
        share, column, names = max(found, key=lambda one: one[0])
        yield _finding(share, column, names, numbers)


def _finding(share: float, column: str, names: Sequence[str], numbers: Mapping[str, Numbers]) -> Finding:
    kinds = list(dict.fromkeys(names))
    named = ", ".join(kinds[:6]) + (f" and {len(kinds) - 6} more" if len(kinds) > 6 else "")
    offsets = _offsets(numbers, names, kinds)
    return Finding(
        "mixed_groups",
        Severity.ERROR if share >= _CLEAR else Severity.WARNING,
        f"Runs alike in size and tokens differ by the column {column!r} ({named}): its kinds lie up to "
        f"{max(offsets) - min(offsets):.2g} apart in loss, and one fit of all is a fit of none.",
        f"Fit each with --group {quoted(column)}, or one of them with --where {quoted(column)}={quoted(kinds[0])}.",
        {
            "column": column,
            "kinds": kinds,
            "offsets": [offset - min(offsets) for offset in offsets],
            "variance_ratio": float(share) if np.isfinite(share) else None,
        },
    )


def _quadratic(numbers: Mapping[str, Numbers]) -> Numbers:
    """(n, 6): 1, log N, log D, and their squares and product."""
    x, y = (np.log(numbers[name]) for name in ("n_params", "n_tokens"))
    x, y = x - x.mean(), y - y.mean()
    return np.column_stack([np.ones_like(x), x, y, x * x, x * y, y * y])


def _squares(design: Numbers, loss: Numbers) -> float:
    solution = np.linalg.lstsq(design, loss, rcond=1e-9)[0]
    rest = loss - design @ solution
    return float(rest @ rest)


def _indicators(names: Sequence[str]) -> Numbers:
    """(n, kinds - 1): which kind a row is of, the first being none."""
    kinds = list(dict.fromkeys(names))
    position = {name: index for index, name in enumerate(kinds)}
    which = np.array([position[name] for name in names])
    found: Numbers = (which[:, None] == np.arange(1, len(kinds))).astype(np.float64)
    return found


def _explained(design: Numbers, loss: Numbers, plain: float, names: Sequence[str]) -> float | None:
    """The residuals' sum of squares with an offset per kind; None where that is little less than `plain`."""
    indicators = _indicators(names)
    n_rows, n_more = len(loss), indicators.shape[1]
    free = n_rows - design.shape[1] - n_more
    if free < 1 or plain <= 0:
        return None
    rest = _squares(np.hstack([design, indicators]), loss)
    f_value = np.inf if rest == 0 else (plain - rest) / n_more / (rest / free)
    return rest if plain >= _NOTABLE * rest and f_value >= _LEAST_F else None


def _offsets(numbers: Mapping[str, Numbers], names: Sequence[str], kinds: Sequence[str]) -> list[float]:
    """By how much the losses of each kind lie above those of the first."""
    design = np.hstack([_quadratic(numbers), _indicators(names)])
    solution = np.linalg.lstsq(design, numbers["loss"], rcond=1e-9)[0]
    return [0.0, *solution[-(len(kinds) - 1) :].tolist()]


def _kinds(table: RunTable, numbers: Mapping[str, Numbers]) -> Iterator[tuple[str, list[str]]]:
    """The columns of texts that are not read and tell a few kinds of runs, each over several sizes and tokens."""
    unread = [column for column in dict.fromkeys(table.raw.header) if column and column not in table.columns.read]
    places = [_bins(numbers[name]) for name in ("budget_flops", "n_params", "n_tokens")]
    for column in unread[:_MOST_COLUMNS]:
        if table.raw.header.count(column) > 1:
            continue
        names = [cell_text(value) for value in table.raw.column(column)]
        kinds = set(names)
        if 2 <= len(kinds) <= _MOST_KINDS and not any(number(kind) == number(kind) for kind in kinds):
            _, which = np.unique(np.array(names), return_inverse=True)
            if _are_large(which, places[1]) and all(_share_places(which, place) for place in places):
                yield column, names


def _bins(values: Numbers) -> Indices:
    """(n,): values less than a tenth of a decade apart have one number, or neighbouring ones."""
    found: Indices = np.round(_BINS_PER_DECADE * np.log10(values)).astype(np.intp)
    return found


def _are_large(which: Indices, sizes: Indices) -> bool:
    """Whether each kind has a few runs of a few sizes."""
    pairs = np.unique(np.column_stack([which, sizes]), axis=0)[:, 0]
    return bool(np.bincount(which).min() >= _FEWEST_RUNS and np.bincount(pairs).min() >= _FEWEST_SIZES)


def _share_places(which: Indices, place: Indices) -> bool:
    """Whether most runs are where those of another kind are too: a column that names sizes or budgets tells none."""
    pairs = np.unique(np.column_stack([place, which]), axis=0)[:, 0]
    shared = np.unique(pairs, return_counts=True)
    several = shared[0][shared[1] > 1]
    return bool(np.isin(place, several).mean() >= _SHARED)
