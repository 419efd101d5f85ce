"""Where text comes from: the files a corpus is made of and the documents in them."""

import os
import platform
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from isoflop.corpus.patterns import expand
from isoflop.errors import IsoflopError
from isoflop.spec import CorpusSpec

# Other people's code: it differs from one installation to the next.
_NOT_STDLIB = frozenset({"site-packages", "dist-packages", "__pycache__"})

# A larger file is cut at line boundaries into parts, each a document of its own: memory stays bounded, and a
# corpus of one big file gets a held-out set drawn from all of it.
LARGEST_DOCUMENT = 1 << 20
# So many parts at least, so that holding out a single one takes less than 2 % of the file.
_MIN_PARTS = 64


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file with text.

    Attributes:
        name: path with forward slashes, relative to the source; orders the corpus.
        path: where it is.
        n_bytes: its size when it was found.
        mtime_ns: when it was last changed, nanoseconds since the epoch.
    """

    name: str
    path: str
    n_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Document:
    """A text: a file, a part of a large one, or a record of one.

    Attributes:
        path: the file that it is from.
        start: where in the file it begins, in bytes of what the file unpacks to; 0 for its first document.
        text: all of it, never empty.
        part: the source of a mixture that it belongs to, counted from 0.
    """

    path: str
    start: int
    text: bytes
    part: int = 0


# The documents of one file in order, the same each time it is read.
Reader = Callable[[SourceFile], Iterator[Document]]


@dataclass(frozen=True)
class Source:
    """The files of a corpus by name, and what to call them in a manifest.

    Attributes:
        interpreter: implementation and version, where the text is the interpreter's own.
        reader: what finds the documents in a file.
    """

    description: str
    interpreter: str | None
    files: tuple[SourceFile, ...]
    reader: Reader

    def documents(self) -> Iterator[Document]:
        """Every document of every file, one at a time; the same documents in the same order whenever it is asked.

        Raises:
            IsoflopError: a file is gone, unreadable or not of its format.
        """
        for file in self.files:
            yield from self.reader(file)


def find_source(spec: CorpusSpec, *, base: Path) -> Source:
    """The files that `spec` asks for, in order of name; relative paths start at `base`.

    Raises:
        IsoflopError: a path is missing or unreadable, a pattern is malformed, or there is no text.
    """
    source = _stdlib() if spec.source == "python-stdlib" else _listed(spec, base)
    if not any(file.n_bytes for file in source.files):
        raise IsoflopError(
            f"The corpus ({source.description}) is empty: no text in {len(source.files)} files.",
            hint="Point corpus.paths at files with text, or use another corpus.source.",
        )
    return source


def is_absent(spec: CorpusSpec, *, base: Path) -> bool:
    """Whether `spec` names files of which none is on this machine.

    A mixture of paths that exist and paths that do not is a mistake, for `find_source` to name.
    """
    return spec.source == "files" and not any(_exists(base / entry) for entry in spec.paths)


def _exists(path: Path) -> bool:
    """Whether something is there, readable or not; a dangling link is something."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def text_documents(file: SourceFile) -> Iterator[Document]:
    """The documents of a file of plain text: one, none if it is empty, several beyond `LARGEST_DOCUMENT` bytes.

    Raises:
        IsoflopError: the file is gone or unreadable.
    """
    part_bytes = min(LARGEST_DOCUMENT, file.n_bytes // _MIN_PARTS) if file.n_bytes > LARGEST_DOCUMENT else None
    start = 0
    try:
        with Path(file.path).open("rb") as opened:
            while start < file.n_bytes:
                if part_bytes is None:
                    text = opened.read(file.n_bytes)
                else:
                    # To the end of the line, or as far again: a file may be one endless line.
                    text = (opened.read(part_bytes) + opened.readline(part_bytes))[: file.n_bytes - start]
                if not text:
                    break  # it was cut short since it was found
                yield Document(file.path, start, text)
                start += len(text)
    except OSError as error:
        raise unreadable(file.path, error) from None


def _stdlib() -> Source:
    root = Path(sysconfig.get_paths()["stdlib"])
    interpreter = f"{platform.python_implementation()} {platform.python_version()}"
    found = (_source_file(path, path.relative_to(root)) for path in _library_files(root) if path.is_file())
    files = tuple(sorted(found, key=lambda file: file.name))
    return Source(f"standard library of {interpreter}", interpreter, files, text_documents)


def _library_files(root: Path) -> Iterator[Path]:
    for folder, subfolders, names in os.walk(root):
        if "pyvenv.cfg" in names:
            subfolders.clear()
            continue
        subfolders[:] = [name for name in subfolders if name not in _NOT_STDLIB]
        yield from (Path(folder, name) for name in names if name.endswith(".py"))


def _listed(spec: CorpusSpec, base: Path) -> Source:
    # By device and inode: a file reached by two paths is one file.
    found: dict[tuple[int, int], SourceFile] = {}
    patterns = expand(spec.pattern)
    for entry in spec.paths:
        try:
            for path in _matches(base / entry, entry, patterns):
                status = path.stat()
                name = PurePath(entry, path.relative_to(base / entry))
                found.setdefault((status.st_dev, status.st_ino), _source_file(path, name))
        except OSError as error:
            raise unreadable(error.filename or entry, error) from None
    files = tuple(sorted(found.values(), key=lambda file: file.name))
    return Source(f"files {', '.join(spec.paths)}", None, files, text_documents)


def _matches(path: Path, entry: str, patterns: Sequence[str]) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.exists():
        raise IsoflopError(
            f"corpus.paths lists {entry!r}, but there is no {str(path)!r}.",
            hint="Paths are relative to the sweep file's folder; correct corpus.paths. `isoflop plan` does without the "
            "text if corpus.tokens gives its number of tokens.",
        )
    if not path.is_dir():
        raise IsoflopError(
            f"corpus.paths lists {entry!r}, which is neither a file nor a folder.", hint="Give files and folders."
        )
    # glob() takes a folder that it may not read for an empty one.
    os.scandir(path).close()
    files = [match for pattern in patterns for match in path.glob(pattern) if match.is_file()]
    if not files:
        raise IsoflopError(
            f"The folder {str(path)!r} has no file that matches {' or '.join(map(repr, patterns))}.",
            hint="Set corpus.pattern to match the names of its files, such as **/*.md.",
        )
    return files


def _source_file(path: Path, name: PurePath) -> SourceFile:
    status = path.stat()
    return SourceFile(name.as_posix(), str(path), status.st_size, status.st_mtime_ns)


def unreadable(path: str, error: OSError) -> IsoflopError:
    """The error that a file of the corpus cannot be read."""
    return IsoflopError(
        f"Cannot read {path!r} of the corpus: {error.strerror}.",
        hint="Make it readable, or leave it out of corpus.paths.",
    )
