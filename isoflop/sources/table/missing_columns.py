"""Errors that a table does not have a column, with the way out."""

import shlex
from collections.abc import Sequence
from difflib import get_close_matches

from isoflop.errors import IsoflopError
from isoflop.sources.table.aliases import in_other_units, is_score
from isoflop.sources.table.column_request import ColumnRequest
from isoflop.sources.table.expression import FORMULAS, Formula, Product, Term

_SHOWN_COLUMNS = 20


def lacks_renamed(request: ColumnRequest, piece: Term | str, name: str, header: Sequence[str]) -> IsoflopError:
    """The error that the table `name` does not have the column that --column names, or that `piece` of the product."""
    if isinstance(piece, Formula | Product):
        raise ValueError(f"{request} can be met")
    near = get_close_matches(piece, header, n=1)
    meant = f"Did you mean --column {request.name}={request.theirs.replace(piece, near[0])}? " if near else ""
    return IsoflopError(
        f"{name!r} lacks the column {piece!r}, which --column gives for {request.ours}.",
        hint=f"{meant}It has {listed(header)}.",
    )


def ambiguous(ours: str, may_be: Sequence[str], name: str) -> IsoflopError:
    """The error that several columns of the table may be the one that is needed."""
    return IsoflopError(
        f"{name!r} lacks the column {ours}, and {listed(may_be)} may each be it.",
        hint=f"Say which: --column {ours}={quoted(may_be[0])}.",
    )


def lacks(missing: Sequence[str], name: str, header: Sequence[str]) -> IsoflopError:
    """The error that the table does not have the columns, which are needed."""
    what = "column" if len(missing) == 1 else "columns"
    return IsoflopError(
        f"{name!r} lacks the {what} {', '.join(missing)}; it has {listed(header)}.", hint=_way_out(missing, header)
    )


def _way_out(missing: Sequence[str], header: Sequence[str]) -> str:
    """Options that would give the columns: units that a name tells, a score, the only similar name, a formula."""
    scaled = {ours: found for ours in missing if (found := in_other_units(header, ours))}
    scores = [column for column in header if is_score(column)] if "loss" in missing else []
    options = [f"--column {ours}={quoted(found.text)}" for ours, found in scaled.items()]
    if len(scores) == 1:
        options.append(f"--column loss={quoted(scores[0])} --higher-is-better")
    unknown = [ours for ours in missing if ours not in scaled and not (ours == "loss" and scores)]
    formula = _computed(unknown, [ours for ours in missing if ours not in scaled])
    if scaled or len(scores) == 1:
        more = " ".join([*options, *([f"--column {unknown[0]}={FORMULAS[unknown[0]]}"] if formula else [])])
        units = "Columns in other units, and scores of which more is better, are read when told:"
        rest = f" It says nothing like {', '.join(unknown)}." if unknown and not formula else ""
        return f"{units} {more}.{rest}{f' {formula}' if formula else ''}"
    ours, theirs = _nearest(missing, header)
    return (
        f"Give the file's own name, as in --column {ours}={theirs}; a CSV file names its columns in the first line, "
        f"separated by commas.{f' {formula}' if formula else ''}"
    )


def _nearest(missing: Sequence[str], header: Sequence[str]) -> tuple[str, str]:
    near = {ours: match for ours in missing for match in get_close_matches(ours, header, n=1, cutoff=0.5)}
    return next(iter(near.items()), (missing[0], "THEIRS"))


def _computed(unknown: Sequence[str], missing: Sequence[str]) -> str:
    """What C = 6 N D would give where only one of the three columns cannot be had."""
    if len(unknown) != 1 or unknown[0] not in FORMULAS or len([ours for ours in FORMULAS if ours in missing]) != 1:
        return ""
    ours = unknown[0]
    option = f"--column {ours}={FORMULAS[ours]}"
    return {
        "n_tokens": "n_tokens is the number of training tokens; FLOPs / (6 x parameters) would only be a guess, which "
        f"{option} makes, labelled as such: N_opt does not depend on it.",
        "budget_flops": f"{option} computes 6 N D for every run, labelled as such.",
        "n_params": f"{option} computes FLOPs / (6 x tokens), labelled as such: D_opt and b do not depend on it.",
    }[ours]


def quoted(column: str) -> str:
    """The column as a shell takes it."""
    return shlex.quote(column)


def listed(header: Sequence[str]) -> str:
    """The first columns of a header, and how many more there are."""
    more = f" and {len(header) - _SHOWN_COLUMNS} more" if len(header) > _SHOWN_COLUMNS else ""
    return ", ".join(header[:_SHOWN_COLUMNS]) + more
