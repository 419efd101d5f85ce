"""Errors that a table does not have a column, with the way out."""

import shlex
from collections.abc import Sequence
from difflib import get_close_matches

from isoflop.errors import IsoflopError
from isoflop.sources.columns.aliases import (
    candidates,
    in_other_units,
    is_error,
    is_log,
    is_score,
    is_time,
    tokens_per_param,
)
from isoflop.sources.columns.column_request import ColumnRequest
from isoflop.sources.columns.expression import FORMULAS, Formula, Product, Term

_SHOWN_COLUMNS = 20
_REQUIRED = ("budget_flops", "n_params", "n_tokens", "loss")


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
    # of a mixture of experts those count that a token uses: C = 6 N D holds for them
    likely = next((column for column in may_be if "active" in column.lower()), may_be[0])
    return IsoflopError(
        f"{name!r} lacks the column {ours}, and {listed(may_be)} may each be it.",
        hint=f"Say which: --column {ours}={quoted(likely)}.",
    )


def lacks(missing: Sequence[str], name: str, header: Sequence[str]) -> IsoflopError:
    """The error that the table does not have the columns, which are needed."""
    what = "column" if len(missing) == 1 else "columns"
    return IsoflopError(
        f"{name!r} lacks the {what} {', '.join(missing)}; it has {listed(header)}.", hint=_way_out(missing, header)
    )


def _way_out(missing: Sequence[str], header: Sequence[str]) -> str:
    """Options that would give the columns: units that a name tells, a score, the only similar name, a formula."""
    scaled = {ours: text for ours in missing if (text := _product(header, ours))}
    scores = [column for column in header if is_score(column)] if "loss" in missing else []
    options = [f"--column {ours}={quoted(text)}" for ours, text in scaled.items()]
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
        f"separated by commas.{f' {formula}' if formula else ''}{_other_things(missing, header)}"
    )


def _product(header: Sequence[str], ours: str) -> str | None:
    """The product of columns and numbers that gives ours, where names tell it."""
    scaled = in_other_units(header, ours)
    return scaled.text if scaled else _from_ratio(header, ours)


def _from_ratio(header: Sequence[str], ours: str) -> str | None:
    """The product that gives the tokens where the table has their number per parameter."""
    ratios = [column for column in header if tokens_per_param(column)]
    sizes = candidates(header, "n_params")
    return f"{sizes[0]}*{ratios[0]}" if ours == "n_tokens" and len(ratios) == len(sizes) == 1 else None


def _nearest(missing: Sequence[str], header: Sequence[str]) -> tuple[str, str]:
    """The missing column that has a column of a similar name, and that; columns of other things are not offered."""
    other = {column for ours in _REQUIRED if ours not in missing for column in candidates(header, ours)}
    free = [column for column in header if column not in other and not (tokens_per_param(column) or is_log(column))]
    near = {ours: match for ours in missing for match in get_close_matches(ours, free, n=1, cutoff=0.5)}
    if "loss" in missing:
        errors = [column for column in free if is_error(column)]
        near |= {"loss": errors[0]} if errors else {}
    return next(iter(near.items()), (missing[0], "THEIRS"))


def _other_things(missing: Sequence[str], header: Sequence[str]) -> str:
    """What to do with columns that are logarithms or times."""
    logs = [column for column in header if is_log(column)]
    times = [column for column in header if is_time(column)] if "budget_flops" in missing else []
    words = f" {logs[0]!r} is named like a logarithm: give the numbers themselves." if logs else ""
    if times and not logs:
        product = quoted(f"{times[0]}*3600*4e14")
        words += (
            f" {times[0]!r} is a time: times the FLOP/s that were reached it gives FLOPs, as in --column "
            f"budget_flops={product} for hours at 4e14."
        )
    return words


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
