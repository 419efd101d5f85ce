"""Decimal commas, read as points where nothing in the table speaks against it."""

import re
from collections.abc import Sequence

# 3,5577 and 1.234,5 and 1,4T: a comma once, points before it in threes.
_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+(e[+-]?\d+)?\s?[a-z]{0,3}", re.IGNORECASE)
# 35.202.432: beside decimal commas nothing but a whole number.
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(\.\d{3}){2,}\s?[a-z]{0,3}", re.IGNORECASE)
# 3.5577, 1,234.5 and 35,202,432: a point is the decimal sign, or a comma none.
_AGAINST = re.compile(
    r"[+-]?(\d*\.\d+|\d+\.|\d{1,3}(,\d{3})+\.\d*|\d{1,3}(,\d{3}){2,})(e[+-]?\d+)?\s?[a-z]{0,3}", re.IGNORECASE
)

Numbered = tuple[int, list[str]]


def with_points(rows: list[Numbered]) -> tuple[list[Numbered], tuple[str, ...]]:
    """The rows with points for their decimal commas, and a sentence if there are any.

    A single cell with a decimal point, or with two commas, keeps the whole table as it is.
    """
    found: tuple[int, str] | None = None
    for line, fields in rows:
        for field in fields:
            if "," in field and _COMMA.fullmatch(field.strip()):
                found = found or (line, field.strip())
            elif ("." in field or "," in field) and _AGAINST.fullmatch(field.strip()):
                return rows, ()
    if found is None:
        return rows, ()
    line, cell = found
    note = f"Commas are read as decimal points (as in {cell!r}, line {line})."
    return [(line, _points(fields)) for line, fields in rows], (note,)


def _points(fields: Sequence[str]) -> list[str]:
    return [_point(field.strip()) if "," in field or "." in field else field for field in fields]


def _point(cell: str) -> str:
    if _COMMA.fullmatch(cell):
        return cell.replace(".", "").replace(",", ".")
    return cell.replace(".", "") if _THOUSANDS.fullmatch(cell) else cell
