"""Text files, compressed or not, and the library of the running interpreter."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from isoflop.corpus.documents import Document, SourceFile, unreadable
from isoflop.corpus.formats.unpacking import is_packed, open_unpacked, unpacked_size
from isoflop.corpus.text import refuse_binary

# A larger file is cut at line boundaries into parts, each a document of its own: memory stays bounded, and a
# corpus of one big file gets a held-out set drawn from all of it.
LARGEST_DOCUMENT = 1 << 20
# So many parts at least, so that holding out a single one takes less than 2 % of the file.
_MIN_PARTS = 64

# Other people's code: it differs from one installation to the next.
_NOT_STDLIB = frozenset({"site-packages", "dist-packages", "__pycache__"})


@dataclass(frozen=True)
class TextReader:
    """The documents of a text file, which must be text."""

    def __call__(self, file: SourceFile) -> Iterator[Document]:
        """The documents of `file`.

        Raises:
            IsoflopError: it is gone, unreadable, damaged or not text.
        """
        for document in text_documents(file):
            refuse_binary(document.text, path=document.path, start=document.start)
            yield document


def text_documents(file: SourceFile) -> Iterator[Document]:
    """The documents of a file of plain text: one, none if it is empty, several beyond `LARGEST_DOCUMENT` bytes.

    A compressed file has the documents of what it unpacks to.

    Raises:
        IsoflopError: the file is gone, unreadable or damaged.
    """
    # A file that grows while it is read ends where it was found to; how far an unpacked one goes is not known.
    size = unpacked_size(file, at_most=_MIN_PARTS * LARGEST_DOCUMENT)
    end = None if is_packed(file.path) else size
    part_bytes = min(LARGEST_DOCUMENT, size // _MIN_PARTS) if size > LARGEST_DOCUMENT else None
    start = 0
    try:
        with open_unpacked(file) as opened:
            while end is None or start < end:
                if part_bytes is None:
                    text = opened.read(size)
                else:
                    # To the end of the line, or as far again: a file may be one endless line.
                    text = opened.read(part_bytes) + opened.readline(part_bytes)
                    text = text if end is None else text[: end - start]
                if not text:
                    break  # the end, or it was cut short since it was found
                yield Document(file.path, start, text)
                start += len(text)
    except OSError as error:
        raise unreadable(file.path, error) from None


def library_files(root: Path) -> Iterator[Path]:
    """The modules of the standard library in `root`, without packages that were installed."""
    for folder, subfolders, names in os.walk(root):
        if "pyvenv.cfg" in names:
            subfolders.clear()
            continue
        subfolders[:] = [name for name in subfolders if name not in _NOT_STDLIB]
        yield from (Path(folder, name) for name in names if name.endswith(".py"))
