"""From a file's bytes to its table, in the format that its first bytes or its ending tell."""

from collections.abc import Collection

from isoflop.sources.table.csv import read_csv
from isoflop.sources.table.jsonl import read_jsonl
from isoflop.sources.table.parquet import MAGIC, read_parquet
from isoflop.sources.table.raw import RawTable

_JSONL_SUFFIXES = (".jsonl", ".ndjson")


def read_table(content: bytes, *, name: str, suffix: str, wanted: Collection[str]) -> RawTable | None:
    """The table in `content`; None for no table.

    `name` is the file as errors name it, `suffix` its ending in small letters, `wanted` the columns that are looked
    for: text of another ending is CSV where its first line names one of them.

    Raises:
        IsoflopError: the content is not of its format.
    """
    if content.startswith(MAGIC):
        return read_parquet(content, name=name)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    if suffix in _JSONL_SUFFIXES or (suffix != ".csv" and text.lstrip().startswith("{")):
        return read_jsonl(text, name=name)
    first_line = text.partition("\n")[0]
    named = any(column in first_line for column in wanted)
    return read_csv(text, name=name) if suffix == ".csv" or named else None
