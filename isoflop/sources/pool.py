"""Several sources as one: no run twice, and none that a source excludes."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from isoflop.errors import IsoflopError
from isoflop.finding import Finding, Severity
from isoflop.sources.findings.mixtures import mixture_findings
from isoflop.sources.source import Pool, Source, common
from isoflop.store import Standing, run_cells
from isoflop.wording import runs

# Labels that a title names; the provenance names all.
_TITLE_LABELS = 3


def pool(parts: Sequence[Source]) -> Pool:
    """The parts as one, with all findings.

    Raises:
        IsoflopError: every run is excluded in some part.
    """
    parts, disputed = _without_disputed_runs(parts)
    parts, shared = _without_shared_runs(parts)
    findings = chain.from_iterable(_findings_of(part) for part in parts)
    return Pool(
        label=_title([part.label for part in parts]),
        path=parts[0].path,
        rows=tuple(chain.from_iterable(part.rows for part in parts)),
        param_count=common(part.param_count for part in parts) or "mixed",
        simulated=any(part.simulated for part in parts),
        cells=tuple(chain.from_iterable(part.cells for part in parts)),
        findings=(*findings, *disputed, *shared, *mixture_findings(parts)),
        parts=tuple(parts),
    )


def shared_run_ids(one: Source | Pool, other: Source | Pool) -> frozenset[str]:
    """The runs that both sources fit."""
    return frozenset(_run_ids(one) & _run_ids(other))


def _run_ids(source: Source | Pool) -> set[str]:
    """The runs that are fitted; none of tables."""
    return {row.cell.run_id for row in source.rows if row.cell}


def _title(labels: Sequence[str]) -> str:
    more = len(labels) - _TITLE_LABELS
    return ", ".join(labels[:_TITLE_LABELS]) + (f" and {more} more" if more > 0 else "")


def _findings_of(part: Source) -> tuple[Finding, ...]:
    """The findings of one source, which among those of others must say whose they are."""
    return tuple(
        replace(finding, message=f"{part.label}: {finding.message}", values={**finding.values, "source": part.label})
        for finding in part.findings
    )


def _without_disputed_runs(parts: Sequence[Source]) -> tuple[list[Source], tuple[Finding, ...]]:
    """The parts without the runs that some other part excludes, and a finding if there are any.

    Raises:
        IsoflopError: nothing is left.
    """
    excluded = {cell.run_id for part in parts for cell in run_cells(part.cells) if cell.standing is Standing.EXCLUDED}
    disputed = set[str]().union(*map(_run_ids, parts)) & excluded
    if not disputed:
        return list(parts), ()
    kept = [_without(part, disputed) for part in parts]
    if not any(part.rows for part in kept):
        raise IsoflopError(
            "No run remains to be fitted: each is excluded in one of the sources.",
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


def _without_shared_runs(parts: Sequence[Source]) -> tuple[list[Source], tuple[Finding, ...]]:
    """The parts, each without the fitted runs that one before it has, and a finding if there are any."""
    seen: set[str] = set()
    kept, shared = [], []
    for part in parts:
        again = _run_ids(part) & seen
        seen |= _run_ids(part)
        kept.append(_without(part, again))
        shared += sorted(again)
    return kept, (_shared(shared),) if shared else ()


def _without(part: Source, run_ids: set[str]) -> Source:
    return replace(
        part,
        rows=tuple(row for row in part.rows if row.cell is None or row.cell.run_id not in run_ids),
        cells=tuple(cell for cell in part.cells if cell.run_id not in run_ids),
    )


def _shared(run_ids: Sequence[str]) -> Finding:
    return Finding(
        code="shared_runs",
        severity=Severity.INFO,
        message=f"{runs(len(run_ids))} of the fit {'is' if len(run_ids) == 1 else 'are'} in more than one source and "
        "counted once, as in the first of them.",
        hint="Nothing needs to be done: the same run is not a replicate of itself.",
        values={"n_runs": len(run_ids), "run_ids": list(run_ids)},
    )
