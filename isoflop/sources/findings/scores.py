"""Findings on losses that look like scores or perplexities."""

import math
from collections.abc import Iterator, Mapping

import numpy as np

from isoflop.finding import Finding, Severity
from isoflop.sources.columns.aliases import is_score
from isoflop.sources.columns.cell_numbers import Numbers
from isoflop.sources.columns.missing_columns import quoted
from isoflop.sources.columns.run_table import RunTable

# Rank correlation of loss and compute: -0.2 to -1 on every published sweep in tests/data and on those it was tried on.
_RISING = 0.3
# Rows that a quadratic in log C and log N needs, with a few to spare.
_FEWEST = 8
_FEWEST_RANKED = 4
# ln 250,000, the largest vocabularies in use.
WORST_LOSS = 12.4
# Standard errors by which valleys must be upside down.
_CLEAR = 3.0


def score_findings(table: RunTable, numbers: Mapping[str, Numbers], *, told: bool) -> Iterator[Finding]:
    """One finding where losses rise with compute and peak in budgets, or do one of these and are named like a score.

    With `told`, --higher-is-better was given, and `numbers` has what is fitted in place of the score.
    """
    rising, column = _rank_correlation(numbers["budget_flops"], numbers["loss"]), table.columns.chosen["loss"]
    rises, concave = rising > _RISING, _is_concave(numbers)
    if len(table) < _FEWEST_RANKED or not (rises or concave):
        return
    if told:
        yield from _falling(column, rising) if rises else ()
    elif (rises and concave) or is_score(column):
        where = [*([f"rises with compute (rank correlation {rising:.2f})"] if rises else []),
                 *(["peaks inside the budgets"] if concave else [])]  # fmt: skip
        yield Finding(
            "looks_like_score",
            Severity.ERROR,
            f"{column!r} {' and '.join(where)}: is this a score where higher is better?",
            "If so, give --higher-is-better; if not, name the column of losses: --column loss=THEIRS.",
            {"column": column, "rank_correlation": rising},
        )


def _falling(column: str, rising: float) -> Iterator[Finding]:
    yield Finding(
        "looks_like_score",
        Severity.WARNING,
        f"The score {column!r} falls as compute rises (rank correlation {-rising:.2f}).",
        "Leave out --higher-is-better if the column is a loss, of which less is better.",
        {"column": column, "rank_correlation": -rising},
    )


def perplexity_findings(table: RunTable, losses: Numbers) -> Iterator[Finding]:
    """One finding where most losses, in a unit that nobody named, are worse than guesses."""
    middle, theirs = float(np.median(losses)), table.columns.chosen["loss"]
    if middle > WORST_LOSS:
        yield Finding(
            "looks_like_perplexity",
            Severity.WARNING,
            f"The middle loss is {middle:.3g}; in nats per token that is worse than a guess among "
            f"{math.exp(WORST_LOSS):,.0f} tokens. Is {theirs!r} a perplexity?",
            "Give --loss-unit perplexity if so: its logarithm is fitted. Of a sum over 2048 tokens, say, give --column "
            f"loss={quoted(f'{theirs}/2048')}. Else --loss-unit says what it is.",
            {"middle": middle},
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
    of_compute = [x, x * x, x * y] if np.ptp(x) else []
    design = np.column_stack([np.ones_like(x), *of_compute, y, y * y])
    solution, _, rank, _ = np.linalg.lstsq(design, numbers["loss"], rcond=1e-9)
    if rank < design.shape[1]:
        return False
    rest = numbers["loss"] - design @ solution
    variance = float(rest @ rest) / (len(x) - rank) if len(x) > rank else 0.0
    error = float(np.sqrt(variance * np.linalg.inv(design.T @ design)[-1, -1]))
    return bool(solution[-1] < -_CLEAR * error)
