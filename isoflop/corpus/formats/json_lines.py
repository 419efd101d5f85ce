"""JSON lines, compressed or not: an object a line, its text in one field."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from isoflop.corpus.documents import Document, SourceFile, unreadable
from isoflop.corpus.formats.record_faults import LARGEST_RECORD, damaged, no_such_field, not_text, too_large
from isoflop.corpus.formats.unpacking import open_unpacked

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_KINDS = {dict: "an object", list: "a list", bool: "true or false", int: "a number", float: "a number"}


@dataclass(frozen=True)
class JsonLinesReader:
    """The documents of a file of JSON lines: what `field` of each holds."""

    field: str

    def __call__(self, file: SourceFile) -> Iterator[Document]:
        """The documents of `file`, an empty one where the field is null or empty.

        Raises:
            IsoflopError: it is gone, unreadable or damaged; a line is no object, lacks the field or has no text there.
        """
        try:
            with open_unpacked(file) as opened:
                # Twice the record: escapes take room.
                number = 0
                while line := opened.readline(2 * LARGEST_RECORD + 1):
                    number += 1
                    line = line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
                    if line.strip():
                        text = self._text(line, f"{file.path!r}, line {number}")
                        yield Document(file.path, number, text)
        except OSError as error:
            raise unreadable(file.path, error) from None

    def _text(self, line: bytes, place: str) -> bytes:
        if len(line) > 2 * LARGEST_RECORD:
            raise too_large(place)
        try:
            record = json.loads(line)
        except RecursionError:
            raise damaged(place, "is nested too deeply") from None
        except ValueError as error:
            reason = getattr(error, "msg", None) or "it is not UTF-8 or has an endless number"
            raise damaged(place, f"is not JSON: {reason}") from None
        if not isinstance(record, dict):
            kind = _KINDS.get(type(record), "text" if isinstance(record, str) else "null")
            raise damaged(place, f"is {kind}, not an object with the field {self.field!r}")
        if self.field not in record:
            raise no_such_field(place, self.field, record, noun="field")
        value = record[self.field]
        if value is None:
            return b""
        if not isinstance(value, str):
            raise not_text(place, self.field, _KINDS[type(value)])
        # Half of a surrogate pair is in texts that people have: its bytes stand for it, as in a file.
        text = value.encode("utf-8", "surrogatepass")
        if len(text) > LARGEST_RECORD:
            raise too_large(place)
        return text
