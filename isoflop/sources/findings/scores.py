"""Findings on losses that look like scores."""

from collections.abc import Iterator, Mapping

import numpy as np

from isoflop.finding import Finding, Severity
from isoflop.sources.table.aliases import is_score
from isoflop.sources.table.cells import Numbers
from isoflop.sources.table.missing_columns import quoted
from isoflop.sources.table.run_table import RunTable

# Rank correlation of loss and compute: -0.2 to -1 on every published sweep in tests/data and on those it was tried on.
_RISING = 0.3
# Rows that a quadratic in log C and log N needs, with a few to spare.
_FEWEST = 8
# Standard errors by which valleys must be upside down.
_CLEAR = 3.0


def score_findings(table: RunTable, numbers: Mapping[str, Numbers], *, told: bool) -> Iterator[Finding]:
    """One finding where the losses rise with compute, and are named like a score or peak inside each budget.

    With `told`, --higher-is-better was given, and `numbers` has what is fitted in place of the score.
    """
    rising, column = _rank_correlation(numbers["budget_flops"], numbers["loss"]), table.columns.chosen["loss"]
    named = is_score(column)
    if rising <= _RISING or len(table) < 4:
        return
    if told:
        yield Finding(
            "looks_like_score",
            Severity.WARNING,
            f"The score {column!r} falls as compute rises (rank correlation {-rising:.2f}).",
            "Leave out --higher-is-better if the column is a loss, of which less is better.",
            {"column": column, "rank_correlation": -rising},
        )
        return
    concave = _is_concave(numbers)
    if named or concave:
        how = " and peaks inside the budgets" if concave else ""
        yield Finding(
            "looks_like_score",
            Severity.ERROR,
            f"{column!r} rises with compute (rank correlation {rising:.2f}){how}: is this a score where higher is "
            "better?",
            f"If so, give --higher-is-better; if not, name the column of losses: --column loss={quoted('THEIRS')}.",
            {"column": column, "rank_correlation": rising},
        )


def _rank_correlation(first: Numbers, second: Numbers) -> float:
    """Spearman's, with the mean rank for equal values; 0 where either does not vary."""
    one, other = _ranks(first), _ranks(second)
    if not np.ptp(one) * np.ptp(other):
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def _ranks(values: Numbers) -> Numbers:
    _, where, numbers = np.unique(values, return_inverse=True, return_counts=True)
    middle: Numbers = np.cumsum(numbers) - (numbers - 1) / 2
    found: Numbers = middle[where]
    return found


def _is_concave(numbers: Mapping[str, Numbers]) -> bool:
    """Whether the quadratic of log C and log N through the losses bends down along log N, clearly."""
    if len(numbers["loss"]) < _FEWEST:
        return False
    log_c, log_n = (np.log(numbers[name]) for name in ("budget_flops", "n_params"))
    x, y = log_c - log_c.mean(), log_n - log_n.mean()
    design = np.column_stack([np.ones_like(x), x, y, x * x, x * y, y * y])
    solution, _, rank, _ = np.linalg.lstsq(design, numbers["loss"], rcond=1e-9)
    if rank < design.shape[1]:
        return False
    rest = numbers["loss"] - design @ solution
    variance = float(rest @ rest) / (len(x) - rank) if len(x) > rank else 0.0
    error = float(np.sqrt(variance * np.linalg.inv(design.T @ design)[5, 5]))
    return bool(solution[5] < -_CLEAR * error)
