"""What is wrong with a record or a column of a file, in one sentence with its place."""

from collections.abc import Iterable

from isoflop.errors import IsoflopError

# A record is one document in memory, and while it is parsed it may take ten times as much; a book has 1 MiB.
LARGEST_RECORD = 16 * 2**20

LEAVE_OUT = "leave the file out with corpus.paths or corpus.pattern"
_MOST_NAMES = 20
_LONGEST_NAME = 60


def no_such_field(place: str, field: str, there: Iterable[str], *, noun: str) -> IsoflopError:
    """The error that a record or a file lacks the field with the text; `there` are those it has."""
    names = [name[:_LONGEST_NAME] for name in there]
    shown = ", ".join(map(repr, names[:_MOST_NAMES])) + (", ..." if len(names) > _MOST_NAMES else "")
    has = f"it has {shown}" if names else "it has none"
    return IsoflopError(
        f"{place} has no {noun} {field!r}: {has}.", hint=f"Set corpus.field to the {noun} with the text."
    )


def not_text(place: str, field: str, what: str) -> IsoflopError:
    """The error that the field holds `what` instead of text."""
    return IsoflopError(
        f"{place}: {field!r} is {what}, not text.",
        hint=f"Set corpus.field to a field that holds text, or {LEAVE_OUT}.",
    )


def damaged(place: str, why: str) -> IsoflopError:
    """The error that a file cannot be read on."""
    return IsoflopError(f"{place} {why}.", hint=f"Copy or write the file again, or {LEAVE_OUT}.")


def of_another_format(path: str, what: str, why: str) -> IsoflopError:
    """The error that a file is not what `corpus.source` says."""
    return IsoflopError(f"{path!r} is not {what}: {why}.", hint=f"Set corpus.source to its format, or {LEAVE_OUT}.")


def too_large(place: str) -> IsoflopError:
    """The error that a record is larger than one document may be."""
    return IsoflopError(
        f"{place} has more than {LARGEST_RECORD // 2**20} MiB, the most that a record may have.",
        hint=f"Cut it into several records, or {LEAVE_OUT}.",
    )


def pyarrow_missing(path: str, what: str) -> IsoflopError:
    """The error that nothing here reads such files."""
    return IsoflopError(
        f"{path!r} is {what}, and pyarrow, which reads such files, is not installed.",
        hint="`pip install 'isoflop[corpus]'`.",
    )
