"""What a fit reads: a sweep's completed runs from the database, or a table of other people's runs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from isoflop.errors import IsoflopError
from isoflop.finding import Finding, Severity
from isoflop.report.arithmetic import arithmetic
from isoflop.report.csv_points import Point, names_points, parse_points
from isoflop.report.left_out import left_out_findings
from isoflop.report.wording import Convention
from isoflop.shape import ParamCount
from isoflop.spec import SweepSpec, load_spec
from isoflop.store import Standing, Store, SweepCell, read_untouched, standing

_SQLITE_HEADER = b"SQLite format 3\x00"  # sqlite.org/fileformat.html, section 1.3

_KINDS = "Give a sweep file (.toml), an isoflop database, or a CSV file of runs."


class Origin(StrEnum):
    """Where the rows come from."""

    SWEEP = "sweep"
    CSV = "csv"


@dataclass(frozen=True)
class FitInput:
    """The rows of a fit and where they come from.

    Attributes:
        label: the sweep's name, or the CSV file's.
        path: the database or CSV file that was read.
        points: the fitted rows: budget, N under `param_count`, tokens, loss (nats per token; CSV: as given).
        param_count: convention of N.
        simulated: whether any fitted row is simulated.
        cells: every cell of the sweep, also those left out; empty for CSV.
        spec: the sweep as it was last planned; None for CSV.
        corpus_fingerprint: of the tokens the fitted runs read; None for CSV.
        findings: what was left out, and why.
    """

    label: str
    origin: Origin
    path: Path
    points: tuple[Point, ...]
    param_count: Convention
    simulated: bool = False
    cells: tuple[SweepCell, ...] = ()
    spec: SweepSpec | None = None
    corpus_fingerprint: str | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def budget_flops(self) -> tuple[float, ...]:
        """Planned FLOPs of each row."""
        return tuple(point.budget_flops for point in self.points)

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


def load_source(source: str, *, db: Path, sweep: str | None) -> FitInput:
    """The rows that `source` names: a sweep file's sweep in `db`, a database's `sweep`, or a CSV file's runs.

    Raises:
        IsoflopError: no such file, none of these kinds, a bad value, no such sweep, or nothing completed.
    """
    path = Path(source)
    if path.suffix == ".toml":
        return _from_sweep_file(path, db, sweep)
    content = _read_unless_sqlite(path)
    return _from_database(path, sweep) if content is None else _from_csv(path, content, sweep)


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


def _from_csv(path: Path, content: bytes, sweep: str | None) -> FitInput:
    name = str(path)
    if not content.strip():
        raise IsoflopError(f"{name!r} is empty.", hint=_KINDS)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = None
    if text is None or not (path.suffix.lower() == ".csv" or names_points(text)):
        raise IsoflopError(f"{name!r} is no sweep file, no database and no CSV file in UTF-8.", hint=_KINDS)
    if sweep is not None:
        raise IsoflopError(f"{name!r} is a CSV file: it has no sweep {sweep!r}.", hint="Leave out --sweep.")
    return FitInput(path.name, Origin.CSV, path, parse_points(text, name=name), "as_given")


def _from_sweep_file(file: Path, db: Path, sweep: str | None) -> FitInput:
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
        findings = () if store.sweep_spec(spec.name).asks_the_same_as(spec) else (_changed(spec.name, file),)
        return _read_sweep(store, spec.name, db, findings)

    return read_untouched(db, read)


def _from_database(path: Path, sweep: str | None) -> FitInput:
    return read_untouched(path, lambda store: _read_sweep(store, sweep or _only_sweep(store, path), path, ()))


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


def _read_sweep(store: Store, name: str, path: Path, findings: tuple[Finding, ...]) -> FitInput:
    spec = store.sweep_spec(name)
    cells = store.cells(name)
    used = [cell for cell in cells if standing(cell) is Standing.USED]
    if not used:
        raise _nothing_to_fit(name, cells)
    assert used[0].run_id is not None
    return FitInput(
        label=name,
        origin=Origin.SWEEP,
        path=path,
        points=tuple(_point(cell, spec.fit.params) for cell in used),
        param_count=spec.fit.params,
        simulated=any(cell.simulated for cell in used),
        cells=cells,
        spec=spec,
        corpus_fingerprint=store.run_spec(used[0].run_id).corpus_fingerprint,
        findings=findings + left_out_findings(cells) + _mixture(used),
    )


def _mixture(used: Sequence[SweepCell]) -> tuple[Finding, ...]:
    """A finding where the fitted runs were not computed alike."""
    devices = sorted({cell.device or "unknown" for cell in used})
    versions = sorted({cell.torch_version or "unknown" for cell in used})
    kinds = sorted({arithmetic(cell.execution) for cell in used})
    if len(devices) == len(versions) == len(kinds) == 1:
        return ()
    return (
        Finding(
            code="mixed_execution",
            severity=Severity.WARNING,
            message=f"The fitted runs come from {', '.join(devices)} with torch {', '.join(versions)}, "
            f"computed in {' and in '.join(kinds)}.",
            hint="Differences of arithmetic enter the valleys; to be sure, train all on one kind of device, alike.",
            values={"devices": devices, "torch_versions": versions, "arithmetic": kinds},
        ),
    )


def _point(cell: SweepCell, count: ParamCount) -> Point:
    assert cell.n_tokens is not None
    assert cell.val_loss is not None
    return Point(cell.budget_flops, float(cell.shape.n_params(count)), float(cell.n_tokens), cell.val_loss)


def _nothing_to_fit(name: str, cells: Sequence[SweepCell]) -> IsoflopError:
    numbers = Counter(standing(cell) for cell in cells)
    counted = ", ".join(f"{numbers[kind]} {kind.words}" for kind in Standing if numbers[kind])
    retry = "`isoflop run` trains what is pending; `isoflop run --retry` also what diverged or failed."
    return IsoflopError(
        f"The sweep {name!r} has no completed run to fit: {counted or 'it has no cells'}.",
        hint="`isoflop include RUN` takes an exclusion back." if numbers[Standing.EXCLUDED] else retry,
    )


def _changed(name: str, file: Path) -> Finding:
    return Finding(
        code="sweep_file_changed",
        severity=Severity.WARNING,
        message=f"{str(file)!r} is no longer the sweep {name!r} that was planned; this fit is of what was planned.",
        hint="`isoflop plan` brings the database up to date with the file.",
    )
