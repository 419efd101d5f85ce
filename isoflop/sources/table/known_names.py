"""Which names of columns say that something is a table of runs, before anybody chooses among them."""

from collections.abc import Collection, Iterable


def known(columns: Iterable[str], wanted: Collection[str]) -> set[str]:
    """Those of the names that are looked for."""
    return {column for column in columns if column in wanted}
