"""What the pages of a Parquet column say that they unpack to, read before anybody reserves the memory.

A page begins with a Thrift structure in the compact protocol, whose fields 1 to 3 are its type, its bytes unpacked and
its bytes as they lie (apache/parquet-format parquet.thrift PageHeader; apache/thrift thrift-compact-protocol.md).
"""

from collections.abc import Iterator
from typing import Any, BinaryIO

# Writers cut pages at 1 MiB or so, but never within a value.
LARGEST_PAGE = 64 * 2**20
# What pyarrow allows a header, which may hold the least and the greatest text of its page.
_LONGEST_HEADER = 16 * 2**20
_USUAL_HEADER = 4096
# Old writers left a header out when they counted (PARQUET-816); pyarrow adds as much.
_MOST_LEFT_OUT = 100

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_FIXED = {_TRUE: 0, _FALSE: 0, _BYTE: 1, _DOUBLE: 8}


def page_sizes(opened: BinaryIO, metadata: Any, field: str) -> Iterator[int]:
    """Bytes that each page of the column says it unpacks to.

    Raises:
        ValueError: a page does not begin like one. pyarrow would take what stands there for a size.
    """
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for column in (group.column(place) for place in range(group.num_columns)):
            if column.path_in_schema == field:
                start = min(filter(None, (column.dictionary_page_offset, column.data_page_offset)), default=0)
                yield from _of_chunk(opened, start, start + column.total_compressed_size)


def _of_chunk(opened: BinaryIO, at: int, end: int) -> Iterator[int]:
    while 0 < at < end:
        try:
            header, sizes = _header(opened, at)
        except (IndexError, RecursionError):
            raise ValueError("a page header without an end") from None
        if not {1, 2, 3} <= sizes.keys() or min(sizes[2], sizes[3]) < 0:
            raise ValueError("a page header without sizes")
        yield sizes[2]
        at += header + sizes[3]
    if at > end + _MOST_LEFT_OUT:
        raise ValueError("a page that reaches beyond its column")


def _header(opened: BinaryIO, at: int) -> tuple[int, dict[int, int]]:
    for length in (_USUAL_HEADER, _LONGEST_HEADER):
        opened.seek(at)
        content = opened.read(length)
        try:
            return _struct(content, 0)
        except IndexError:
            if len(content) < length:
                raise
    raise IndexError(at)


def _struct(content: bytes, at: int) -> tuple[int, dict[int, int]]:
    """Where the structure at `at` ends, and its fields that are numbers."""
    numbers: dict[int, int] = {}
    field = 0
    while content[at]:
        delta, kind = divmod(content[at], 16)
        at += 1
        if delta:
            field += delta
        else:
            field, at = _number(content, at)
        if kind in (_I16, _I32, _I64):
            numbers[field], at = _number(content, at)
        else:
            at = _skipped(content, at, kind)
    return at + 1, numbers


def _number(content: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(content, at)
    return (value >> 1) ^ -(value & 1), at


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than ten bytes")


def _skipped(content: bytes, at: int, kind: int) -> int:
    """Where the value that begins at `at` ends."""
    if kind in _FIXED:
        return at + _FIXED[kind]
    if kind in (_I16, _I32, _I64):
        return _varint(content, at)[1]
    if kind == _BINARY:
        length, at = _varint(content, at)
        return at + length
    if kind == _STRUCT:
        return _struct(content, at)[0]
    if kind in (_LIST, _SET):
        return _skipped_list(content, at)
    raise ValueError(f"a value of kind {kind}, which no page header has")


def _skipped_list(content: bytes, at: int) -> int:
    length, kind = divmod(content[at], 16)
    at += 1
    if length == 15:
        length, at = _varint(content, at)
    for _ in range(length):
        # In a list a truth takes a byte; of a field its kind says it.
        at = at + 1 if kind in (_TRUE, _FALSE) else _skipped(content, at, kind)
    return at
