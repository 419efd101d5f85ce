"""A finding where a column that is not read tells the losses of like runs apart."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from isoflop.finding import Finding, Severity
from isoflop.sources.columns.aliases import is_setting
from isoflop.sources.columns.cell_numbers import Numbers, number
from isoflop.sources.columns.conditions import cell_text
from isoflop.sources.columns.missing_columns import quoted
from isoflop.sources.columns.run_table import RunTable

MIXED_GROUPS = "mixed_groups"
# A column of more values names runs, not kinds of them; and a kind needs a few runs over some sizes.
_MOST_KINDS, _FEWEST_RUNS, _FEWEST_SIZES = 20, 4, 3
# Numbers that tell kinds apart, such as a vocabulary or a length of context, are few.
_MOST_NUMBERS = 6
# Columns and rows that are looked at: more would keep a reader waiting.
_MOST_COLUMNS, _MOST_ROWS = 40, 200_000
# How many times less the squares must be with an offset per kind, and F: noise gives 1 of both on average.
# Two architectures of a published sweep, 0.04 nats apart, have 1.6 and 105.
_NOTABLE = 1.5
_LEAST_F = 16.0
_FEWEST_FOR_CUBIC = 40
_ROUNDING = 1e-12
# Share of the losses that kinds must differ by for one fit to be wrong rather than blurred: valleys are 1 to 5 % deep.
_APART = 0.01
_BINS_PER_DECADE = 10
# Share of runs that must have a run of another kind in their bin of budgets, of sizes and of tokens.
_SHARED = 0.5
# Distances in ln N and ln D: of equal grids the other kind's run is at 0, of the two architectures at 0.28, of regions
# on one grid at 0.5 and more, which is as far as one of its own.
_NEARER, _NEAR, _MOST_COMPARED = 0.8, 0.3, 1500

Indices = npt.NDArray[np.intp]


def mixed_groups(table: RunTable, numbers: Mapping[str, Numbers]) -> Iterator[Finding]:
    """One finding for the column of texts that explains most, if the losses of its kinds lie on shifted surfaces."""
    if not 2 * _FEWEST_RUNS <= len(table) <= _MOST_ROWS:
        return
    found = [
        (max(shares), column, names) for column, names in _kinds(table, numbers) if (shares := _shares(numbers, names))
    ]
    if found:
        share, column, names = max(found, key=lambda one: one[0])
        yield _finding(share, column, names, numbers)


def _shares(numbers: Mapping[str, Numbers], names: Sequence[str]) -> list[float]:
    """How much the column explains, where it does: of numbers, which may follow from size, about equal runs alone."""
    over_cells = _over_cells(numbers, names)
    over_surface = None if _is_numeric(names) else _over_surface(numbers, names)
    return [share for share in (over_cells, over_surface) if share]


def _is_numeric(names: Sequence[str]) -> bool:
    return any(number(name) == number(name) for name in set(names))


def _finding(share: float, column: str, names: Sequence[str], numbers: Mapping[str, Numbers]) -> Finding:
    kinds = list(dict.fromkeys(names))
    named = ", ".join(kinds[:6]) + (f" and {len(kinds) - 6} more" if len(kinds) > 6 else "")
    offsets = _offsets(numbers, names, kinds)
    apart = max(offsets) - min(offsets)
    wide = apart > _APART * float(np.median(np.abs(numbers["loss"])))
    return Finding(
        "mixed_groups",
        Severity.ERROR if wide else Severity.WARNING,
        f"Runs alike in size and tokens differ by the column {column!r} ({named}): its kinds lie up to "
        f"{apart:.2g} apart in loss, and one fit of all {'is a fit of none' if wide else 'takes that for noise'}.",
        f"Fit each with --group {quoted(column)}, or one of them with --where {quoted(column)}={quoted(kinds[0])}.",
        {
            "column": column,
            "kinds": kinds,
            "offsets": [offset - min(offsets) for offset in offsets],
            "variance_ratio": float(share),
        },
    )


def _surface(numbers: Mapping[str, Numbers]) -> Numbers:
    """(n, 6 or 10): the terms of a polynomial in log N and log D, of third degree where rows allow."""
    x, y = (np.log(numbers[name]) for name in ("n_params", "n_tokens"))
    x, y = x - x.mean(), y - y.mean()
    degree = 3 if len(x) >= _FEWEST_FOR_CUBIC else 2
    return np.column_stack([x**i * y**j for i in range(degree + 1) for j in range(degree + 1 - i)])


def _squares(design: Numbers, loss: Numbers) -> float:
    solution = np.linalg.lstsq(design, loss, rcond=1e-9)[0]
    rest = loss - design @ solution
    return float(rest @ rest)


def _indicators(names: Sequence[str]) -> Numbers:
    """(n, kinds - 1): which kind a row is of, the first being none."""
    which = _numbered(names)
    found: Numbers = (which[:, None] == np.arange(1, which.max() + 1)).astype(np.float64)
    return found


def _numbered(names: Sequence[str]) -> Indices:
    """(n,): the number of each name, in the order in which they come."""
    position = {name: index for index, name in enumerate(dict.fromkeys(names))}
    return np.array([position[name] for name in names], dtype=np.intp)


def _over_surface(numbers: Mapping[str, Numbers], names: Sequence[str]) -> float | None:
    """How many times less the squares are about a surface with an offset per kind; None where that may be noise."""
    design, indicators, loss = _surface(numbers), _indicators(names), numbers["loss"]
    with_kinds = np.hstack([design, indicators])
    free = len(loss) - with_kinds.shape[1]
    return _share(_squares(design, loss), _squares(with_kinds, loss), indicators.shape[1], free)


def _over_cells(numbers: Mapping[str, Numbers], names: Sequence[str]) -> float | None:
    """The same about the means of runs that are equal in size and tokens, which takes no surface."""
    pairs = np.column_stack([numbers["n_params"], numbers["n_tokens"]])
    _, cell, count = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    cell = cell.reshape(-1)  # numpy 2.0 alone gives it another shape
    kept = count[cell] > 1
    if not kept.any():
        return None
    columns = np.column_stack([numbers["loss"], _indicators(names)])
    means = np.column_stack([np.bincount(cell, column) / count for column in columns.T])
    within = (columns - means[cell])[kept]
    loss, indicators = within[:, 0], within[:, 1:]
    n_more = int(np.linalg.matrix_rank(indicators))
    free = len(loss) - len(np.unique(cell[kept])) - n_more
    return _share(float(loss @ loss), _squares(indicators, loss), n_more, free) if n_more else None


def _share(plain: float, rest: float, n_more: int, free: int) -> float | None:
    """`plain / rest`, where that is notable and clear of noise by F with `n_more` and `free` degrees of freedom."""
    if free < 1 or plain <= 0:
        return None
    rest = max(rest, _ROUNDING * plain)
    clear = (plain - rest) / n_more / (rest / free) >= _LEAST_F
    return plain / rest if clear and plain >= _NOTABLE * rest else None


def _offsets(numbers: Mapping[str, Numbers], names: Sequence[str], kinds: Sequence[str]) -> list[float]:
    """By how much the losses of each kind lie above those of the first."""
    design = np.hstack([_surface(numbers), _indicators(names)])
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
        n_kinds = len(set(names))
        few = n_kinds <= _MOST_NUMBERS or (n_kinds <= _MOST_KINDS and not _is_numeric(names))
        if n_kinds >= 2 and few and not is_setting(column):
            which = _numbered(names)
            shared = all(_share_places(which, place) for place in places)
            if shared and _are_large(which, places[1]) and _lie_together(which, numbers):
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


def _lie_together(which: Indices, numbers: Mapping[str, Numbers]) -> bool:
    """Whether most runs have one of another kind nearby, or nearer than one of their own kind.

    Kinds that follow from size and tokens, such as regimes of overtraining, have not.
    """
    rows = np.linspace(0, len(which) - 1, min(len(which), _MOST_COMPARED)).astype(np.intp)
    x, y = (np.log(numbers[name][rows]) for name in ("n_params", "n_tokens"))
    distance = np.hypot(x[:, None] - x, y[:, None] - y)
    np.fill_diagonal(distance, np.inf)
    alike = which[rows][:, None] == which[rows]
    own, other = (np.where(kind, distance, np.inf).min(axis=1) for kind in (alike, ~alike))
    return bool((other <= np.maximum(_NEARER * own, _NEAR)).mean() >= _SHARED)
