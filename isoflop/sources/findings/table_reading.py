"""Findings on how a table was read, and which of its rows and columns."""

from collections import Counter
from collections.abc import Mapping, Sequence

from isoflop.errors import IsoflopError
from isoflop.finding import Finding, Severity
from isoflop.sources.columns.aliases import in_other_units
from isoflop.sources.columns.conditions import Condition
from isoflop.sources.columns.expression import Formula
from isoflop.sources.columns.header import TableColumns
from isoflop.sources.columns.loss_scale import LossScale
from isoflop.sources.columns.missing_columns import quoted
from isoflop.sources.columns.results import Missing
from isoflop.sources.raw_table import RawTable

# Of a table that misses more of its rows, what remains may not be what was planned.
_LARGE_SHARE = 0.2
_LISTED = 200

_NOMINAL = {
    Formula.BUDGET: "Budgets are then as near to each other as sizes and tokens are.",
    Formula.TOKENS: "N_opt and a do not depend on it; D_opt is C / (6 N_opt).",
    Formula.PARAMS: "N is then nominal: D_opt and b do not depend on it, N_opt is C / (6 D_opt) and no count of "
    "parameters.",
}


class NoResultError(IsoflopError):
    """No row of a table is the result of a run."""


def reading_findings(notes: Sequence[str]) -> tuple[Finding, ...]:
    """One finding with all the `notes` of a table, each of them a sentence; none without any."""
    if not notes:
        return ()
    return (
        Finding(
            code="table_read_as",
            severity=Severity.INFO,
            message=" ".join(notes),
            hint="Nothing needs to be done if that is right; otherwise save the table as CSV in UTF-8, with decimal "
            "points and its columns named in the first line.",
            values={"notes": list(notes)},
        ),
    )


def column_findings(columns: TableColumns, scale: LossScale) -> tuple[Finding, ...]:
    """Which columns were found by another name, which are computed, and what the losses are."""
    found = (_matched(columns), _computed(columns), _unread_repeats(columns), _scale(columns, scale))
    return tuple(finding for finding in found if finding is not None)


def _matched(columns: TableColumns) -> Finding | None:
    if not columns.matched:
        return None
    names = {ours: columns.chosen[ours] for ours in columns.matched}
    return Finding(
        "columns_matched",
        Severity.INFO,
        f"Read by their names: {', '.join(f'{ours} from {theirs!r}' for ours, theirs in names.items())}.",
        "Give --column NAME=THEIRS where another column is meant.",
        {"columns": names},
    )


def _computed(columns: TableColumns) -> Finding | None:
    if not columns.computed:
        return None
    [(ours, formula)] = columns.computed.items()
    return Finding(
        "derived_column",
        Severity.INFO,
        f"{ours} = {formula.words}, computed, not read. {_NOMINAL[formula]}",
        "Give the column itself where it is known.",
        {"column": ours, "formula": formula.value},
    )


def _unread_repeats(columns: TableColumns) -> Finding | None:
    """That a column of unique tokens in a unit of its own is not read, where nothing else says what was repeated."""
    scaled = None if {"unique_tokens", "epochs"} & {*columns.terms} else in_other_units(columns.header, "unique_tokens")
    if scaled is None or scaled.column in columns.read:
        return None
    return Finding(
        "unread_repeats",
        Severity.WARNING,
        f"{scaled.column!r} looks like the unique tokens of a run in another unit, and is not read: runs that repeat "
        "their tokens are fitted as if all were fresh.",
        f"Give --column unique_tokens={quoted(scaled.text)}.",
        {"column": scaled.column},
    )


def _scale(columns: TableColumns, scale: LossScale) -> Finding | None:
    """What is fitted where that is not the column itself, or where its name alone tells that it is not in nats."""
    if scale.formula is not None:
        what = f"The loss that is fitted is {scale.formula}{f', {scale.unit}' if scale.unit else ''}."
    elif scale.short_unit is not None:
        what = f"The losses {columns.chosen['loss']!r} are in {scale.short_unit}, and fitted as they are."
    else:
        return None
    return Finding(
        "loss_scale",
        Severity.INFO,
        what,
        "Give --loss-unit or --higher-is-better where the column is something else.",
        {"formula": scale.formula, "unit": scale.unit},
    )


def rows_selected(conditions: Sequence[Condition], n_rows: int, n_all: int) -> tuple[Finding, ...]:
    """How many rows --where left."""
    asked = " and ".join(map(str, conditions))
    return (
        Finding(
            "rows_selected",
            Severity.INFO,
            f"{n_rows} of {n_all} rows have {asked}; the others are not read.",
            "Leave out --where to read all rows.",
            {"n_rows": n_rows, "n_all": n_all, "where": [str(condition) for condition in conditions]},
        ),
    )


def missing_rows(raw: RawTable, missing: Mapping[int, Missing]) -> tuple[Finding, ...]:
    """Which rows are no results, and why: a warning where runs diverged, or where these rows are many."""
    kinds = Counter(missing.values())
    many = len(missing) > _LARGE_SHARE * len(raw.places)
    rows, places = sorted(missing), raw.places
    return (
        Finding(
            "rows_without_result",
            Severity.WARNING if many or kinds[Missing.DIVERGED] or kinds[Missing.ZERO] else Severity.INFO,
            f"{len(missing)} {'row' if len(missing) == 1 else 'rows'} without a result left out: {raw.places_of(rows)} "
            f"({_kinds(kinds)}).",
            "Nothing needs to be done for runs that did not finish; where a corner of the grid is missing, train it "
            "again.",
            {
                "n_rows": len(missing),
                "n_all": len(places),
                "lines": [int(places[row]) for row in rows[:_LISTED]],
                **{f"n_{kind.name.lower()}": number for kind, number in kinds.items()},
            },
        ),
    )


def groups_left_out(names: Sequence[str]) -> tuple[Finding, ...]:
    """Which groups have no row that is a result."""
    return (
        Finding(
            "rows_without_result",
            Severity.WARNING,
            f"Groups without any result are not fitted: {', '.join(names)}.",
            "Nothing needs to be done for runs that did not finish.",
            {"groups": list(names)},
        ),
    )


def none_left(raw: RawTable, missing: Mapping[int, Missing]) -> NoResultError:
    """The error that no row of the table is a result."""
    return NoResultError(
        f"No row of {raw.name!r} is the result of a run: {_kinds(Counter(missing.values()))} "
        f"({raw.places_of(sorted(missing))}).",
        hint="Give finite losses, one per completed run; --column loss=THEIRS names another column of losses.",
    )


def _kinds(kinds: Mapping[Missing, int]) -> str:
    return ", ".join(f"{kinds[kind]} {kind}" for kind in Missing if kinds.get(kind))
