"""Which rows of a table are asked for: --where and --group."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from isoflop.errors import IsoflopError
from isoflop.sources.columns.cell_numbers import number
from isoflop.sources.columns.missing_columns import listed
from isoflop.sources.raw_table import RawTable

# More fits than this nobody asked for: the column is another than was meant.
MOST_GROUPS = 50
NO_VALUE = "none"
_SHOWN = 8


@dataclass(frozen=True)
class Condition:
    """One `--where COLUMN=VALUE` or `--where COLUMN!=VALUE`.

    Attributes:
        column: the table's name.
        value: as it was typed; a number is met by the same number written otherwise, nothing by an empty cell.
        equal: whether the cell is to have that value, or is not to.
    """

    column: str
    value: str
    equal: bool = True

    def __str__(self) -> str:
        return f"{self.column}{'=' if self.equal else '!='}{self.value}"

    def met_by(self, values: Sequence[object]) -> list[bool]:
        """Whether each value meets it."""
        wanted, wanted_number = self.value, number(self.value)
        return [
            (cell_text(value) == wanted or number(value) == wanted_number) is self.equal
            for value in values  # NaN equals nothing
        ]


def parse_where(given: Sequence[str]) -> tuple[Condition, ...]:
    """The conditions in texts like `corpus=c4`.

    Raises:
        IsoflopError: no such text.
    """
    found = []
    for text in given:
        column, sign, value = text.partition("=")
        equal = not column.endswith("!")
        column = column.removesuffix("!").strip()
        if not (sign and column):
            raise IsoflopError(
                f"--where {text!r} does not have the form COLUMN=VALUE.",
                hint="Write --where corpus=c4 for the rows whose column corpus is c4, or --where corpus!=c4.",
            )
        found.append(Condition(column, value.strip(), equal))
    return tuple(found)


def cell_text(value: object) -> str:
    """What a cell says, on one line; nothing of null and NaN, a whole number without a point."""
    if value is None or value != value:  # noqa: PLR0124 - NaN alone differs from itself
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def rows_where(raw: RawTable, conditions: Sequence[Condition]) -> list[int]:
    """The rows that meet all of the conditions.

    Raises:
        IsoflopError: the table lacks a column, or no row meets them.
    """
    met = [True] * len(raw.places)
    for condition in conditions:
        require_column(raw, condition.column, "--where")
        before = [value for value, one in zip(raw.column(condition.column), met, strict=True) if one]
        now = iter(condition.met_by(before))
        met = [one and next(now) for one in met]
        if not any(met):
            raise IsoflopError(
                f"No row of {raw.name!r} has {condition}.",
                hint=f"Its column {condition.column} holds {_values(before)}.",
            )
    return [row for row, one in enumerate(met) if one]


def groups_of(raw: RawTable, column: str) -> dict[str, list[int]]:
    """The rows of each value of the column, in the order in which the values come.

    Raises:
        IsoflopError: there is no such column, or it has too many values.
    """
    require_column(raw, column, "--group")
    found: dict[str, list[int]] = {}
    for row, value in enumerate(raw.column(column)):
        found.setdefault(cell_text(value) or NO_VALUE, []).append(row)
    if len(found) > MOST_GROUPS:
        raise IsoflopError(
            f"The column {column} of {raw.name!r} has {len(found)} values, and --group makes a fit of each.",
            hint=f"Name a column with at most {MOST_GROUPS} values, or choose rows with --where {column}=VALUE.",
        )
    return found


def require_column(raw: RawTable, column: str, option: str) -> None:
    """Nothing.

    Raises:
        IsoflopError: the table has no such column, or has it twice.
    """
    if raw.header.count(column) > 1:
        raise IsoflopError(f"{raw.name!r} names the column {column} twice.", hint="Rename or remove one of the two.")
    if column not in raw.header:
        near = get_close_matches(column, raw.header, n=1)
        meant = f"Did you mean {near[0]}? " if near else ""
        raise IsoflopError(
            f"{raw.name!r} lacks the column {column!r}, which {option} names.",
            hint=f"{meant}It has {listed(raw.header)}.",
        )


def _values(values: Sequence[object]) -> str:
    distinct = list(dict.fromkeys(map(cell_text, values)))
    more = f" and {len(distinct) - _SHOWN} other values" if len(distinct) > _SHOWN else ""
    return ", ".join(repr(text) if text else "nothing" for text in distinct[:_SHOWN]) + more
