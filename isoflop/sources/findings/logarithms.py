"""Whether columns of a table hold the logarithms of FLOPs, parameters or tokens."""

from collections.abc import Mapping
from itertools import product

import numpy as np

from isoflop.errors import IsoflopError
from isoflop.sources.columns.cell_numbers import Numbers
from isoflop.sources.columns.expression import Product
from isoflop.sources.columns.run_table import RunTable

# Of numbers below 1e26; natural logarithms reach 60.
_LARGEST = {"10": 40.0, "e": 90.0}
# Rows of one architecture scatter by less in C / (6 N D).
_SPREAD = 10.0


def refuse_logarithms(table: RunTable, numbers: Mapping[str, Numbers]) -> None:
    """Nothing where rows are no trainings with some columns taken as logarithms either.

    Raises:
        IsoflopError: with the logarithms of one to three columns undone, C = 6 N D holds in every row.
    """
    terms = table.columns.terms
    small = {
        base: [ours for ours in ("budget_flops", "n_params", "n_tokens") if numbers[ours].max() < largest]
        for base, largest in _LARGEST.items()
    }
    for base, size in product(_LARGEST, (1, 2, 3)):
        names = [ours for ours in small[base] if isinstance(terms.get(ours), Product)]
        if len(names) == size and _are_trainings(numbers, names, base):
            theirs = " and ".join(repr(table.columns.chosen[ours]) for ours in names)
            what = "looks like a logarithm" if size == 1 else "look like logarithms"
            raise IsoflopError(
                f"{table.raw.name!r}: {theirs} {what} to base {base}: undone, C = 6 N D holds in every row.",
                hint=f"Write the numbers themselves, {base}^x of each x, into the table.",
            )


def _are_trainings(numbers: Mapping[str, Numbers], names: list[str], base: str) -> bool:
    undone = {ours: (10.0 if base == "10" else np.e) ** numbers[ours] for ours in names}
    meant = {**numbers, **undone}
    ratios = meant["budget_flops"] / (6 * meant["n_params"] * meant["n_tokens"])
    inside = bool((ratios > 0.1).all() and (ratios < 30.0).all() and ratios.max() <= _SPREAD * ratios.min())
    return inside and bool(meant["budget_flops"].min() > 1e9 and meant["n_params"].min() > 1e3)
