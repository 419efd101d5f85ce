"""A table as its file has it, the same for every format."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

_T = TypeVar("_T")

Kind = Literal["csv", "json", "jsonl", "parquet", "xlsx"]

# The others are counted in rows: a JSON document may be one line, and the rest have no lines.
_OF_LINES = ("csv", "jsonl")


@dataclass(frozen=True)
class RawTable:
    """A file's rows that nobody has looked at yet.

    Attributes:
        name: the file, as errors name it.
        kind: its format.
        header: its columns in its order; one that is there twice is listed twice.
        read: from a position in the header to that column: text, numbers, None or whatever the format holds, one value
            per row.
        number: what `place` calls each row by: its line, or its number.
        note: what a reader should know of how the file was read, a sentence each: another encoding, decimal commas.

    `read`, `number` and `note` may raise IsoflopError, of rows that are not of the format: a header is judged before
    its rows.
    """

    name: str
    kind: Kind
    header: tuple[str, ...]
    read: Callable[[int], Sequence[object]]
    number: Callable[[], Sequence[int]]
    note: Callable[[], Sequence[str]] = tuple

    @property
    def noun(self) -> Literal["line", "row"]:
        """What `places` count."""
        return "line" if self.kind in _OF_LINES else "row"

    @property
    def notes(self) -> tuple[str, ...]:
        """How the file was read, where that is not a matter of course; a sentence each."""
        return tuple(self.note())

    @property
    def places(self) -> Sequence[int]:
        """The line or number of each row."""
        return self.number()

    def column(self, theirs: str) -> Sequence[object]:
        """The first column of that name, which is there."""
        return self.read(self.header.index(theirs))

    def place(self, index: int) -> str:
        """Where the row is: `'runs.csv', line 4`."""
        return f"{self.name!r}, {self.noun} {self.places[index]}"

    def take(self, rows: Sequence[int]) -> "RawTable":
        """The table with these of its rows alone."""
        return dataclasses.replace(
            self,
            read=lambda index: _take(self.read(index), rows),
            number=lambda: _take(self.number(), rows),
        )

    def places_of(self, rows: Sequence[int], most: int = 12) -> str:
        """Where rows are: `lines 11, 18, 19`, `row 4`, `lines 2, 3, 4 and 90 more`."""
        numbers = self.places
        named = ", ".join(str(numbers[row]) for row in rows[:most])
        more = f" and {len(rows) - most} more" if len(rows) > most else ""
        return f"{self.noun if len(rows) == 1 else self.noun + 's'} {named}{more}"


def _take(values: Sequence[_T], rows: Sequence[int]) -> list[_T]:
    return [values[row] for row in rows]
