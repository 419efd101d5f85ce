"""Braces in patterns of file names: `*.{txt,md}` for `*.txt` and `*.md`, as shells read them."""

from collections.abc import Iterator, Sequence
from itertools import islice

from isoflop.errors import IsoflopError

# Beyond what anyone writes, and short of what a few braces multiply to or nest into.
MOST_PATTERNS = 1000
LONGEST_PATTERN = 1000


def expand(patterns: str | Sequence[str]) -> tuple[str, ...]:
    """Patterns without alternatives that together match what `patterns` match, each once.

    Raises:
        IsoflopError: too long, or too many.
    """
    given = (patterns,) if isinstance(patterns, str) else patterns
    if max(map(len, given)) > LONGEST_PATTERN:
        raise _excess(f"has more than {LONGEST_PATTERN} characters")
    found = list(islice((one for pattern in given for one in _alternatives(pattern)), MOST_PATTERNS + 1))
    if len(found) > MOST_PATTERNS:
        raise _excess(f"stands for more than {MOST_PATTERNS} patterns")
    return tuple(dict.fromkeys(found))


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
