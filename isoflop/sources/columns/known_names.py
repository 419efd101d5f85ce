"""Which names of columns say that something is a table of runs, before anybody chooses among them."""

from collections.abc import Collection, Iterable

from isoflop.sources.columns.aliases import candidates, is_score, unit_of
from isoflop.sources.columns.header import REQUIRED

# Judging a name takes 20 microseconds; an object of runs may have a hundred thousand.
_JUDGED = 500


def known(columns: Iterable[str], wanted: Collection[str]) -> set[str]:
    """Those of the names that are looked for, or may be one of ours by another name or in another unit."""
    names = list(columns)
    return {*filter({*wanted}.__contains__, names), *filter(_may_be_ours, names[:_JUDGED])}


def _may_be_ours(column: str) -> bool:
    if any(candidates([column], ours) for ours in REQUIRED) or is_score(column):
        return True
    return any(unit_of(column, ours) for ours in ("budget_flops", "n_params", "n_tokens"))
