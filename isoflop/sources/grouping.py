"""Tables whose FLOPs were measured: runs that share a budget but for some per cent are put at it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from isoflop.errors import IsoflopError
from isoflop.finding import Finding, Severity
from isoflop.sources.source import Pool, Row, Source, TableSource
from isoflop.units import format_flops
from isoflop.wording import runs

if TYPE_CHECKING:
    from isoflop.fit.budgets import BudgetGroups

# A loss cannot be followed along its slope farther than this from where it was measured.
_FARTHEST = 0.5
# FLOPs that differ by less, relative, were meant to be equal.
_LAST_DIGITS = 1e-6
_NAMED, _LISTED = 6, 50


@dataclass(frozen=True)
class Grouping:
    """How runs of tables share budgets; by default where groups are clear, see `fit.budgets.group_budgets`.

    Attributes:
        tolerance: largest relative step between neighbours of one budget; 0: exactly equal values alone.
        budgets: those that runs are to belong to, FLOPs.
    """

    tolerance: float | None = None
    budgets: tuple[float, ...] = ()

    @property
    def asked(self) -> bool:
        """Whether a user chose anything."""
        return self.tolerance is not None or bool(self.budgets)


def grouped(source: Source | Pool, grouping: Grouping) -> Source | Pool:
    """`source` with the runs of its tables at the budgets that they share, and a finding; sweeps stay as planned.

    Raises:
        IsoflopError: a grouping is asked for where there is no table, or would put a run more than half off its budget.
    """
    from isoflop.fit.budgets import group_budgets  # loads scipy, which reading a source does without

    if not any(isinstance(part, TableSource) for part in source.each):
        if grouping.asked:
            raise IsoflopError(
                "--budget-tolerance and --budgets group the runs of a table, and there is none: a sweep's runs belong "
                "to the budgets they were planned at.",
                hint="Leave them out.",
            )
        return source
    rows = source.rows
    if not grouping.asked and _is_crossed(rows):
        return source
    found = group_budgets(
        [row.budget_flops for row in rows],
        [row.n_params for row in rows],
        [row.n_tokens for row in rows],
        [row.loss for row in rows],
        tolerance=grouping.tolerance,
        named=grouping.budgets,
        planned=[row.cell is not None for row in rows],
    )
    if found is None:
        return _with_rows(source, rows, _off_named(rows, grouping))
    _refuse_far(rows, found)
    at_budgets = [_at_budget(row, *place) for row, *place in zip(rows, *_columns(found), strict=True)]
    return _with_rows(source, at_budgets, (_finding(rows, found, grouping), *_off_named(at_budgets, grouping)))


def _off_named(rows: Sequence[Row], grouping: Grouping) -> tuple[Finding, ...]:
    """A finding where runs belong to none of the budgets that were named, and so keep their own."""
    off = sorted({row.budget_flops for row in rows} - set(grouping.budgets)) if grouping.budgets else []
    if not off:
        return ()
    n_runs = sum(row.budget_flops in off for row in rows)
    return (
        Finding(
            code="runs_off_budgets",
            severity=Severity.WARNING,
            message=f"{runs(n_runs)} of {len(rows)} {'is' if n_runs == 1 else 'are'} near none of the budgets given "
            f"with --budgets and {'keeps its' if n_runs == 1 else 'keep their'} own, from {format_flops(off[0])} to "
            f"{format_flops(off[-1])} FLOPs; the fit has them.",
            hint="Name their budgets too, give a wider --budget-tolerance, or leave these rows out of the table.",
            values={"n_runs": n_runs, "smallest": off[0], "largest": off[-1]},
        ),
    )


def _is_crossed(rows: Sequence[Row]) -> bool:
    """Whether the runs are a grid whose diagonals only look like budgets."""
    from isoflop.fit.estimators.cells import is_crossed
    from isoflop.fit.rows import sort_rows

    columns = np.array([row[:4] for row in rows], dtype=np.float64).T
    return is_crossed(sort_rows(*columns))


def _columns(found: "BudgetGroups") -> tuple[list[float], ...]:
    return found.budget_flops.tolist(), found.n_tokens.tolist(), found.loss.tolist(), found.moved.tolist()


def _at_budget(row: Row, budget_flops: float, n_tokens: float, loss: float, moved: float) -> Row:
    if not moved:
        return row
    as_read = (row.budget_flops, row.n_tokens, row.loss)
    return row._replace(budget_flops=budget_flops, n_tokens=n_tokens, loss=loss, as_read=as_read)


def _with_rows(source: Source | Pool, rows: Sequence[Row], made: Sequence[Finding]) -> Source | Pool:
    """`source` with other rows of the same number, its parts included, and further findings."""
    if not made:
        return source
    findings = (*source.findings, *made)
    if not isinstance(source, Pool):
        return replace(source, rows=tuple(rows), findings=findings)
    left = iter(rows)
    parts = tuple(replace(part, rows=tuple(islice(left, len(part.rows)))) for part in source.parts)
    return replace(source, rows=tuple(rows), findings=findings, parts=parts)


def _refuse_far(rows: Sequence[Row], found: "BudgetGroups") -> None:
    for row, budget in zip(rows, found.budget_flops.tolist(), strict=True):
        if abs(math.log(row.budget_flops / budget)) > math.log1p(_FARTHEST):
            raise IsoflopError(
                f"One budget of {format_flops(budget)} FLOPs would hold a run of {format_flops(row.budget_flops)}: "
                "a loss cannot be carried so far.",
                hint="Give a smaller --budget-tolerance, or name the budgets with --budgets.",
            )


def _finding(rows: Sequence[Row], found: "BudgetGroups", grouping: Grouping) -> Finding:
    n_moved, budgets = int(found.moved.sum()), sorted(set(found.budget_flops[found.moved].tolist()))
    placed = list(zip(rows, found.budget_flops.tolist(), found.loss.tolist(), strict=True))
    off = max(abs(row.budget_flops / at - 1) for row, at, _ in placed)
    change = max(abs(row.loss - loss) for row, _, loss in placed)
    n_values = len({row.budget_flops for row, at, _ in placed if at in budgets})
    distance = "differ from it in their last digits" if off < _LAST_DIGITS else f"lie up to {_per_cent(off)} off it"
    how = (
        f", and their losses were carried to it along the surface's slope, by up to {change:.2g}"
        if found.loss_moved
        else ", and their losses are as they were measured, for no surface can be fitted to them"
    )
    told = "" if off < _LAST_DIGITS else how
    return Finding(
        code="grouped_budgets",
        severity=Severity.INFO,
        message=f"{n_values} values of budget_flops were taken as {_named(budgets)}: {n_moved} of "
        f"{runs(len(rows))} {distance}{told}.",
        hint="`--budget-tolerance 0` fits only runs of exactly equal FLOPs as one budget; `--budgets C1,C2,...` names "
        "the budgets.",
        values={
            "budgets": budgets[:_LISTED],
            "n_budgets": len(budgets),
            "n_values": n_values,
            "n_moved": n_moved,
            "largest_distance": off,
            "largest_loss_change": change,
            "chosen": "named" if grouping.budgets else "automatic" if grouping.tolerance is None else "tolerance",
        },
    )


def _named(budgets: Sequence[float]) -> str:
    names = ", ".join(format_flops(budget) for budget in budgets[:_NAMED])
    more = f" and {len(budgets) - _NAMED} more" if len(budgets) > _NAMED else ""
    return f"{len(budgets)} budget{'s' if len(budgets) > 1 else ''} of {names}{more} FLOPs"


def _per_cent(share: float) -> str:
    return f"{100 * share:.2g} %"
