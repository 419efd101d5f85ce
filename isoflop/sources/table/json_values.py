"""What the formats of JSON share: no key twice, and nested objects as columns with points in their names."""

import json
from collections.abc import Iterator, Mapping, Sequence

from isoflop.errors import IsoflopError

# Deeper ones stay what they are; real exports have two or three.
DEEPEST = 8


class _KeyTwiceError(ValueError):
    """An object that has a key twice, of which JSON's own reader would keep the last."""


def json_decoder() -> json.JSONDecoder:
    """A decoder that raises ValueError for an object with a key twice."""
    return json.JSONDecoder(object_pairs_hook=_object)


def flat(rows: Sequence[Mapping[str, object]], *, name: str) -> list[dict[str, object]]:
    """The rows with the values of nested objects as their own: {"config": {"n": 1}} has the column `config.n`.

    A key that has an object in some rows and a plain value in others keeps the object, beside what is in it.

    Raises:
        IsoflopError: a row has such a column twice.
    """
    plain = {key for row in rows for key, value in row.items() if not isinstance(value, dict) and value is not None}
    return [_flat(row, plain, name) for row in rows]


def _flat(row: Mapping[str, object], plain: set[str], name: str) -> dict[str, object]:
    if not any(isinstance(value, dict) for value in row.values()):
        return dict(row)
    found: dict[str, object] = {key: value for key, value in row.items() if isinstance(value, dict) and key in plain}
    for key, value in _leaves(row, "", 1):
        if key in found:
            raise IsoflopError(
                f"{name!r} has a row with two values of {key!r}, one of them in a nested object.",
                hint="Rename or remove one of the two.",
            )
        found[key] = value
    return found


def _leaves(row: Mapping[str, object], prefix: str, depth: int) -> Iterator[tuple[str, object]]:
    for key, value in row.items():
        if isinstance(value, dict) and value and depth < DEEPEST:
            yield from _leaves(value, f"{prefix}{key}.", depth + 1)
        elif not isinstance(value, dict) or value:
            yield f"{prefix}{key}", value


def _object(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """The pairs as a dict.

    Raises:
        _KeyTwiceError: a key is there twice.
    """
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _KeyTwiceError(f"it names {next(key for key in keys if keys.count(key) > 1)!r} twice")
    return row
