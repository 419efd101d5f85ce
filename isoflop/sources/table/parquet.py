"""Parquet, read with pyarrow where that is installed."""

from isoflop.errors import IsoflopError
from isoflop.sources.raw_table import RawTable

MAGIC = b"PAR1"  # at both ends: parquet.apache.org/docs/file-format


def read_parquet(content: bytes, *, name: str) -> RawTable:
    """The table in `content`.

    Raises:
        IsoflopError: pyarrow is not installed or cannot read it.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise IsoflopError(
            f"{name!r} is a Parquet file, and pyarrow, which reads such files, is not installed.",
            hint="`pip install 'isoflop[parquet]'`, or give the table as CSV or JSON lines.",
        ) from None
    if content[-len(MAGIC) :] != MAGIC:
        raise _unread(name, f"its last {len(MAGIC)} bytes are not {MAGIC.decode()}: it was cut off or altered")
    # What pyarrow says of damage names parts of its own; ValueError: text that is not UTF-8.
    damage = (pa.ArrowException, OSError, ValueError, OverflowError)
    try:
        file = parquet.ParquetFile(pa.BufferReader(content))
    except damage:
        raise _unread(name, "its footer, which says where its columns are, is damaged") from None
    try:
        table = file.read()
    except pa.ArrowNotImplementedError:
        raise _unread(name, f"it is damaged, or written in a way that pyarrow {pa.__version__} does not read") from None
    except damage:
        raise _unread(name, "the data of its columns are damaged") from None

    def read(index: int) -> list[object]:
        try:
            values: list[object] = table.column(index).to_pylist()
        except damage:
            raise _unread(name, "the data of its columns are damaged") from None
        return values

    return RawTable(name, "parquet", tuple(table.column_names), read, lambda: range(1, table.num_rows + 1))


def _unread(name: str, why: str) -> IsoflopError:
    return IsoflopError(
        f"{name!r} cannot be read as Parquet: {why}.",
        hint="Copy or write the file again, or give the table as CSV or JSON lines.",
    )
