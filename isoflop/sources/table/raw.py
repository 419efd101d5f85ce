"""A table as its file has it, the same for every format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from isoflop.sources.table.header import TableColumns

Kind = Literal["csv", "jsonl", "parquet"]


@dataclass(frozen=True)
class RawTable:
    """Columns of values that nobody has looked at yet.

    Attributes:
        name: the file, as errors name it.
        kind: its format.
        columns: which of its columns are read.
        values: those columns, by our names, one value per row: text, numbers, None or whatever the format holds.
        places: what `place` calls each row by: its line, or its number.
    """

    name: str
    kind: Kind
    columns: TableColumns
    values: Mapping[str, Sequence[object]]
    places: Sequence[int]

    def place(self, index: int) -> str:
        """Where the row is: `'runs.csv', line 4`."""
        return f"{self.name!r}, {'row' if self.kind == 'parquet' else 'line'} {self.places[index]}"
