"""Whether unique tokens of a table are in the unit of its tokens."""

from collections.abc import Mapping

import numpy as np

from isoflop.errors import IsoflopError
from isoflop.sources.columns.aliases import short
from isoflop.sources.columns.cell_numbers import Numbers
from isoflop.sources.columns.missing_columns import quoted
from isoflop.sources.columns.run_table import RunTable

# Epochs of the middle run; up to 9000 in a run of the published tables of repeats.
_MOST_EPOCHS = 1e4
_UNITS = {1e3: "in thousands", 1e6: "in millions", 1e9: "in billions", 1e12: "in trillions"}


def refuse_unique_tokens(table: RunTable, numbers: Mapping[str, Numbers]) -> None:
    """Nothing where no unique tokens are known, or they are as many as tokens may be.

    Raises:
        IsoflopError: the middle run would read each of its tokens as often as no training does.
    """
    unique = numbers.get("unique_tokens")
    if unique is None or not (known := unique > 0).any():
        return
    epochs = float(np.median(numbers["n_tokens"][known] / unique[known]))
    if epochs <= _MOST_EPOCHS:
        return
    # the largest unit in which tokens are still read about once or more
    factor = max((factor for factor in _UNITS if epochs / factor >= 0.5), default=1e3)
    theirs = table.columns.chosen["unique_tokens"]
    raise IsoflopError(
        f"{table.raw.name!r}: its middle run would read each of its unique_tokens ({theirs!r}) {epochs:.1e} times: as "
        f"if they were {_UNITS[factor]}.",
        hint=f"Give --column unique_tokens={quoted(f'{theirs}*{short(factor)}')}. If the numbers are right, give "
        "--no-unit-check.",
    )
