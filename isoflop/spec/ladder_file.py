"""A ladder in a file of its own: TOML with [[ladder]] tables, or a CSV with a column per key."""

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from isoflop.errors import IsoflopError, why_inaccessible
from isoflop.spec.toml_file import LARGEST_FILE, read_toml

_LAYOUT = "[[ladder]] tables in a TOML file, or a CSV file with the columns n_params, flops_per_token and your own."


def read_ladder(path: Path) -> list[dict[str, Any]]:
    """The entries of the file, unchecked.

    Raises:
        IsoflopError: missing or unreadable, or no ladder in it.
    """
    if path.suffix.lower() == ".csv":
        entries: object = _from_csv(path)
    elif path.suffix.lower() == ".toml":
        entries = read_toml(path).get("ladder")
    else:
        raise IsoflopError(f"ladder = {path.name!r} is neither a .toml nor a .csv file.", hint=f"Give {_LAYOUT}")
    if not isinstance(entries, list) or not entries:
        raise IsoflopError(f"There is no ladder in {str(path)!r}.", hint=f"It needs {_LAYOUT}")
    return entries


def _from_csv(path: Path) -> list[dict[str, Any]]:
    """A row per size; numbers, true and false are read as such, empty cells are not there."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise IsoflopError(f"{str(path)!r} is too large for a ladder.", hint=f"Give {_LAYOUT}")
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(_rows(csv.reader(file)))
    except (OSError, ValueError, csv.Error) as error:
        why = why_inaccessible(error, path) if isinstance(error, OSError) else str(error)
        raise IsoflopError(f"Cannot read the ladder {str(path)!r}: {why}.", hint=f"Give {_LAYOUT}") from None
    return [row for row in rows if row]


def _rows(lines: Iterable[list[str]]) -> Iterator[dict[str, Any]]:
    """A row below the names of the columns by these names.

    Raises:
        ValueError: two columns have one name, or a cell has no column.
    """
    names: list[str] | None = None
    for number, line in enumerate(lines, start=1):
        cells = [cell.strip() for cell in line]
        if names is None:
            names = cells if any(cells) else None
            if names and (twice := next((name for name in names if name and names.count(name) > 1), None)):
                raise ValueError(f"two of its columns are called {twice!r}")
            continue
        if stray := next(
            (cell for place, cell in enumerate(cells) if cell and not "".join(names[place : place + 1])), None
        ):
            raise ValueError(f"{stray!r} in line {number} has no column")
        yield {name: _value(cell) for name, cell in zip(names, cells, strict=False) if cell}


def _value(cell: str) -> Any:
    """`12`, `1.5e6`, `true` as what they are; anything else as text."""
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        return cell
    if isinstance(found, float) and found.is_integer():
        return int(found)
    return found if isinstance(found, bool | int | float) else cell
