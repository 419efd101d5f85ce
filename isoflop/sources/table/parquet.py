"""Parquet, read with pyarrow where that is installed."""

from collections.abc import Mapping

from isoflop.errors import IsoflopError
from isoflop.sources.table.header import choose_columns
from isoflop.sources.table.raw import RawTable

MAGIC = b"PAR1"  # parquet.apache.org/docs/file-format


def read_parquet(content: bytes, renames: Mapping[str, str], *, name: str) -> RawTable:
    """The table in `content`.

    Raises:
        IsoflopError: pyarrow is not installed or cannot read it, or a column is missing or twice.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise IsoflopError(
            f"{name!r} is a Parquet file, and pyarrow, which reads such files, is not installed.",
            hint="`pip install 'isoflop[parquet]'`, or give the table as CSV or JSON lines.",
        ) from None
    try:
        table = parquet.ParquetFile(pa.BufferReader(content)).read()
        header = table.column_names
        columns = choose_columns(header, renames, name=name)
        values = {ours: table.column(header.index(theirs)).to_pylist() for ours, theirs in columns.chosen.items()}
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:  # ValueError: text that is not UTF-8
        why = str(error).partition("\n")[0].rstrip(".")
        raise IsoflopError(f"{name!r} cannot be read as Parquet: {why}.", hint="Write the file again.") from None
    return RawTable(name, "parquet", columns, values, range(1, table.num_rows + 1))
