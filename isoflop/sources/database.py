"""A sweep as a source: its completed runs in a database."""

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from isoflop.counting import Convention
from isoflop.errors import IsoflopError
from isoflop.finding import Finding
from isoflop.plan.file_findings import file_findings
from isoflop.shape import LadderModel, ParamCount
from isoflop.sources.findings.omissions import omission_findings
from isoflop.sources.source import Row, SweepSource
from isoflop.spec import load_spec
from isoflop.store import CompletedResult, RunCell, Standing, Store, SweepCell, read_snapshot, run_cells

# Curves of more runs would keep a reader waiting, and say no more.
MOST_CURVES = 1000


def from_sweep_file(file: Path, db: Path, sweep: str | None, label: str | None) -> SweepSource:
    """The runs in `db` of the sweep in `file`; `sweep` is the name that the user expects it to have, if any.

    Raises:
        IsoflopError: another name, not planned yet, or nothing completed.
    """
    spec = load_spec(file)
    if sweep not in (None, spec.name):
        raise IsoflopError(
            f"{str(file)!r} is the file of the sweep {spec.name!r}, not of {sweep!r}.",
            hint=f"Leave out --sweep, or give the database {str(db)!r} as the source.",
        )

    def read(store: Store) -> SweepSource:
        if spec.name not in store.sweep_names():
            raise IsoflopError(
                f"The sweep {spec.name!r} is not planned yet: the database {str(db)!r} does not have it.",
                hint=f"`isoflop run {shlex.quote(str(file))}` plans and trains it; --db names another database.",
            )
        findings = file_findings(store.sweep_spec(spec.name), spec, file)
        return replace(_read_sweep(store, spec.name, db, findings, label), file=file)

    return read_snapshot(db, read)


def from_database(path: Path, sweep: str | None, label: str | None) -> SweepSource:
    """The runs of `sweep`, or of the only one there is, in the database at `path`.

    Raises:
        IsoflopError: no such sweep, several to choose from, or nothing completed.
    """
    return read_snapshot(path, lambda store: _read_sweep(store, sweep or _only_sweep(store, path), path, (), label))


def _only_sweep(store: Store, path: Path) -> str:
    names = store.sweep_names()
    if not names:
        raise IsoflopError(f"The database {str(path)!r} has no sweep.", hint="`isoflop plan SWEEP` adds one.")
    if len(names) > 1:
        raise IsoflopError(
            f"The database {str(path)!r} has {len(names)} sweeps: {', '.join(names)}.",
            hint=f"Choose one with --sweep {names[0]}.",
        )
    return names[0]


def _read_sweep(store: Store, name: str, path: Path, findings: tuple[Finding, ...], label: str | None) -> SweepSource:
    spec, cells = store.planned_sweep(name)
    used = [(cell, cell.used) for cell in run_cells(cells) if cell.used]
    if not used:
        raise _nothing_to_fit(name, cells)
    run = store.run_spec(used[0][0].run_id)
    # Of a ladder that gives N alone, what it counts is its author's word.
    counted = all(not isinstance(cell.shape, LadderModel) or cell.shape.is_grouped for cell, _ in used)
    param_count: Convention = spec.fit.params if counted else "as_given"
    return SweepSource(
        label=label or name,
        path=path,
        rows=tuple(_row(cell, result, spec.fit.params, label or name) for cell, result in used),
        param_count=param_count,
        simulated=any(result.simulated for _, result in used),
        cells=cells,
        spec=spec,
        corpus_fingerprint=run.corpus_fingerprint,
        curves=store.curves(name) if len(used) <= MOST_CURVES else {},
        predictions=store.predictions(name),
        rounds=store.rounds(name),
        findings=findings + omission_findings(cells),
        param_counts=(param_count,),
        tokenizers=(run.tokenizer,),
    )


def _row(cell: RunCell, result: CompletedResult, count: ParamCount, label: str) -> Row:
    return Row(
        cell.budget_flops,
        float(cell.shape.n_params(count)),
        float(cell.n_tokens),
        result.val_loss,
        loss_se=result.val_loss_se,
        seed=str(cell.seed),
        source=label,
        cell=cell,
    )


def _nothing_to_fit(name: str, cells: Sequence[SweepCell]) -> IsoflopError:
    numbers = Counter(cell.standing for cell in cells)
    counted = ", ".join(f"{numbers[kind]} {kind.words}" for kind in Standing if numbers[kind])
    retry = "`isoflop run` trains what is pending; `isoflop run --retry` also what diverged or failed."
    return IsoflopError(
        f"The sweep {name!r} has no completed run to fit: {counted or 'it has no cells'}.",
        hint="`isoflop include RUN` takes an exclusion back." if numbers[Standing.EXCLUDED] else retry,
    )
