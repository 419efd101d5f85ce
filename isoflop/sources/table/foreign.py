"""Files of other kinds, told by how they begin: each gets a sentence that says what it is."""

import re
from typing import NoReturn

from isoflop.errors import IsoflopError

_SAVE = "Save the table as CSV (or JSON lines, or Parquet) and give that file."
_PICKLE = re.compile(rb"\x80[\x02-\x05]")  # protocol 2 and later: docs.python.org/3/library/pickletools.html
_OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_LFS = "version https://git-lfs.github.com/spec/"
_MARKUP = re.compile(r"\s*<(!doctype html|html|head|body|table|\?xml|svg)\b", re.IGNORECASE)


def refuse_binary(content: bytes, *, name: str) -> None:
    """Nothing; `content` is of no format that is read here, and no text or one with null characters.

    Raises:
        IsoflopError: it begins like a file of a known kind.
    """
    if content.startswith(_OLD_OFFICE):
        _refuse(name, "an Excel workbook of the old kind (.xls), or one with a password")
    if _PICKLE.match(content) and content.rstrip(b"\0").endswith(b"."):
        _refuse(name, "a pickle")
    from isoflop.corpus.text import SIGNATURES  # loads the whole package, for a file that is refused anyway

    for signature in SIGNATURES:
        if signature.fits(content):
            _refuse(name, signature.format)


def refuse_archive(names: list[str], *, name: str) -> None:
    """Nothing; the ZIP archive holds the files `names`.

    Raises:
        IsoflopError: they are those of an archive of tensors, arrays or documents.
    """
    if any(file.endswith("data.pkl") for file in names):
        _refuse(name, "a file of torch's, which holds pickles")
    if names and all(file.endswith(".npy") for file in names):
        _refuse(name, "an archive of NumPy arrays (.npz)")
    if "xl/workbook.bin" in names:
        _refuse(name, "a binary Excel workbook (.xlsb)")
    if "mimetype" in names and "content.xml" in names:
        _refuse(name, "an OpenDocument file (.ods)")
    if "word/document.xml" in names or "ppt/presentation.xml" in names:
        _refuse(name, "an Office document")


def refuse_text(text: str, *, name: str) -> None:
    """Nothing; `text` may be a table.

    Raises:
        IsoflopError: it is HTML, XML or PDF, or stands for a file that Git LFS has.
    """
    if text.startswith(_LFS):
        raise IsoflopError(
            f"{name!r} is a pointer of Git LFS: the table itself was not downloaded.",
            hint="`git lfs pull` fetches it; on GitHub, download the file raw.",
        )
    if text.startswith("%PDF-"):
        _refuse(name, "a PDF document")
    if _MARKUP.match(text):
        raise IsoflopError(
            f"{name!r} is a page of HTML or XML, not a table of runs.",
            hint="Where a download gave a page for the file, download the file raw; otherwise save its table as CSV.",
        )


def _refuse(name: str, what: str) -> NoReturn:
    raise IsoflopError(f"{name!r} is {what}, not a sweep file, a database or a table that isoflop reads.", hint=_SAVE)
