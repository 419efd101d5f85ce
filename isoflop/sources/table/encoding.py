"""From bytes to text, in the encoding that they have."""

import codecs
from dataclasses import dataclass

from isoflop.errors import IsoflopError

# Those of UTF-32 first: the one of little end begins like that of UTF-16 (unicode.org/faq/utf_bom.html).
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
_HEAD_BYTES = 4096
# The other characters of UTF-16 without a mark may be of another script: in a title, or in a column of notes.
_SHARE_OF_NULLS = 0.9
_CONTROLS = bytes({*range(0x20), 0x7F} - {*b"\t\n\v\f\r\x1b"})


@dataclass(frozen=True)
class Text:
    """What a file says.

    Attributes:
        notes: the encoding, where it is not UTF-8; a sentence.
        guessed: whether nothing but the lack of another encoding speaks for this one.
    """

    text: str
    notes: tuple[str, ...] = ()
    guessed: bool = False


def decoded(content: bytes, *, name: str) -> Text | None:
    """The text in `content`: UTF-16 and UTF-32 by their mark, UTF-16 also by its null bytes, UTF-8, Windows-1252.

    None where it is not text. `name` is the file as errors name it.

    Raises:
        IsoflopError: the bytes are not of the encoding that their mark names.
    """
    codec, encoding = _wide(content)
    try:
        if codec:
            return Text(content.decode(codec).removeprefix("\ufeff"), (f"The text is {encoding}.",))
        return Text(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        if codec:
            raise IsoflopError(
                f"{name!r} is not the {encoding} text that it begins as: byte {error.start + 1} does not fit.",
                hint="Copy or write the file again, or save it as UTF-8.",
            ) from None
        return _of_eight_bits(content, error.start)


def _wide(content: bytes) -> tuple[str, str]:
    """Codec and name of UTF-16 or UTF-32; empty where it is neither."""
    for mark, codec, encoding in _MARKS:
        if content.startswith(mark):
            return codec, encoding
    even, odd = content[:_HEAD_BYTES:2], content[1:_HEAD_BYTES:2]
    for codec, letters, nulls in (("utf-16-le", even, odd), ("utf-16-be", odd, even)):
        if len(nulls) > 1 and 0 not in letters and nulls.count(0) >= _SHARE_OF_NULLS * len(nulls):
            return codec, "UTF-16"
    return "", ""


def _of_eight_bits(content: bytes, first: int) -> Text | None:
    """The text in Windows-1252, or in Latin-1 where it has bytes that are none there; None for control characters."""
    if len(content.translate(None, _CONTROLS)) < len(content):
        return None
    try:
        text, encoding = content.decode("cp1252"), "Windows-1252"
    except UnicodeDecodeError:
        text, encoding = content.decode("latin-1"), "Latin-1"
    line = content.count(b"\n", 0, first) + 1
    note = f"The text is not UTF-8 (line {line} has the byte 0x{content[first]:02X}) and read as {encoding}."
    return Text(text, (note,), guessed=True)
