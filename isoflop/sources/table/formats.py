"""From a file's bytes to its table, in the format that its first bytes or its ending tell."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import PurePath

from isoflop.errors import IsoflopError
from isoflop.sources.raw_table import RawTable
from isoflop.sources.table.csv import read_csv
from isoflop.sources.table.encoding import Text, decoded
from isoflop.sources.table.foreign import refuse_archive, refuse_binary, refuse_text
from isoflop.sources.table.json_document import is_json, read_json
from isoflop.sources.table.packed import ZIP, only_member, open_zip, unpacked
from isoflop.sources.table.parquet import MAGIC, read_parquet
from isoflop.sources.table.workbook import WORKBOOK, read_workbook

# Where the null characters of a binary format would be met.
_HEAD = 4096


def read_table(content: bytes, *, name: str, suffix: str, wanted: Collection[str]) -> RawTable | None:
    """The table in `content`; None for no table.

    `name` is the file as errors name it, `suffix` its ending in small letters, `wanted` the columns that are looked
    for: text of another ending than .csv has to name one of them, or to be a table beyond doubt.

    Raises:
        IsoflopError: the content is not of its format, or of one that is not read.
    """
    table = _read(content, name, suffix, wanted)
    return table and replace(table, header=tuple(map(_in_one_line, table.header)))


def _in_one_line(column: str) -> str:
    """The name of a column as an error can show it: a line break, or what moves a terminal's cursor, is a space."""
    if column.isprintable():
        return column
    return " ".join("".join(sign if sign.isprintable() else " " for sign in column).split())


def _read(content: bytes, name: str, suffix: str, wanted: Collection[str]) -> RawTable | None:
    if content.startswith(ZIP):
        archive = open_zip(content, name=name)
        names = archive.namelist()
        if WORKBOOK in names:
            return read_workbook(content, archive, name=name, wanted=wanted)
        refuse_archive(names, name=name)
        inner: tuple[bytes, str] | None = only_member(archive, name=name)
    else:
        inner = unpacked(content, name=name)
    if inner:
        content, inner_name = inner
        suffix = PurePath(inner_name).suffix.lower()
        if not content.strip():
            raise IsoflopError(f"{name!r} is empty when unpacked.", hint="Give a table of runs.")
    if content.startswith(MAGIC):
        return read_parquet(content, name=name)
    text = decoded(content, name=name)
    if text is None or "\0" in text.text[:_HEAD]:
        refuse_binary(content, name=name)
    return _of_text(text, name, suffix, wanted) if text else None


def _of_text(text: Text, name: str, suffix: str, wanted: Collection[str]) -> RawTable | None:
    refuse_text(text.text, name=name)
    if not is_json(text.text, suffix):
        return read_csv(text, name=name, suffix=suffix, wanted=wanted)
    table = read_json(text.text, name=name, suffix=suffix, wanted=wanted)
    return replace(table, note=lambda: (*text.notes, *table.notes)) if text.notes else table
