"""What a corpus is made of: files, the documents in them, and what finds these."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from isoflop.errors import IsoflopError


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file with text or tokens.

    Attributes:
        name: path with forward slashes, relative to the source; orders the corpus.
        path: where it is.
        n_bytes: its size when it was found.
        mtime_ns: when it was last changed, nanoseconds since the epoch.
        part: the source of a mixture that it belongs to, counted from 0.
        heldout: the side that all of it goes to, where the sweep file says so.
    """

    name: str
    path: str
    n_bytes: int
    mtime_ns: int
    part: int = 0
    heldout: bool | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """A text: a file, a part of a large one, or a record of one; of ready tokens, a block of them.

    Attributes:
        path: the file that it is from.
        start: where in the file it begins, in bytes of what the file unpacks to, or the number of its record.
        text: all of it; empty for a record without text, which is dropped and counted. Of a block of tokens its bytes
            as `token_dtype` of the vocabulary stores them.
        part: the source of a mixture that it belongs to, counted from 0.
        heldout: the side that its file is for; None where its content decides.
    """

    path: str
    start: int
    text: bytes
    part: int = 0
    heldout: bool | None = None


# The documents of one file in order, the same each time it is read.
Reader = Callable[[SourceFile], Iterator[Document]]


@dataclass(frozen=True)
class Part:
    """A source of a mixture.

    Attributes:
        description: where it comes from, in words.
        weight: its share of the tokens; those of all parts add up to 1.
    """

    description: str
    weight: float


@dataclass(frozen=True)
class Source:
    """The files of a corpus by name, and what to call them in a manifest.

    Attributes:
        interpreter: implementation and version, where text is the interpreter's own.
        reader: what finds the documents in a file; it can be sent to another process.
        parts: the sources of a mixture; empty for a single source.
        is_text: False where the documents are blocks of ready tokens, which have no lines.
    """

    description: str
    interpreter: str | None
    files: tuple[SourceFile, ...]
    reader: Reader
    parts: tuple[Part, ...] = ()
    is_text: bool = True

    def documents_of(self, number: int) -> Iterator[Document]:
        """The documents with text of one file.

        Raises:
            IsoflopError: the file is gone, unreadable or not of its format.
        """
        return (document for document in self.reader(self.files[number]) if document.text)

    def documents(self, on_empty: Callable[[], None] | None = None) -> Iterator[tuple[int, Document]]:
        """Every document with text, one at a time, and the number of its file; the same whenever it is asked.

        `on_empty` hears of each record without text.

        Raises:
            IsoflopError: a file is gone, unreadable or not of its format, or no record has text.
        """
        n_empty, found = 0, False
        for number, file in enumerate(self.files):
            for document in self.reader(file):
                if document.text:
                    found = True
                    yield number, document
                else:
                    n_empty += 1
                    if on_empty is not None:
                        on_empty()
        if not found:
            what = f"its {n_empty} records are null or empty" if n_empty else "its files have no record"
            raise IsoflopError(
                f"The corpus ({self.description}) has no text: {what}.",
                hint="Point corpus.paths, or corpus.dataset, at records with text, and corpus.field at their text.",
            )


def source_file(path: Path, name: PurePath) -> SourceFile:
    """The file at `path` as it is now.

    Raises:
        OSError: it is gone or unreadable.
    """
    status = path.stat()
    return SourceFile(name.as_posix(), str(path), status.st_size, status.st_mtime_ns)


def unreadable(path: str, error: OSError) -> IsoflopError:
    """The error that a file of the corpus cannot be read."""
    return IsoflopError(
        f"Cannot read {path!r} of the corpus: {error.strerror or error}.",
        hint="Make it readable, or leave it out of corpus.paths.",
    )
