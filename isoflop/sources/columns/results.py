"""Which rows of a table are results: those of runs that finished with a loss."""

import math
from collections.abc import Sequence
from enum import StrEnum

import numpy as np

from isoflop.sources.columns.aliases import last_name
from isoflop.sources.columns.cell_numbers import Numbers, number, numbers_of
from isoflop.sources.raw_table import RawTable

# Losses of published tables are at least a third of their median.
_FAR_ABOVE = 0.25
_STATE_COLUMNS = ("state", "status", "run_state", "run_status")
_FINISHED = ("finished", "finish", "completed", "complete", "success", "succeeded", "successful", "done", "ok")
_UNFINISHED = (
    "crashed", "crash", "failed", "failure", "fail", "running", "killed", "preempted", "preempting", "pending",
    "queued", "waiting", "canceled", "cancelled", "aborted", "stopped", "interrupted", "error", "oom", "timeout",
    "timed_out", "diverged", "skipped", "deleted",
)  # fmt: skip
_TRUE, _FALSE = ("true", "1", "1.0", "yes"), ("false", "0", "0.0", "no")
# Columns of flags, and which value of each says that there is no result.
_FLAGS = {
    **dict.fromkeys(("diverged", "is_diverged", "crashed", "failed"), _TRUE),
    **dict.fromkeys(("finished", "completed", "is_finished", "succeeded"), _FALSE),
}
_NOTHING = frozenset({"", "nan", "none", "null", "n/a", "na", "#n/a", "<na>", "-", "--", "?", "missing", "undefined"})


class Missing(StrEnum):
    """Why a row is no result."""

    LOSS = "without a loss"
    DIVERGED = "diverged"
    STATE = "not finished"
    ZERO = "with a loss of 0"


def is_missing(value: object) -> bool:
    """Whether an optional cell says nothing: it is empty, null or NaN."""
    if isinstance(value, str):
        return value.strip().lower() in ("", "nan")
    return value is None or (isinstance(value, float) and math.isnan(value))


def missing_results(raw: RawTable, loss: Sequence[object], read: Sequence[str]) -> dict[int, Missing]:
    """Why rows are no results, by their index. `read` are the columns that are read as something else.

    A loss that is a number counts only of a run that finished, where a column tells the states of runs.
    """
    numbers = numbers_of(loss)
    found = _placeholders(numbers) | _unfinished(raw, read) | _flagged(raw, read)
    for row in np.flatnonzero(~np.isfinite(numbers)).tolist():
        why = _of_loss(loss[row])
        if why is not None:
            found[row] = why
    return found


def _placeholders(losses: Numbers) -> dict[int, Missing]:
    """The rows whose loss is exactly 0 where all others lie together and far above: nothing was measured there."""
    others = np.sort(losses[np.isfinite(losses) & (losses != 0)])
    # the middle one, not numpy's median: the mean of two may leave the range of a float
    if not len(others) or others[0] < _FAR_ABOVE * others[len(others) // 2] or others[0] < 0:
        return {}
    return dict.fromkeys(np.flatnonzero(losses == 0).tolist(), Missing.ZERO)


def _of_loss(value: object) -> Missing | None:
    if type(value) is float:
        return Missing.LOSS if math.isnan(value) else Missing.DIVERGED if math.isinf(value) else None
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _NOTHING:
            return Missing.LOSS
        if word in _UNFINISHED:
            return _of_state(word)
    if value is None:
        return Missing.LOSS
    return Missing.DIVERGED if math.isinf(number(value)) and not _has_digits_only(value) else None


def _has_digits_only(value: object) -> bool:
    """Whether it is a whole number beyond every float, which no diverged run logs."""
    return isinstance(value, int) or (isinstance(value, str) and value.strip().isdigit())


def _unfinished(raw: RawTable, read: Sequence[str]) -> dict[int, Missing]:
    """The rows whose state is known and is another than that of a finished run."""
    for column in raw.header:
        if last_name(column) in _STATE_COLUMNS and column not in read and raw.header.count(column) == 1:
            words = [value.strip().lower() if isinstance(value, str) else None for value in raw.column(column)]
            told = [word for word in words if word]
            known = sum(word in _FINISHED or word in _UNFINISHED for word in told)
            if told and 2 * known > len(told):
                return {row: _of_state(word) for row, word in enumerate(words) if word and word not in _FINISHED}
    return {}


def _of_state(word: str) -> Missing:
    return Missing.DIVERGED if word == "diverged" else Missing.STATE


def _flagged(raw: RawTable, read: Sequence[str]) -> dict[int, Missing]:
    """The rows that a column of flags marks as those of a run that did not finish."""
    found: dict[int, Missing] = {}
    for column in raw.header:
        bad = _FLAGS.get(last_name(column))
        if bad is not None and column not in read and raw.header.count(column) == 1:
            words = [str(value).strip().lower() for value in raw.column(column)]
            if all(word in _TRUE or word in _FALSE or word in _NOTHING for word in words):
                why = Missing.DIVERGED if last_name(column).endswith("diverged") else Missing.STATE
                found |= {row: why for row, word in enumerate(words) if word in bad}
    return found


def kept_rows(n_rows: int, missing: dict[int, Missing]) -> list[int]:
    """The other rows, in order."""
    keep = np.ones(n_rows, dtype=bool)
    keep[list(missing)] = False
    rows: list[int] = np.flatnonzero(keep).tolist()
    return rows
