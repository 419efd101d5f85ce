"""Several sources as one: labels that tell them apart, and no run twice."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from isoflop.errors import IsoflopError
from isoflop.finding import Finding, Severity
from isoflop.sources.findings.mixtures import mixture_findings
from isoflop.sources.source import FitInput, Origin, load_source
from isoflop.sources.table.columns import lacks_renamed
from isoflop.store import RunCell, Standing, run_cells
from isoflop.wording import runs

_T = TypeVar("_T")

# Labels that a title names; the provenance names all.
_TITLE_LABELS = 3


def load_sources(
    sources: Sequence[str], *, db: Path, sweep: str | None, renames: Mapping[str, str] = MappingProxyType({})
) -> FitInput:
    """The rows of all `sources`, each `PATH` or `LABEL=PATH`, as one; a run that several databases have counts once.

    Raises:
        IsoflopError: a source cannot be read, is given twice or has another's label, or an option concerns none.
    """
    return _pool(_load(sources, db=db, sweep=sweep, renames=renames))


def load_each(
    sources: Sequence[str], *, db: Path, sweep: str | None, renames: Mapping[str, str] = MappingProxyType({})
) -> list[FitInput]:
    """The rows of each of `sources` by itself, all of them; arguments and errors as of `load_sources`."""
    return [_pool([part]) for part in _load(sources, db=db, sweep=sweep, renames=renames)]


def shared_run_ids(one: FitInput, other: FitInput) -> frozenset[str]:
    """The runs that both sources fit."""
    mine, theirs = ({cell.run_id for cell in _used(part)} for part in (one, other))
    return frozenset(mine & theirs)


def _load(sources: Sequence[str], *, db: Path, sweep: str | None, renames: Mapping[str, str]) -> list[FitInput]:
    named = [split_label(source) for source in sources]
    parts = [load_source(path, db=db, sweep=sweep, renames=renames, label=label) for label, path in named]
    _refuse_twice(parts)
    _refuse_idle_options(parts, sweep, renames)
    return _labelled(parts, [label is not None for label, _ in named])


def split_label(source: str) -> tuple[str | None, str]:
    """Label and path. A file of that very name wins, and what a label cannot hold (a slash) makes it a path."""
    label, _, path = source.partition("=")
    if not label.strip() or not path or "/" in label or os.sep in label or os.path.lexists(source):
        return None, source
    return label.strip(), path


def _refuse_twice(parts: Sequence[FitInput]) -> None:
    """Raises IsoflopError where a file, or a sweep of a database, is there under two names."""
    seen: dict[tuple[str, str | None], Path] = {}
    for part in parts:
        place = (os.path.realpath(part.path), part.sweep)
        if place in seen:
            what = f"The sweep {part.sweep!r} of {str(part.path)!r}" if part.sweep else repr(str(part.path))
            first = "" if seen[place] == part.path else f", first as {str(seen[place])!r}"
            raise IsoflopError(
                f"{what} is given twice{first}: its rows would count twice.", hint="Name each source once."
            )
        seen[place] = part.path


def _refuse_idle_options(parts: Sequence[FitInput], sweep: str | None, renames: Mapping[str, str]) -> None:
    """Raises IsoflopError where --sweep or --column concerns none of the sources."""
    tables = [(part.path, part.columns) for part in parts if part.columns]
    if sweep is not None and len(tables) == len(parts):
        raise IsoflopError(
            f"{str(parts[0].path)!r} is a table of runs: it has no sweep {sweep!r}.", hint="Leave out --sweep."
        )
    if renames and not tables:
        raise IsoflopError(
            f"--column names a column of a table, and {str(parts[0].path)!r} is a sweep, whose columns are known.",
            hint="Leave out --column, or give a table of runs (CSV, JSON lines or Parquet).",
        )
    for ours, theirs in renames.items():
        if not any(theirs in columns.header for _, columns in tables):
            path, columns = tables[0]
            raise lacks_renamed(ours, theirs, str(path), columns.header)


def _labelled(parts: Sequence[FitInput], chosen: Sequence[bool]) -> list[FitInput]:
    """The parts under labels that differ: a default that is not the only one of its name is joined by the path.

    Raises:
        IsoflopError: the user gave two sources one label.
    """
    numbers = Counter(part.label for part in parts)
    labels = [
        part.label if own or numbers[part.label] == 1 else f"{part.label} ({part.path})"
        for part, own in zip(parts, chosen, strict=True)
    ]
    for label, number in Counter(labels).items():
        if number > 1:
            raise IsoflopError(f"{number} sources have the label {label!r}.", hint="Give each its own: LABEL=PATH.")
    return [_renamed(part, label) for part, label in zip(parts, labels, strict=True)]


def _renamed(part: FitInput, label: str) -> FitInput:
    if part.label == label:
        return part
    return replace(part, label=label, points=tuple(point._replace(source=label) for point in part.points))


def _pool(parts: Sequence[FitInput]) -> FitInput:
    """The parts as one input with all findings; a single part keeps all that it is."""
    if len(parts) == 1:
        return replace(parts[0], findings=parts[0].findings + mixture_findings(parts))
    parts, disputed = _without_disputed_runs(parts)
    parts, shared = _without_shared_runs(parts)
    findings = chain.from_iterable(_findings_of(part) for part in parts)
    return FitInput(
        label=_title([part.label for part in parts]),
        origin=_common(part.origin for part in parts) or Origin.SEVERAL,
        path=parts[0].path,
        points=tuple(chain.from_iterable(part.points for part in parts)),
        param_count=_common(part.param_count for part in parts) or "mixed",
        simulated=any(part.simulated for part in parts),
        cells=tuple(chain.from_iterable(part.cells for part in parts)),
        corpus_fingerprint=_common(part.corpus_fingerprint for part in parts),
        findings=(*findings, *disputed, *shared, *mixture_findings(parts)),
        parts=tuple(parts),
    )


def _common(values: Iterable[_T]) -> _T | None:
    """The value that all share; None where they differ."""
    first, *others = values
    return first if all(other == first for other in others) else None


def _title(labels: Sequence[str]) -> str:
    more = len(labels) - _TITLE_LABELS
    return ", ".join(labels[:_TITLE_LABELS]) + (f" and {more} more" if more > 0 else "")


def _findings_of(part: FitInput) -> tuple[Finding, ...]:
    """The findings of one source, which among those of others must say whose they are."""
    return tuple(
        replace(finding, message=f"{part.label}: {finding.message}", values={**finding.values, "source": part.label})
        for finding in part.findings
    )


def _without_disputed_runs(parts: Sequence[FitInput]) -> tuple[list[FitInput], tuple[Finding, ...]]:
    """The parts without the runs that some other part excludes, and a finding if there are any.

    Raises:
        IsoflopError: nothing is left.
    """
    excluded = {cell.run_id for part in parts for cell in run_cells(part.cells) if cell.standing is Standing.EXCLUDED}
    disputed = {cell.run_id for part in parts for cell in _used(part)} & excluded
    if not disputed:
        return list(parts), ()
    kept = [_without(part, disputed) if part.cells else part for part in parts]
    if not any(part.points for part in kept):
        raise IsoflopError(
            "No run is left to fit: each is excluded in one of the sources.",
            hint="`isoflop include RUN` takes an exclusion back; --compare fits every source alone.",
        )
    return kept, (_disputed(sorted(disputed)),)


def _disputed(run_ids: Sequence[str]) -> Finding:
    return Finding(
        code="disputed_runs",
        severity=Severity.WARNING,
        message=f"{runs(len(run_ids))} {'is' if len(run_ids) == 1 else 'are'} excluded in one source and completed in "
        "another; left out of the fit.",
        hint="`isoflop include RUN` takes an exclusion back; `isoflop exclude RUN` in the other database makes both "
        "agree.",
        values={"n_runs": len(run_ids), "run_ids": list(run_ids)},
    )


def _without_shared_runs(parts: Sequence[FitInput]) -> tuple[list[FitInput], tuple[Finding, ...]]:
    """The parts, each without the fitted runs that one before it has, and a finding if there are any."""
    seen: set[str] = set()
    kept, shared = [], []
    for part in parts:
        again = {cell.run_id for cell in _used(part)} & seen
        seen |= {cell.run_id for cell in _used(part)}
        kept.append(_without(part, again) if again else part)
        shared += sorted(again)
    return kept, (_shared(shared),) if shared else ()


def _used(part: FitInput) -> list[RunCell]:
    """The cells of the part's points, in their order; none for tables."""
    return [cell for cell in run_cells(part.cells) if cell.used]


def _without(part: FitInput, run_ids: set[str]) -> FitInput:
    points = zip(part.points, _used(part), strict=True)
    return replace(
        part,
        points=tuple(point for point, cell in points if cell.run_id not in run_ids),
        cells=tuple(cell for cell in part.cells if cell.run_id not in run_ids),
    )


def _shared(run_ids: Sequence[str]) -> Finding:
    return Finding(
        code="shared_runs",
        severity=Severity.INFO,
        message=f"{runs(len(run_ids))} of the fit {'is' if len(run_ids) == 1 else 'are'} in more than one source and "
        "counted once, as in the first.",
        hint="Nothing needs to be done: the same run twice would not be a replicate.",
        values={"n_runs": len(run_ids), "run_ids": list(run_ids)},
    )
