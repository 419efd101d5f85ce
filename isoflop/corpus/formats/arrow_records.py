"""Arrow IPC, streams as `datasets.save_to_disk` writes them and files: a document a row, its text in one column."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoflop.corpus.documents import Document, SourceFile, unreadable
from isoflop.corpus.formats.arrow_columns import documents_of, text_column, without_bombs
from isoflop.corpus.formats.arrow_faults import arrow_damage, in_words
from isoflop.corpus.formats.record_faults import damaged, of_another_format, pyarrow_missing

if TYPE_CHECKING:
    import pyarrow as pa

_FILE_MAGIC = b"ARROW1"
# arrow.apache.org/docs/format/Columnar.html, IPC Streaming Format: a stream ends with a message of no length.
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


@dataclass(frozen=True)
class ArrowReader:
    """The documents of an Arrow file or stream: the rows of the column `field`."""

    field: str

    def __call__(self, file: SourceFile) -> Iterator[Document]:
        """The documents of `file`, an empty one for null or an empty text.

        Raises:
            IsoflopError: pyarrow is missing; the file is gone, unreadable or damaged, or lacks such a column.
        """
        return without_bombs(self._documents(file), file)

    def _documents(self, file: SourceFile) -> Iterator[Document]:
        try:
            import pyarrow as pa
        except ImportError:
            raise pyarrow_missing(file.path, "an Arrow file") from None
        row = 0
        try:
            is_file = _is_file(file)
            # Not mapped: a mapped file that shrinks ends the process.
            with pa.OSFile(file.path, "rb") as opened:
                for batch in self._batches(opened, is_file, file.path):
                    yield from documents_of(batch.column(0), self.field, file=file, first_row=row)
                    row += batch.num_rows
        except arrow_damage() as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise unreadable(file.path, error) from None
            raise damaged(f"{file.path!r} cannot be read as Arrow beyond row {row}:", in_words(error)) from None

    def _batches(self, opened: Any, is_file: bool, path: str) -> "Iterator[pa.RecordBatch]":
        """The batches of the file with the column alone."""
        import pyarrow as pa

        begin = pa.ipc.open_file if is_file else pa.ipc.open_stream
        column = text_column(begin(opened).schema, self.field, path=path)
        opened.seek(0)
        reader = begin(opened, options=pa.ipc.IpcReadOptions(included_fields=[column], use_threads=False))
        if is_file:
            yield from (reader.get_batch(number) for number in range(reader.num_record_batches))
        else:
            yield from reader


def _is_file(file: SourceFile) -> bool:
    """Whether it is in the file format; else it is a stream.

    Raises:
        IsoflopError: a stream without its end: where it was cut between two batches nothing else would tell.
    """
    with Path(file.path).open("rb") as opened:
        if opened.read(len(_FILE_MAGIC)) == _FILE_MAGIC:
            return True
        if file.n_bytes < len(_END_OF_STREAM):
            raise of_another_format(file.path, "Arrow", f"it has {file.n_bytes} bytes")
        opened.seek(-len(_END_OF_STREAM), 2)
        if opened.read() != _END_OF_STREAM:
            raise damaged(repr(file.path), "is not Arrow, or was cut off: its mark of the end is missing")
    return False
