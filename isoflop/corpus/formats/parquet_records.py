"""Parquet: a document a row, its text in one column."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from isoflop.corpus.documents import Document, SourceFile, unreadable
from isoflop.corpus.formats.arrow_columns import ROWS, documents_of, text_column, without_bombs
from isoflop.corpus.formats.arrow_faults import arrow_damage, in_words
from isoflop.corpus.formats.record_faults import damaged, pyarrow_missing
from isoflop.corpus.formats.unpacking import refuse_bomb

# What of a column comes into memory at a time, beside the page it is in.
_BUFFER = 1 << 20


@dataclass(frozen=True)
class ParquetReader:
    """The documents of a Parquet file: the rows of the column `field`."""

    field: str

    def __call__(self, file: SourceFile) -> Iterator[Document]:
        """The documents of `file`, an empty one for null or an empty text.

        Raises:
            IsoflopError: pyarrow is missing; the file is gone, unreadable or damaged, or lacks such a column.
        """
        return without_bombs(self._documents(file), file)

    def _documents(self, file: SourceFile) -> Iterator[Document]:
        try:
            from pyarrow import parquet
        except ImportError:
            raise pyarrow_missing(file.path, "a Parquet file") from None
        row = 0
        try:
            with parquet.ParquetFile(file.path, buffer_size=_BUFFER, pre_buffer=False) as opened:
                text_column(opened.schema_arrow, self.field, path=file.path)
                n_rows = opened.metadata.num_rows
                # As the file says it: what its pages unpack to is seen only when they are, 2 GiB each at most.
                refuse_bomb(file, _column_bytes(opened.metadata, self.field))
                for batch in opened.iter_batches(ROWS, columns=[self.field], use_threads=False):
                    yield from documents_of(batch.column(0), self.field, file=file, first_row=row)
                    row += batch.num_rows
        except arrow_damage() as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise unreadable(file.path, error) from None
            raise damaged(f"{file.path!r} cannot be read as Parquet beyond row {row}:", in_words(error)) from None
        if row != n_rows:
            raise damaged(repr(file.path), f"says that it has {n_rows} rows, and has {row}")


def _column_bytes(metadata: Any, field: str) -> int:
    """What the column takes unpacked, by the file's own account."""
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    columns = (group.column(number) for group in groups for number in range(group.num_columns))
    return sum(max(0, int(column.total_uncompressed_size)) for column in columns if column.path_in_schema == field)
