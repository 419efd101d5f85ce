"""A table of finished text that every renderer draws in its own way."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A heading, and how a screen treats what is below it.

    Attributes:
        numeric: right-aligned, and never broken over lines while there is another way.
        essential: others are left out on narrow screens.
        spare: of the essential ones, those with the highest number go first where even they do not fit; 0: never.
        whole: not broken over lines, as an id.
    """

    heading: str
    numeric: bool = True
    essential: bool = True
    spare: int = 0
    whole: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of text under headings.

    Attributes:
        title: a few words.
        note: a sentence below the table, or None.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str | None = None

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.columns) for row in self.rows)

    def essential(self) -> "Table":
        """The table without the columns that a narrow screen can do without."""
        return self._of(index for index, column in enumerate(self.columns) if column.essential)

    def narrower(self) -> "Table | None":
        """The table without what is not essential, else without its most dispensable column; None if all is needed."""
        if not all(column.essential for column in self.columns):
            return self.essential()
        spare = max((column.spare for column in self.columns), default=0)
        return self._of(i for i, column in enumerate(self.columns) if column.spare != spare) if spare else None

    def _of(self, places: Iterable[int]) -> "Table":
        kept = tuple(places)
        columns = tuple(self.columns[index] for index in kept)
        return Table(self.title, columns, tuple(tuple(row[i] for i in kept) for row in self.rows), self.note)
