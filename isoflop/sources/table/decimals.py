"""Decimal commas, read as points where nothing in the table speaks against it."""

import re

# 3,5577 and 1.234,5 and 1,4T: a comma once, points before it in threes.
_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+(e[+-]?\d+)?\s?[a-z]{0,3}", re.IGNORECASE)
# 35.202.432: beside decimal commas nothing but a whole number.
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(\.\d{3}){2,}\s?[a-z]{0,3}", re.IGNORECASE)
# 3.5577, 1,234.5 and 35,202,432: a point is the decimal sign, or a comma none.
_AGAINST = re.compile(
    r"[+-]?(\d*\.\d+|\d+\.|\d{1,3}(,\d{3})+\.\d*|\d{1,3}(,\d{3}){2,})(e[+-]?\d+)?\s?[a-z]{0,3}", re.IGNORECASE
)

Numbered = tuple[int, list[str]]


class _AgainstError(Exception):
    """A cell has a decimal point, or commas between thousands."""


def with_points(rows: list[Numbered]) -> tuple[list[Numbered], tuple[str, ...]]:
    """The rows with points for their decimal commas, and a sentence if there are any.

    A single cell with a decimal point, or with two commas, keeps the whole table as it is.
    """
    try:
        changed = [(line, [_point(field) if "," in field or "." in field else field for field in fields])
                   for line, fields in rows]  # fmt: skip
    except _AgainstError:
        return rows, ()
    for (line, before), (_, after) in zip(rows, changed, strict=True):
        for cell, point in zip(before, after, strict=True):
            if "," in cell and cell != point:
                return changed, (f"Commas are read as decimal points (as in {cell.strip()!r}, line {line}).",)
    return rows, ()


def _point(field: str) -> str:
    """The field with a decimal point for its comma, if it is a number.

    Raises:
        _AgainstError: it is a number of the other kind.
    """
    cell = field.strip()
    if _COMMA.fullmatch(cell):
        return cell.replace(".", "").replace(",", ".")
    if _AGAINST.fullmatch(cell):
        raise _AgainstError
    return cell.replace(".", "") if _THOUSANDS.fullmatch(cell) else field
