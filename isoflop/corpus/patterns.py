"""Braces in patterns of file names: `*.{txt,md}` for `*.txt` and `*.md`, as shells read them."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import PurePath

from isoflop.errors import IsoflopError

# Beyond what anyone writes, and short of what a few braces multiply to or nest into.
MOST_PATTERNS = 1000
LONGEST_PATTERN = 1000

_EXAMPLE = "Write a pattern such as **/*.txt."


def expand(patterns: str | Sequence[str]) -> tuple[str, ...]:
    """Patterns without alternatives that together match what `patterns` match, each once.

    Raises:
        IsoflopError: too long, too many, or one that can match no file of a folder.
    """
    given = (patterns,) if isinstance(patterns, str) else patterns
    if max(map(len, given)) > LONGEST_PATTERN:
        raise _excess(f"has more than {LONGEST_PATTERN} characters")
    pairs = ((one, pattern) for pattern in given for one in _alternatives(pattern))
    found = list(islice(pairs, MOST_PATTERNS + 1))
    if len(found) > MOST_PATTERNS:
        raise _excess(f"stands for more than {MOST_PATTERNS} patterns")
    for one, pattern in found:
        if (fault := _fault(one)) is not None:
            raise _unusable(one, pattern, *fault)
    return tuple(dict.fromkeys(one for one, _ in found))


def _fault(pattern: str) -> tuple[str, str] | None:
    """What keeps `pattern` from matching files of a folder, and what to do instead; None where nothing does."""
    path = PurePath(pattern)
    if not pattern or not path.parts:
        return ("empty" if not pattern else "the folder itself"), _EXAMPLE
    if "\0" in pattern:
        return "a name with a null byte, which no file has", _EXAMPLE
    if path.is_absolute():
        return "an absolute path", f"List the folder in corpus.paths; the pattern starts there. {_EXAMPLE}"
    if any("**" in part and part != "**" for part in path.parts):
        return "a name with ** in it, which stands for whole folders", "Write ** alone between slashes, as in **/*.txt."
    return None


def _unusable(one: str, pattern: str, what: str, hint: str) -> IsoflopError:
    given = f"corpus.pattern = {pattern!r}"
    said = f"{given} is {what}." if one == pattern else f"{given} stands for {one!r}, among others, which is {what}."
    return IsoflopError(said, hint=hint)


def _excess(what: str) -> IsoflopError:
    return IsoflopError(f"corpus.pattern {what}.", hint="Write fewer braces, or list the folders in corpus.paths.")


def _alternatives(pattern: str) -> Iterator[str]:
    for start, character in enumerate(pattern):
        group = _group(pattern, start) if character == "{" else None
        if group is not None:
            parts, stop = group
            for part in parts:
                for inner in _alternatives(part):
                    for rest in _alternatives(pattern[stop:]):
                        yield pattern[:start] + inner + rest
            return
    yield pattern


def _group(pattern: str, start: int) -> tuple[list[str], int] | None:
    """The alternatives of the brace at `start` and where it ends; None for one without partner or comma: a letter."""
    depth, part, parts = 0, start + 1, list[str]()
    for at in range(start, len(pattern)):
        match pattern[at]:
            case "{":
                depth += 1
            case "," if depth == 1:
                parts.append(pattern[part:at])
                part = at + 1
            case "}":
                depth -= 1
                if depth == 0:
                    return ([*parts, pattern[part:at]], at + 1) if parts else None
    return None
