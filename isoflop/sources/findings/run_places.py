"""Where the runs that a fit leaves out stand in their sources."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

from isoflop.finding import Finding
from isoflop.sources.source import Pool, Source, TableSource

# As many as a sentence about rows of a table names; the values name more.
_NAMED = 12


def with_places(finding: Finding, source: Source | Pool) -> Finding:
    """A finding of a fit on some `rows` of `source` that also says where they are: lines of a table, runs of a sweep.

    Findings on no rows, and rows whose place nobody knows, stay as they are.
    """
    rows = finding.values.get("rows")
    if not isinstance(rows, list) or not rows:
        return finding
    found = [_place(source, row) for row in rows]
    places = [place for place in found if place is not None]
    if len(places) < len(rows):
        return finding
    n_rows = finding.values.get("n_rows", len(rows))
    more = f" and {n_rows - _NAMED} more" if isinstance(n_rows, int) and n_rows > _NAMED else ""
    alone = len(source.each) == 1
    return replace(
        finding,
        message=f"{finding.message} Left out: {_sentence(places[:_NAMED], alone=alone)}{more}.",
        values={**finding.values, "places": [_named(*place, alone=alone) for place in places]},
    )


def _place(source: Source | Pool, row: int) -> tuple[str, str, str] | None:
    """Label of the source, what its rows are counted in, and where the row is; None where nobody knows."""
    found = source.rows[row]
    if found.cell is not None:
        return found.source or source.label, "run", found.cell.run_id
    for part in source.each:
        if row < len(part.rows):
            if isinstance(part, TableSource) and len(part.places) == len(part.rows):
                return part.label, part.counted_in, str(part.places[row])
            return None
        row -= len(part.rows)
    return None


def _sentence(places: Sequence[tuple[str, str, str]], *, alone: bool) -> str:
    """`lines 4, 18`; of several sources `lines 4, 18 of runs.csv; run 3f2a of sweep`."""

    def parts() -> Iterator[str]:
        for (label, noun), group in itertools.groupby(places, key=lambda place: place[:2]):
            names = [name for _, _, name in group]
            counted = noun if len(names) == 1 else f"{noun}s"
            yield f"{counted} {', '.join(names)}" + ("" if alone else f" of {label}")

    return "; ".join(parts())


def _named(label: str, noun: str, name: str, *, alone: bool) -> str:
    return f"{noun} {name}" if alone else f"{noun} {name} of {label}"
