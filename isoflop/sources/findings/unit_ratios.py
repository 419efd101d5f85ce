"""Whether FLOPs, parameters and tokens of a table are in units that make a training of them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType

import numpy as np

from isoflop.errors import IsoflopError
from isoflop.finding import Finding, Severity
from isoflop.sources.columns.aliases import PETAFLOP_DAY, short, unit_of
from isoflop.sources.columns.cell_numbers import Numbers
from isoflop.sources.columns.expression import FORMULAS, Formula, Product
from isoflop.sources.columns.missing_columns import quoted
from isoflop.sources.columns.run_table import RunTable
from isoflop.sources.findings.logarithms import refuse_logarithms
from isoflop.sources.findings.unique_tokens import refuse_unique_tokens

# C / (6 N D): 0.7 to 2.1 on published sweeps, with attention, embedding or head counted or not; 3 to 5 where N leaves
# out the embedding of small models.
LOWEST, HIGHEST = 0.1, 30.0
# Tokens per parameter, median: 1 to 83 on published sweeps, 30 times fewer at the least in a run of them.
_SWAPPED = 0.5
_MOST_TOKENS = 1e5
# Sizes and tokens so few, with tokens per parameter so far from 1, are written in millions or billions.
_FEW_PARAMS, _FEW_TOKENS, _MANY_TOKENS = 1e4, 1e7, 1e3
# Cheapest token of a dense model, in 6 N FLOPs: 0.7 on published sweeps; MACs are 0.5, forward passes 0.33.
_CHEAPEST = 0.6
# A row this far from the others of its table counts something else.
_UNLIKE = 5.0
_LISTED = 200
# Where people's numbers lie: sizes of models, tokens of a training, FLOPs of a training.
_RANGES = {"n_params": (1e4, 1e14), "n_tokens": (2e5, 1e16), "budget_flops": (1e10, 1e30)}
_UNITS: Mapping[str, Mapping[float, str]] = {
    "n_params": {1e3: "in thousands", 1e6: "in millions", 1e9: "in billions"},
    "n_tokens": {1e3: "in thousands", 1e6: "in millions", 1e9: "in billions", 1e12: "in trillions"},
    "budget_flops": {
        1e-3: "1000 times too large", 1e3: "1000 times too small", 1e6: "in megaFLOPs", 1e9: "in gigaFLOPs",
        1e12: "in teraFLOPs", 1e15: "in petaFLOPs", 1e18: "in exaFLOPs", PETAFLOP_DAY: "in petaFLOP/s-days",
        1e21: "in zettaFLOPs",
    },
}  # fmt: skip
# Units that tables are most often written in, and tokens per parameter that sweeps have.
_USUAL = {"n_params": (1e6, 1e9), "n_tokens": (1e9,), "budget_flops": (1e18, PETAFLOP_DAY, 1e21)}
_USUAL_TOKENS = 20.0
_INSIST = "If the numbers are right (experts that are not used count as parameters, say), give --no-unit-check."


@dataclass(frozen=True)
class Units:
    """What one unit of each column may be, in ours; those that are ours are left out."""

    factors: Mapping[str, float]

    @property
    def words(self) -> str:
        """`n_params were in millions and n_tokens in billions`."""
        named = [f"{ours} {_UNITS[ours][factor]}" for ours, factor in self.factors.items()]
        first = named[0].replace(" ", " were ", 1)
        return " and ".join([first, *named[1:]])


def unit_findings(table: RunTable, numbers: Mapping[str, Numbers]) -> tuple[Finding, ...]:
    """Findings where the rows may be counted otherwise than each other, or two columns be swapped.

    Raises:
        IsoflopError: C / (6 N D) is that of no training, or no training has so many or few tokens per parameter.
    """
    ratios = numbers["budget_flops"] / (6 * numbers["n_params"] * numbers["n_tokens"])
    _refuse_ratios(table, numbers, ratios)
    _refuse_tiny(table, numbers)
    refuse_unique_tokens(table, numbers)
    return (*_unlike(table, numbers, ratios), *_unusual(table, ratios), *_swapped(table, numbers))


def _refuse_ratios(table: RunTable, numbers: Mapping[str, Numbers], ratios: Numbers) -> None:
    bad = (ratios < LOWEST) | (ratios > HIGHEST)
    if not bad.any():
        return
    refuse_logarithms(table, numbers)
    rows = np.flatnonzero(bad)
    middle = float(np.median(ratios[rows]))
    units = likely_units({ours: values[rows] for ours, values in numbers.items()}, _hints(table))
    some = f"in {len(rows)} of {len(ratios)} rows ({table.raw.places_of(rows.tolist())})"
    where = "in every row" if bad.all() else some
    low, high = float(ratios[rows].min()), float(ratios[rows].max())
    spread = f" ({_digits(low)} to {_digits(high)})" if high >= 2 * low else ""
    others = "" if bad.all() else f", {_digits(float(np.median(ratios[~bad])))} in the others"
    as_if = f": as if {units.words}" if units else ""
    raise IsoflopError(
        f"{table.raw.name!r}: C / (6 N D) is {_digits(middle)}{spread} {where}{others}{as_if}. Of trainings it is "
        f"between {LOWEST:g} and {HIGHEST:g}.",
        hint=f"{_mend(table, units, whole=bool(bad.all()))} {_INSIST}",
    )


def _refuse_tiny(table: RunTable, numbers: Mapping[str, Numbers]) -> None:
    """Refuse columns whose units agree with C = 6 N D and are still those of no training."""
    per_param = float(np.median(numbers["n_tokens"] / numbers["n_params"]))
    few_params = numbers["n_params"].max() < _FEW_PARAMS and per_param > _MANY_TOKENS
    few_tokens = numbers["n_tokens"].max() < _FEW_TOKENS and per_param < 1 / _MANY_TOKENS
    both = numbers["n_params"].max() < _FEW_PARAMS and numbers["n_tokens"].max() < _RANGES["n_tokens"][0]
    if not (few_params or few_tokens or both):
        return
    units = likely_units(numbers, _hints(table), computed=table.columns.computed)
    n_params, n_tokens = (_digits(float(np.median(numbers[ours]))) for ours in ("n_params", "n_tokens"))
    what = f"{n_params} parameters on {n_tokens} tokens"
    as_if = f": as if {units.words}" if units else ""
    raise IsoflopError(
        f"{table.raw.name!r}: its middle run would have {what}, and no training has{as_if}.",
        hint=f"{_mend(table, units, whole=True)} {_INSIST}",
    )


def _hints(table: RunTable) -> dict[str, float]:
    """The units that the names of the columns tell, of those that are read as they stand."""
    terms = table.columns.terms.items()
    plain = {ours: term.columns[0] for ours, term in terms if isinstance(term, Product) and term.is_a_column}
    return {ours: unit for ours in _UNITS if ours in plain and (unit := unit_of(plain[ours], ours)) is not None}


def likely_units(
    numbers: Mapping[str, Numbers], hints: Mapping[str, float], computed: Mapping[str, Formula] = MappingProxyType({})
) -> Units | None:
    """The units under which the rows are trainings, with as few columns off as possible; None where there are none.

    A unit costs least where the column's name tells it (`hints`), and little where the numbers as they are could be no
    sizes, tokens or FLOPs; columns that are `computed` follow from the others.
    """
    middles = {ours: float(np.median(numbers[ours])) for ours in _UNITS}
    names = [ours for ours in _UNITS if ours not in computed]
    best: tuple[float, Units] | None = None
    for factors in product(*([1.0, *_UNITS[ours]] for ours in names)):
        off = {ours: factor for ours, factor in zip(names, factors, strict=True) if factor != 1}
        if off and (cost := _cost(middles, off, hints, computed)) is not None and (best is None or cost < best[0]):
            best = cost, Units(off)
    return best[1] if best else None


def _cost(
    middles: Mapping[str, float],
    off: Mapping[str, float],
    hints: Mapping[str, float],
    computed: Mapping[str, Formula],
) -> float | None:
    meant = {ours: middle * off.get(ours, 1.0) for ours, middle in middles.items()}
    meant |= {ours: float(formula.of(meant)) for ours, formula in computed.items()}
    ratio = meant["budget_flops"] / (6 * meant["n_params"] * meant["n_tokens"])
    inside = all(low <= meant[ours] <= high for ours, (low, high) in _RANGES.items())
    per_param = meant["n_tokens"] / meant["n_params"]
    if not (inside and LOWEST <= ratio <= HIGHEST and 0.5 <= per_param <= _MOST_TOKENS):
        return None
    if sum(_is_possible(ours, middles) and hints.get(ours) != factor for ours, factor in off.items()) > 1:
        return None  # two columns of numbers that are right as they stand: something else is off
    cost = abs(math.log10(ratio)) + 0.5 * abs(math.log10(per_param / _USUAL_TOKENS))
    for ours, factor in off.items():
        told = hints.get(ours) == factor
        cost += 0.2 if told else 4.0 if _is_possible(ours, middles) else 1.0 if factor in _USUAL[ours] else 1.5
    return cost + sum(1.0 for ours, factor in hints.items() if off.get(ours) != factor)


def _is_possible(ours: str, middles: Mapping[str, float]) -> bool:
    """Whether the numbers of the column as they stand could be sizes, tokens or FLOPs."""
    low, high = _RANGES[ours]
    return low <= middles[ours] <= high


def _mend(table: RunTable, units: Units | None, *, whole: bool) -> str:
    if units is None:
        return "Look which of the three columns counts something else; --column NAME='THEIRS*1e6' multiplies one."
    if not whole:
        return "Write all rows in one unit."
    options = []
    for ours, factor in units.factors.items():
        given = table.columns.chosen[ours]
        options.append(f"--column {ours}={quoted(f'{given}*{short(factor)}')}")
    return f"Give {' '.join(options)}."


def _unlike(table: RunTable, numbers: Mapping[str, Numbers], ratios: Numbers) -> Iterator[Finding]:
    """Rows whose FLOPs per parameter and token are several times those of the others."""
    middle = float(np.median(ratios))
    rows = np.flatnonzero((ratios > _UNLIKE * middle) | (ratios < middle / _UNLIKE)).tolist()
    if not rows:
        return
    wrapped = _wrapped(numbers, ratios, middle, rows)
    places = table.raw.places
    low, high = _digits(float(min(ratios[rows]))), _digits(float(max(ratios[rows])))
    yield Finding(
        "unlike_units",
        Severity.WARNING,
        f"C / (6 N D) of {table.raw.places_of(rows)} is {low if low == high else f'{low} to {high}'}, and "
        f"{_digits(middle)} in the middle of the table{wrapped}.",
        "Look whether FLOPs, parameters and tokens of these rows count the same as those of the others.",
        {"n_rows": len(rows), "lines": [int(places[row]) for row in rows[:_LISTED]], "middle": middle},
    )


def _unusual(table: RunTable, ratios: Numbers) -> Iterator[Finding]:
    """That a token costs less than dense models have it: as where C or N counts something else in all rows."""
    middle = float(np.median(ratios))
    if middle >= _CHEAPEST:
        return
    params, budget = (table.columns.chosen[ours] for ours in ("n_params", "budget_flops"))
    yield Finding(
        "unusual_cost",
        Severity.WARNING,
        f"C / (6 N D) is {_digits(middle)} in the middle of the table, and 0.7 or more in published sweeps of dense "
        f"models: as where {params!r} counts parameters that a token does not use (of experts, say), or {budget!r} "
        "multiplications or forward passes alone.",
        "Give the parameters that every token uses; budgets and targets are taken as this table counts them.",
        {"middle": middle},
    )


def _wrapped(numbers: Mapping[str, Numbers], ratios: Numbers, middle: float, rows: Sequence[int]) -> str:
    """That a column stops at, or starts anew from, what 31 or 32 bits hold, where that would explain all rows."""
    for ours in ("n_tokens", "n_params"):
        values = numbers[ours][rows]
        if all(value in (2.0**31 - 1, 2.0**32 - 1) for value in values):
            return f": {ours} stops at what a 32-bit whole number holds"
        lost = values * ratios[rows] / middle - values
        times = np.round(lost / 2**32)
        if (times >= 1).all() and (np.abs(lost / 2**32 - times) < 0.01).all():
            return f": {ours} looks like a 32-bit whole number that overflowed"
    return ""


def _swapped(table: RunTable, numbers: Mapping[str, Numbers]) -> Iterator[Finding]:
    """That runs have fewer tokens than parameters, as where the two columns are swapped."""
    per_param = numbers["n_tokens"] / numbers["n_params"]
    middle = float(np.median(per_param))
    if middle >= _SWAPPED:
        return
    params, tokens = (table.columns.chosen[ours] for ours in ("n_params", "n_tokens"))
    yield Finding(
        "swapped_columns",
        Severity.ERROR,
        f"The runs have {_digits(middle)} tokens per parameter in the middle, where published sweeps have 1 to 100: as "
        f"if n_params ({params!r}) and n_tokens ({tokens!r}) were swapped, which would make it {_digits(1 / middle)}.",
        f"If so, give {_exchanged(table)}; if not, --no-unit-check.",
        {"tokens_per_param": middle},
    )


def _exchanged(table: RunTable) -> str:
    """Options that read the sizes as tokens and the tokens as sizes; what C = 6 N D gave, it gives again."""
    columns = table.columns
    options = []
    for ours, other in (("n_params", "n_tokens"), ("n_tokens", "n_params")):
        theirs = FORMULAS[ours].value if other in columns.computed else columns.chosen[other]
        options.append(f"--column {ours}={quoted(theirs)}")
    return " ".join(options)


def _digits(value: float) -> str:
    """`1e15`, `0.73`, `1.04`."""
    return f"{float(f'{value:.2g}'):g}" if 0.01 <= value < 1000 else short(float(f"{value:.2g}"))
