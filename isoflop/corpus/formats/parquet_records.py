"""Parquet: a document a row, its text in one column."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from isoflop.corpus.documents import Document, SourceFile, unreadable
from isoflop.corpus.formats.arrow_columns import ROWS, documents_of, text_column, without_bombs
from isoflop.corpus.formats.arrow_faults import arrow_damage, in_words
from isoflop.corpus.formats.parquet_pages import LARGEST_PAGE, page_sizes
from isoflop.corpus.formats.record_faults import damaged, of_another_format, pyarrow_missing
from isoflop.corpus.formats.unpacking import refuse_bomb

# What of a column comes into memory at a time, beside the page it is in.
_BUFFER = 1 << 20
# github.com/apache/parquet-format, File format.
_MAGIC = b"PAR1"


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
            with Path(file.path).open("rb") as text:
                if text.read(len(_MAGIC)) != _MAGIC:
                    raise of_another_format(file.path, "Parquet", f"it does not begin with {_MAGIC.decode()}")
            with parquet.ParquetFile(file.path, buffer_size=_BUFFER, pre_buffer=False) as opened:
                text_column(opened.schema_arrow, self.field, path=file.path)
                n_rows = opened.metadata.num_rows
                self._refuse_bombs(file)
                for batch in opened.iter_batches(ROWS, columns=[self.field], use_threads=False):
                    yield from documents_of(batch.column(0), self.field, file=file, first_row=row)
                    row += batch.num_rows
        except arrow_damage() as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise unreadable(file.path, error) from None
            raise damaged(f"{file.path!r} cannot be read as Parquet beyond row {row}:", in_words(error)) from None
        if row != n_rows:
            raise damaged(repr(file.path), f"says that it has {n_rows} rows, and has {row}")

    def _refuse_bombs(self, file: SourceFile) -> None:
        """Nothing, where no page says that it is a bomb: pyarrow reserves what one says before it looks inside."""
        n_bytes = 0
        with Path(file.path).open("rb") as opened:
            for size in page_sizes(opened, self.field):
                n_bytes += max(0, size)
                refuse_bomb(file, n_bytes)
                if size > LARGEST_PAGE:
                    raise damaged(
                        f"{file.path!r}, column {self.field!r},",
                        f"has a page of {size // 2**20} MiB; the largest that is read has {LARGEST_PAGE // 2**20} MiB",
                    )
