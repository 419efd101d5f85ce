"""What the pages of a Parquet column say that they unpack to, read before anybody reserves the memory.

Footer and pages are Thrift structures in the compact protocol (apache/thrift thrift-compact-protocol.md). Of the footer
the row groups are followed to the column (apache/parquet-format parquet.thrift FileMetaData), because pyarrow's own
account of a damaged column ends the process; a page begins with its type, its bytes unpacked and its bytes as they lie
(PageHeader).
"""

from collections.abc import Iterator
from typing import BinaryIO

# Writers cut pages at 1 MiB or so, but never within a value.
LARGEST_PAGE = 64 * 2**20
# What pyarrow allows a header, which may hold the least and the greatest text of its page.
_LONGEST_HEADER = 16 * 2**20
_USUAL_HEADER = 4096
# Old writers left a header out when they counted (PARQUET-816); pyarrow adds as much.
_MOST_LEFT_OUT = 100
# The footer's length and the mark of the end.
_TAIL_BYTES = 8

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_FIXED = {_BYTE: 1, _DOUBLE: 8}


def page_sizes(opened: BinaryIO, field: str) -> Iterator[int]:
    """Bytes that each page of the column says it unpacks to.

    Raises:
        ValueError: a page does not begin like one, and pyarrow would take what stands there for a size; or the footer
            is damaged.
    """
    for start, end in _chunks(opened, field):
        yield from _of_chunk(opened, start, end)


def _chunks(opened: BinaryIO, field: str) -> Iterator[tuple[int, int]]:
    """Where the column begins and ends in each row group."""
    file_bytes = opened.seek(0, 2)
    opened.seek(file_bytes - _TAIL_BYTES)
    footer_bytes = int.from_bytes(opened.read(4), "little")
    opened.seek(max(0, file_bytes - _TAIL_BYTES - footer_bytes))
    footer = _Thrift(opened.read(footer_bytes))
    try:
        for numbers, path in footer.columns():
            if path == [field.encode()]:
                # Fields 7, 9 and 11: bytes as they lie, and where the data and a dictionary begin.
                start = min(filter(None, (numbers.get(11), numbers.get(9))), default=0)
                yield start, start + numbers.get(7, 0)
    except (IndexError, RecursionError):
        raise ValueError("a footer without an end") from None


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
    """Bytes of the page header at `at`, and its fields that are numbers."""
    for length in (_USUAL_HEADER, _LONGEST_HEADER):
        opened.seek(at)
        header = _Thrift(opened.read(length))
        try:
            numbers = header.numbers()
            return header.at, numbers
        except IndexError:
            if len(header.content) < length:
                raise
    raise IndexError(at)


class _Thrift:
    """Structures in the compact protocol, read in one pass; IndexError where they go on beyond the content.

    Attributes:
        at: where the next value begins.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.at = 0

    def columns(self) -> Iterator[tuple[dict[int, int], list[bytes]]]:
        """Of a FileMetaData the columns of all row groups: the numbers in their ColumnMetaData, and their path."""
        for field, kind in self._fields():
            if (field, kind) == (4, _LIST):
                for _ in self._items(_STRUCT):
                    yield from self._columns_of_row_group()
            else:
                self._skip(kind)

    def _columns_of_row_group(self) -> Iterator[tuple[dict[int, int], list[bytes]]]:
        for field, kind in self._fields():
            if (field, kind) == (1, _LIST):
                for _ in self._items(_STRUCT):
                    yield self._column()
            else:
                self._skip(kind)

    def _column(self) -> tuple[dict[int, int], list[bytes]]:
        numbers: dict[int, int] = {}
        path: list[bytes] = []
        for field, kind in self._fields():
            if (field, kind) != (3, _STRUCT):
                self._skip(kind)
                continue
            for inner, kind_of_inner in self._fields():
                if (inner, kind_of_inner) == (3, _LIST):
                    path = [self._binary() for _ in self._items(_BINARY)]
                elif kind_of_inner in (_I16, _I32, _I64):
                    numbers[inner] = self._number()
                else:
                    self._skip(kind_of_inner)
        return numbers, path

    def numbers(self) -> dict[int, int]:
        """The fields of the structure that are numbers."""
        found: dict[int, int] = {}
        for field, kind in self._fields():
            if kind in (_I16, _I32, _I64):
                found[field] = self._number()
            else:
                self._skip(kind)
        return found

    def _fields(self) -> Iterator[tuple[int, int]]:
        """Number and kind of each field; whoever asks reads its value before the next."""
        field = 0
        while self.content[self.at]:
            delta, kind = divmod(self.content[self.at], 16)
            self.at += 1
            field = field + delta if delta else self._number()
            yield field, kind
        self.at += 1

    def _items(self, kind: int) -> range:
        """The items of a list, all of that kind; whoever asks reads each."""
        length, found = self._list()
        if found != kind:
            raise ValueError(f"a list of kind {found}, not {kind}")
        return range(length)

    def _list(self) -> tuple[int, int]:
        length, kind = divmod(self.content[self.at], 16)
        self.at += 1
        return self._varint() if length == 15 else length, kind

    def _binary(self) -> bytes:
        length = self._varint()
        self.at += length
        return self.content[self.at - length : self.at]

    def _number(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self.content[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("a number of more than ten bytes")

    def _skip(self, kind: int) -> None:
        if kind in _FIXED:
            self.at += _FIXED[kind]
        elif kind in (_I16, _I32, _I64):
            self._varint()
        elif kind == _BINARY:
            self._binary()
        elif kind == _STRUCT:
            self.numbers()
        elif kind in (_LIST, _SET):
            self._skip_list()
        elif kind not in (_TRUE, _FALSE):  # a field's kind says it
            raise ValueError(f"a value of kind {kind}, which Parquet does not have")

    def _skip_list(self) -> None:
        length, kind = self._list()
        # In a list a truth takes a byte.
        size = 1 if kind in (_TRUE, _FALSE) else _FIXED.get(kind)
        if size is not None:
            self.at += size * length
            return
        for _ in range(length):
            self._skip(kind)
