"""What --column asks for, before any table is read."""

from collections.abc import Sequence
from dataclasses import dataclass

from isoflop.errors import IsoflopError

_EXAMPLE = "Write --column n_params=N for a file that calls its parameters N."


@dataclass(frozen=True)
class ColumnRequest:
    """One `--column NAME=THEIRS` or `--column LABEL:NAME=THEIRS`.

    Attributes:
        ours: our name of the column.
        theirs: a column of the table, a product of columns and numbers, or a formula.
        label: of the only source that it is for; None for all.
    """

    ours: str
    theirs: str
    label: str | None = None

    @property
    def name(self) -> str:
        """What stands before the sign: `NAME` or `LABEL:NAME`."""
        return self.ours if self.label is None else f"{self.label}:{self.ours}"


def parse_columns(given: Sequence[str], known: Sequence[str]) -> tuple[ColumnRequest, ...]:
    """The requests in texts like `n_params=N`, in order; `known` are our names of columns.

    Raises:
        IsoflopError: no such text, or no column of ours.
    """
    return tuple(_parse(text, known) for text in given)


def _parse(text: str, known: Sequence[str]) -> ColumnRequest:
    name, equals, theirs = (part.strip() for part in text.partition("="))
    if not (equals and theirs):
        raise IsoflopError(f"--column {text!r} does not have the form NAME=THEIRS.", hint=_EXAMPLE)
    label, colon, ours = (part.strip() for part in name.rpartition(":"))
    if ours not in known:
        names = f"NAME is one of {', '.join(known)}; THEIRS is the file's own name of that column."
        raise IsoflopError(f"--column {text!r}: isoflop reads no column {ours!r}.", hint=names)
    return ColumnRequest(ours, theirs, label if colon else None)
