"""The one exception a user is meant to see, and words of ours for what a parser says in Python's own."""

import re
import sys
from pathlib import Path

# A whole number in JSON or TOML, which may hold underscores.
_DIGITS = re.compile("[0-9][0-9_]*")
_SHOWN_DIGITS = 20


class IsoflopError(Exception):
    """Something the user can fix: one sentence saying what is wrong, one hint saying what to do.

    Everything else that goes wrong is a bug (ValueError, assert: shown with its traceback) or an
    outcome of an experiment (a value of an enum, never an exception).
    """

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def why_unparsed(error: ValueError | RecursionError, text: str) -> str:
    """Why the parser that raised `error` did not read `text`, JSON or TOML, as the end of a sentence.

    A parser has words of its own for bad syntax; not for nesting, nor for a number with more digits than Python reads.
    """
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    limit = sys.get_int_max_str_digits()
    digits = max((match.group().replace("_", "") for match in _DIGITS.finditer(text)), key=len, default="")
    # Bad syntax is a ValueError of a kind of its own in both.
    if type(error) is ValueError and 0 < limit < len(digits):
        shown = f"{digits[:_SHOWN_DIGITS]}..."
        return f"the whole number {shown} has {len(digits)} digits, more than the {limit} that Python reads"
    return str(error)


def why_inaccessible(error: OSError | ValueError, path: Path) -> str:
    """What the system says of `path`, as the end of a sentence: `Permission denied`; of a file inside, with its path.

    A ValueError is Python's, of a name with a null byte.
    """
    if isinstance(error, ValueError) or error.strerror is None:
        return str(error)
    inside = f" ({str(error.filename)!r})" if error.filename not in (None, str(path)) else ""
    return f"{error.strerror}{inside}"
