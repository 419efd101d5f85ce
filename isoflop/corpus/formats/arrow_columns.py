"""The text in a column of Arrow's: which columns have text, and the bytes of each row."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from isoflop.corpus.documents import Document, SourceFile
from isoflop.corpus.formats.record_faults import LARGEST_RECORD, damaged, no_such_field, not_text, too_large
from isoflop.corpus.formats.unpacking import refuse_bomb

if TYPE_CHECKING:
    import pyarrow as pa

# Rows turned into documents at a time, and about how many bytes.
ROWS = 256
_BYTES_AT_ONCE = 8 * 2**20


def text_column(schema: "pa.Schema", field: str, *, path: str) -> int:
    """Where in `schema` the column `field` with text is.

    Raises:
        IsoflopError: there is none, there are two, or it holds something else.
    """
    found = schema.get_all_field_indices(field)
    if not found:
        raise no_such_field(repr(path), field, schema.names, noun="column")
    if len(found) > 1:
        raise damaged(repr(path), f"has {len(found)} columns {field!r}")
    kind = schema.field(found[0]).type
    if not _is_text(kind):
        raise not_text(repr(path), field, f"a column of type {' '.join(str(kind).split())[:80]}")
    return int(found[0])


def documents_of(column: "pa.Array", field: str, *, file: SourceFile, first_row: int) -> Iterator[Document]:
    """The rows of an array as documents, an empty one for null.

    Raises:
        IsoflopError: a row is too large.
        pyarrow.ArrowException: the array contradicts itself.
    """
    column.validate(full=True)
    step = _rows_at_once(column)
    for start in range(0, len(column), step):
        texts = _as_bytes(column.slice(start, step)).to_pylist()
        for row, text in enumerate(texts, start=first_row + start + 1):
            if len(text or b"") > LARGEST_RECORD:
                raise too_large(f"{file.path!r}, row {row}, column {field!r}")
            yield Document(file.path, row, text or b"")


def without_bombs(documents: Iterator[Document], file: SourceFile) -> Iterator[Document]:
    """The documents of `file`, as long as they are not far more than its size.

    Raises:
        IsoflopError: they are.
    """
    n_bytes = 0
    for document in documents:
        n_bytes += len(document.text)
        refuse_bomb(file, n_bytes)
        yield document


def _rows_at_once(column: Any) -> int:
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        # Every row may be the longest text of the dictionary.
        return max(1, min(ROWS, _BYTES_AT_ONCE // max(1, int(column.dictionary.nbytes))))
    return max(1, min(ROWS, _BYTES_AT_ONCE * len(column) // max(1, int(column.nbytes))))


def _is_text(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _as_bytes(column: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string_view(column.type):
        column = column.cast(pa.large_string())
    return column.cast(pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary())
