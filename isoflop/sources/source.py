"""What a fit reads: a sweep's completed runs from the database, or a table of other people's runs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TypedDict

from isoflop.counting import Convention, FlopCount
from isoflop.errors import IsoflopError
from isoflop.finding import Finding
from isoflop.plan.changed_file import file_findings
from isoflop.result import CurvePoint
from isoflop.shape import ParamCount
from isoflop.sources.findings.omissions import left_out_findings
from isoflop.sources.row import Point
from isoflop.sources.table.columns import TableColumns
from isoflop.sources.table.read import read_table, table_rows
from isoflop.spec import SweepSpec, load_spec
from isoflop.store import Standing, Store, SweepCell, read_untouched, standing

_SQLITE_HEADER = b"SQLite format 3\x00"  # sqlite.org/fileformat.html, section 1.3

# Curves of more runs would keep a reader waiting, and say no more.
MOST_CURVES = 1000

_KINDS = "Give a sweep file (.toml), an isoflop database, or a table of runs (CSV, JSON lines or Parquet)."


class Origin(StrEnum):
    """Where the rows come from."""

    SWEEP = "sweep"
    CSV = "csv"
    JSON_LINES = "jsonl"
    PARQUET = "parquet"
    SEVERAL = "several"


class FitColumns(TypedDict):
    """Columns (n,) as `fit_sweep` names them."""

    budget_flops: tuple[float, ...]
    n_params: tuple[float, ...]
    n_tokens: tuple[float, ...]
    loss: tuple[float, ...]
    loss_se: tuple[float, ...]
    trunk: tuple[str | None, ...]


@dataclass(frozen=True)
class FitInput:
    """The rows of a fit and where they come from: one source, or several pooled.

    Attributes:
        label: the sweep's name, or the table's file name, unless the user gave another; of several, all of them.
        origin: kind of the source; SEVERAL for a pool of different kinds.
        path: the database or table that was read; of several, the first.
        points: the fitted rows: budget, N under `param_count`, tokens, loss (nats per token; tables: as given).
        param_count, flop_count: conventions of N and of C.
        simulated: whether any fitted row is simulated.
        cells: every cell of the sweeps, also those left out; empty for tables.
        spec: the sweep as it was last planned; None for tables and pools.
        corpus_fingerprint: of the tokens the fitted runs read; None for tables and where sources differ.
        curves: training losses by run; empty for tables and pools, whose parts have them.
        findings: what was left out, and why; what does not belong into one fit.
        param_counts, tokenizers: what the source names, as far as it does.
        columns: which columns of a table were read; None for sweeps and pools.
        parts: the sources of a pool; empty for one source.
    """

    label: str
    origin: Origin
    path: Path
    points: tuple[Point, ...]
    param_count: Convention
    flop_count: FlopCount = FlopCount.EXACT
    simulated: bool = False
    cells: tuple[SweepCell, ...] = ()
    spec: SweepSpec | None = None
    corpus_fingerprint: str | None = None
    curves: Mapping[str, tuple[CurvePoint, ...]] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    param_counts: tuple[str, ...] = ()
    tokenizers: tuple[str, ...] = ()
    columns: TableColumns | None = None
    parts: "tuple[FitInput, ...]" = ()

    @property
    def each(self) -> "tuple[FitInput, ...]":
        """The sources one by one."""
        return self.parts or (self,)

    @property
    def specs(self) -> "tuple[SweepSpec, ...]":
        """The sweeps as they were last planned, each once."""
        planned = [part.spec for part in self.each if part.spec is not None]
        return tuple(spec for index, spec in enumerate(planned) if spec not in planned[:index])

    @property
    def sweep(self) -> str | None:
        """Name of the sweep that all rows are of; None where they are of none, or of several."""
        names = {part.spec.name if part.spec else None for part in self.each}
        return names.pop() if len(names) == 1 else None

    @property
    def budget_flops(self) -> tuple[float, ...]:
        """Planned FLOPs of each row."""
        return tuple(point.budget_flops for point in self.points)

    @property
    def loss_se(self) -> tuple[float, ...]:
        """Standard error of each loss, 0 where unknown."""
        return tuple(point.loss_se or 0.0 for point in self.points)

    @property
    def trunk(self) -> tuple[str | None, ...]:
        """Trunk of each row, by source; None for a run of its own."""
        return tuple(None if point.trunk is None else f"{point.source}/{point.trunk}" for point in self.points)

    @property
    def columns_of_fit(self) -> FitColumns:
        """All that a fit takes of the rows, by the names of its arguments."""
        return {
            "budget_flops": self.budget_flops,
            "n_params": self.n_params,
            "n_tokens": self.n_tokens,
            "loss": self.loss,
            "loss_se": self.loss_se,
            "trunk": self.trunk,
        }

    @property
    def n_params(self) -> tuple[float, ...]:
        """Parameters of each row."""
        return tuple(point.n_params for point in self.points)

    @property
    def n_tokens(self) -> tuple[float, ...]:
        """Training tokens of each row."""
        return tuple(point.n_tokens for point in self.points)

    @property
    def loss(self) -> tuple[float, ...]:
        """Loss of each row."""
        return tuple(point.loss for point in self.points)


def load_source(
    source: str,
    *,
    db: Path,
    sweep: str | None,
    renames: Mapping[str, str] = MappingProxyType({}),
    label: str | None = None,
) -> FitInput:
    """The rows that `source` names: a sweep file's sweep in `db`, a database's `sweep`, or a table's runs.

    `renames` gives the table's name of a column by ours; `label` replaces the name of the sweep or file.

    Raises:
        IsoflopError: no such file, none of these kinds, a bad value, no such sweep, or nothing completed.
    """
    path = Path(source)
    if path.suffix == ".toml":
        return _from_sweep_file(path, db, sweep, label)
    content = _read_unless_sqlite(path)
    return _from_database(path, sweep, label) if content is None else _from_table(path, content, renames, label)


def _read_unless_sqlite(path: Path) -> bytes | None:
    """The file's bytes; None for a SQLite database. Opened once, so that a pipe will do."""
    try:
        with path.open("rb") as file:
            header = file.read(len(_SQLITE_HEADER))
            return None if header == _SQLITE_HEADER else header + file.read()
    except FileNotFoundError:
        raise IsoflopError(f"There is no file {str(path)!r}.", hint=_KINDS) from None
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        raise IsoflopError(f"Cannot read {str(path)!r}: {error}.", hint=_KINDS) from None


def _from_table(path: Path, content: bytes, renames: Mapping[str, str], label: str | None) -> FitInput:
    if not content.strip():
        raise IsoflopError(f"{str(path)!r} is empty.", hint=_KINDS)
    table = read_table(path, content, renames)
    if table is None:
        raise IsoflopError(
            f"{str(path)!r} is no sweep file, no database, no CSV or JSON lines in UTF-8 and no Parquet.",
            hint=_KINDS,
        )
    rows = table_rows(table, label=label or path.name)
    return FitInput(
        label=label or path.name,
        origin=Origin(rows.kind),
        path=path,
        points=rows.points,
        param_count="as_given",
        param_counts=rows.param_counts,
        tokenizers=rows.tokenizers,
        columns=rows.columns,
    )


def _from_sweep_file(file: Path, db: Path, sweep: str | None, label: str | None) -> FitInput:
    spec = load_spec(file)
    if sweep not in (None, spec.name):
        raise IsoflopError(
            f"{str(file)!r} is the sweep {spec.name!r}, not {sweep!r}.",
            hint=f"Leave out --sweep, or give the database {str(db)!r} as the source.",
        )

    def read(store: Store) -> FitInput:
        if spec.name not in store.sweep_names():
            raise IsoflopError(
                f"The sweep {spec.name!r} is not planned yet: the database {str(db)!r} does not have it.",
                hint=f"`isoflop run {file}` plans and trains it; --db names another database.",
            )
        findings = file_findings(store.sweep_spec(spec.name), spec, file)
        return _read_sweep(store, spec.name, db, findings, label)

    return read_untouched(db, read)


def _from_database(path: Path, sweep: str | None, label: str | None) -> FitInput:
    return read_untouched(path, lambda store: _read_sweep(store, sweep or _only_sweep(store, path), path, (), label))


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


def _read_sweep(store: Store, name: str, path: Path, findings: tuple[Finding, ...], label: str | None) -> FitInput:
    spec = store.sweep_spec(name)
    cells = store.cells(name)
    used = [cell for cell in cells if standing(cell) is Standing.USED]
    if not used:
        raise _nothing_to_fit(name, cells)
    assert used[0].run_id is not None
    run = store.run_spec(used[0].run_id)
    return FitInput(
        label=label or name,
        origin=Origin.SWEEP,
        path=path,
        points=tuple(_point(cell, spec.fit.params, label or name) for cell in used),
        param_count=spec.fit.params,
        simulated=any(cell.simulated for cell in used),
        cells=cells,
        spec=spec,
        corpus_fingerprint=run.corpus_fingerprint,
        curves=store.curves(name) if len(used) <= MOST_CURVES else {},
        findings=findings + left_out_findings(cells),
        param_counts=(spec.fit.params,),
        tokenizers=(run.tokenizer,),
    )


def _point(cell: SweepCell, count: ParamCount, label: str) -> Point:
    assert cell.n_tokens is not None
    assert cell.val_loss is not None
    return Point(
        cell.budget_flops,
        float(cell.shape.n_params(count)),
        float(cell.n_tokens),
        cell.val_loss,
        loss_se=cell.val_loss_se,
        seed=str(cell.seed),
        source=label,
    )


def _nothing_to_fit(name: str, cells: Sequence[SweepCell]) -> IsoflopError:
    numbers = Counter(standing(cell) for cell in cells)
    counted = ", ".join(f"{numbers[kind]} {kind.words}" for kind in Standing if numbers[kind])
    retry = "`isoflop run` trains what is pending; `isoflop run --retry` also what diverged or failed."
    return IsoflopError(
        f"The sweep {name!r} has no completed run to fit: {counted or 'it has no cells'}.",
        hint="`isoflop include RUN` takes an exclusion back." if numbers[Standing.EXCLUDED] else retry,
    )
