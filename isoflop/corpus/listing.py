"""Which files `paths` and `pattern` of a source name, and whether they are on this machine."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePath

from isoflop.corpus.documents import SourceFile, source_file, unreadable
from isoflop.corpus.patterns import expand
from isoflop.errors import IsoflopError

# Where a file is, whatever its name: device and inode.
Place = tuple[int, int]


def listed(paths: Sequence[str], pattern: str | Sequence[str], *, base: Path) -> dict[Place, SourceFile]:
    """The files that the paths name, once each; of folders those that match `pattern`. Paths start at `base`.

    Raises:
        IsoflopError: a path is missing or unreadable, or a pattern is malformed.
    """
    # A file reached by two paths is one file.
    found: dict[Place, SourceFile] = {}
    patterns = expand(pattern)
    for entry in paths:
        try:
            for path in _matches(base / entry, entry, patterns):
                status = path.stat()
                name = PurePath(entry, path.relative_to(base / entry))
                found.setdefault((status.st_dev, status.st_ino), source_file(path, name))
        except OSError as error:
            raise unreadable(error.filename or entry, error) from None
    return found


def exists(path: Path) -> bool:
    """Whether something is there, readable or not; a dangling link is something."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _matches(path: Path, entry: str, patterns: Sequence[str]) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.exists():
        raise IsoflopError(
            f"corpus.paths lists {entry!r}, but there is no {str(path)!r}.",
            hint="Paths are relative to the sweep file's folder; correct corpus.paths. `isoflop plan` does without the "
            "text where none of its paths is there and corpus.tokens gives its number of tokens.",
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
