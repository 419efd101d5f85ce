"""Which column of a table is which."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from isoflop.errors import IsoflopError

REQUIRED = ("budget_flops", "n_params", "n_tokens", "loss")
OPTIONAL = ("loss_se", "trunk", "tokenizer", "param_count", "seed")

_SHOWN_COLUMNS = 20
_NO_TOKENS = "n_tokens is the number of training tokens; FLOPs / (6 x parameters) would only be a guess."
_EXAMPLE = "Write --column n_params=N for a file that calls its parameters N."


@dataclass(frozen=True)
class TableColumns:
    """The columns of a table, and those of them that are read.

    Attributes:
        header: the file's columns, in its order.
        chosen: the file's name of each column that is read, by ours.
    """

    header: tuple[str, ...]
    chosen: Mapping[str, str]


def parse_renames(given: Sequence[str]) -> dict[str, str]:
    """The file's name of a column by ours, from texts like `n_params=N`.

    Raises:
        IsoflopError: no such text, no column of ours, or one given twice.
    """
    renames: dict[str, str] = {}
    for text in given:
        ours, equals, theirs = (part.strip() for part in text.partition("="))
        if not (equals and theirs):
            raise IsoflopError(f"--column {text!r} does not have the form NAME=THEIRS.", hint=_EXAMPLE)
        if ours not in REQUIRED + OPTIONAL:
            names = f"NAME is one of {', '.join(REQUIRED + OPTIONAL)}; THEIRS is the file's own name of that column."
            raise IsoflopError(f"--column {text!r}: isoflop reads no column {ours!r}.", hint=names)
        if ours in renames:
            raise IsoflopError(
                f"--column gives {ours} twice: {renames[ours]!r} and {theirs!r}.", hint="Leave one of the two out."
            )
        renames[ours] = theirs
    return renames


def choose_columns(header: Sequence[str], renames: Mapping[str, str], *, name: str) -> TableColumns:
    """Each column of ours under the name that `renames` gives it, else under its own; optional ones if there.

    `header` is that of the file `name`, in which a column that is there twice is listed twice.

    Raises:
        IsoflopError: one that is needed is missing, or one that is read is there twice.
    """
    renamed = {ours: theirs for ours, theirs in renames.items() if theirs in header}
    chosen = {ours: renamed.get(ours, ours) for ours in REQUIRED + OPTIONAL}
    chosen = {ours: theirs for ours, theirs in chosen.items() if theirs in header or ours in REQUIRED}
    missing = [ours for ours in REQUIRED if chosen[ours] not in header]
    for ours in missing:
        if ours in renames:
            raise lacks_renamed(ours, renames[ours], name, header)
    if missing:
        raise _lacks(missing, name, header)
    twice = next((theirs for theirs in chosen.values() if header.count(theirs) > 1), None)
    if twice is not None:
        raise IsoflopError(f"{name!r} names the column {twice} twice.", hint="Rename or remove one of the two.")
    return TableColumns(tuple(header), chosen)


def lacks_renamed(ours: str, theirs: str, name: str, header: Sequence[str]) -> IsoflopError:
    """The error that the table `name` does not have the column that --column names."""
    near = get_close_matches(theirs, header, n=1)
    meant = f"Did you mean --column {ours}={near[0]}? " if near else ""
    return IsoflopError(
        f"{name!r} lacks the column {theirs!r}, which --column gives for {ours}.",
        hint=f"{meant}It has {_listed(header)}.",
    )


def _lacks(missing: Sequence[str], name: str, header: Sequence[str]) -> IsoflopError:
    what = "column" if len(missing) == 1 else "columns"
    near = {ours: match for ours in missing for match in get_close_matches(ours, header, n=1, cutoff=0.5)}
    ours, theirs = next(iter(near.items()), (missing[0], "THEIRS"))
    tokens = f" {_NO_TOKENS}" if list(missing) == ["n_tokens"] else ""
    return IsoflopError(
        f"{name!r} lacks the {what} {', '.join(missing)}; it has {_listed(header)}.",
        hint=f"Give the file's own name, as in --column {ours}={theirs}; a CSV file names its columns in the first "
        f"line, separated by commas.{tokens}",
    )


def _listed(header: Sequence[str]) -> str:
    more = f" and {len(header) - _SHOWN_COLUMNS} more" if len(header) > _SHOWN_COLUMNS else ""
    return ", ".join(header[:_SHOWN_COLUMNS]) + more
