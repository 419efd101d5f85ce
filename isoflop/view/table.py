"""A table of finished text that every renderer draws in its own way."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A heading. `numeric` columns are right-aligned; those that are not `essential` go first on narrow screens."""

    heading: str
    numeric: bool = True
    essential: bool = True


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
        kept = [index for index, column in enumerate(self.columns) if column.essential]
        columns = tuple(self.columns[index] for index in kept)
        return Table(self.title, columns, tuple(tuple(row[i] for i in kept) for row in self.rows), self.note)
