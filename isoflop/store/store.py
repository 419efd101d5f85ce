"""The store: what was asked, what came of it, and which of it a person set aside.

One process writes a sweep at a time, under its lock; readers need none. A `Store` belongs to the thread that opened it.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from sqlite_utils import Database

from isoflop.errors import IsoflopError
from isoflop.plan.measurement import Measurement
from isoflop.plan.types import Plan
from isoflop.result import CurvePoint, Metric, RunResult, Status
from isoflop.run_spec import AnyRun
from isoflop.spec import SweepSpec, parse_spec
from isoflop.store.cell import RunCell, SweepCell
from isoflop.store.columns import (
    Row,
    cell_row,
    dropped_row,
    finite,
    known_run,
    measurement_row,
    metric_row,
    parse_shape,
    planned_run,
    result_row,
    run_row,
    stored_measurement,
    stored_metric,
    sweep_cell,
    utc_now,
)
from isoflop.store.connect import checkpoint, connect, explained, file_identity, transaction
from isoflop.store.damage import as_written, checked_run, refuse_altered_sweep, refuse_cut_curves
from isoflop.store.known_runs import KnownRun, PlannedRun, Timing
from isoflop.store.missing_cells import refuse_missing_cells
from isoflop.store.prediction import Prediction, parse_prediction
from isoflop.store.queries import (
    CELLS,
    CELLS_BESIDE_GRID,
    CURVES,
    KEEP_AS_ATTEMPT,
    KNOWN_RUNS,
    MEASUREMENTS,
    METRICS,
    PENDING,
    PLANNED_RUNS,
    PREDICTIONS,
    ROUNDS,
    RUNS_STARTING_WITH,
    SWEEPS_ASKING_FOR,
    TIMINGS,
)
from isoflop.store.steering_round import SteeringRound, parse_round

_T = TypeVar("_T")

# Enough to see every size of a sweep on every device; older runs tell of older code.
NTIMINGS = 200
NMEASUREMENTS = 2000

# A copy of the file alone shall hold what was recorded so far; that waits for the disk, some 20 ms. Results
# that come faster than anyone trains (a simulated sweep) wait for each other, so that it takes this share of the time.
CHECKPOINT_SHARE, CHECKPOINT_GRACE_SECONDS = 0.05, 1.0


def open_store(path: Path, *, write: bool) -> "Store":
    """The store in the SQLite file at `path`, to be closed or used in a `with` block.

    `write=True` creates and migrates it. `write=False` needs no write permission, changes nothing and works while
    another process writes.

    Raises:
        IsoflopError: missing (to read), not a database, not isoflop's, or of another version.
    """
    return Store(connect(path, write=write), path)


class Store:
    """An open database. Every write is one transaction; every read is one statement, so it sees one moment.

    All methods raise IsoflopError when the file is locked, damaged, read-only or out of space; a write also when the
    path no longer leads to the open file.

    Attributes:
        path: the database file.
    """

    def __init__(self, db: Database, path: Path) -> None:
        self._db = db
        self.path = path
        self._file = file_identity(path)
        self._opened, self._checkpoint_seconds = time.monotonic(), 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def save_plan(
        self,
        spec: SweepSpec,
        plan: Plan,
        predictions: Sequence[Prediction] = (),
        rounds: Sequence[SteeringRound] = (),
    ) -> None:
        """Make the plan's cells the sweep's, in place of those it had, and add `predictions` for some of its runs.

        `rounds` are the decisions that led to the plan. Runs, predictions and rounds are added once and never changed.
        Runs the sweep no longer asks for keep all three.
        """
        assert spec.name == plan.sweep, f"spec of {spec.name!r}, plan of {plan.sweep!r}"
        with self._transaction():
            self._save_spec(spec)
            known = {row["run_id"] for row in self._rows("select run_id from runs")}
            self._insert("runs", (run_row(run) for run_id, run in plan.runs.items() if run_id not in known))
            self._save_cells(plan)
            self._insert("predictions", (prediction.as_row() for prediction in predictions))
            self._insert("steering_rounds", (one.as_row() for one in rounds))

    def _save_cells(self, plan: Plan) -> None:
        """Put the plan's cells in place of those of before, unless they are the same, as mostly."""
        planned = [cell_row(plan.sweep, cell) for cell in plan.cells]
        dropped = [dropped_row(plan.sweep, cell) for cell in plan.dropped]
        before = self._rows("select * from cells where sweep = ? order by id", plan.sweep)
        if len(before) == len(planned) + len(dropped) and all(
            row.items() <= old.items() for row, old in zip(chain(planned, dropped), before, strict=True)
        ):
            return
        self._db.table("cells").delete_where("sweep = ?", [plan.sweep])
        self._insert("cells", planned)
        self._insert("cells", dropped)

    def add_round(self, one: SteeringRound) -> None:
        """Note a decision that leaves the plan as it is."""
        with self._transaction():
            self._insert("steering_rounds", [one.as_row()])

    def _save_spec(self, spec: SweepSpec) -> None:
        content = {"spec_json": spec.to_json(), "spec_hash": spec.spec_hash}
        if spec.name in self.sweep_names():
            self._db.table("sweeps").update(spec.name, content)
        else:
            self._insert("sweeps", [{"name": spec.name, **content, "created_at": utc_now()}])

    def sweep_names(self) -> list[str]:
        """The names of all sweeps, in alphabetical order."""
        return [row["name"] for row in self._rows("select name from sweeps order by name")]

    def sweep_spec(self, name: str) -> SweepSpec:
        """The sweep as it was last planned.

        Raises:
            IsoflopError: no sweep of that name, or one that this version cannot read.
        """
        self._require(name)
        (row,) = self._rows("select spec_json, spec_hash from sweeps where name = ?", name)
        with as_written(self.path, f"the specification of sweep {name!r}"):
            content = json.loads(row["spec_json"])
        spec = parse_spec(content, source=f"{self.path} (sweep {name})")
        refuse_altered_sweep(name, row["spec_json"], row["spec_hash"], self.path)
        return spec

    def planned_sweep(self, name: str) -> tuple[SweepSpec, tuple[SweepCell, ...]]:
        """The sweep as it was last planned, and its cells as `cells` gives them.

        Raises:
            IsoflopError: as of `sweep_spec`; or cells of its grid are missing.
        """
        spec, cells = self.sweep_spec(name), self.cells(name)
        refuse_missing_cells(spec, cells, self.path)
        return spec, cells

    def run_spec(self, run_id: str) -> AnyRun:
        """The run of that id.

        Raises:
            IsoflopError: no run of that id.
        """
        for row in self._rows("select spec_json from runs where run_id = ?", run_id):
            return checked_run(run_id, row["spec_json"], self.path)
        raise IsoflopError(
            f"The database {str(self.path)!r} has no run {run_id!r}.",
            hint="`isoflop plan SWEEP --json` lists the runs of a sweep.",
        )

    def cells(self, sweep: str, *, beside_grid: bool = False) -> tuple[SweepCell, ...]:
        """The sweep's cells with runs and results, ordered by budget, total parameters and seed.

        `beside_grid`: only the suggested and the confirm runs, which spares reading the rest.

        Raises:
            IsoflopError: no sweep of that name.
        """
        self._require(sweep)
        shape_of = cache(parse_shape)
        query = CELLS_BESIDE_GRID if beside_grid else CELLS
        cells = self._typed(lambda row: sweep_cell(row, shape_of(row["shape"])), query, sweep)
        if metrics := self.metrics(sweep):
            cells = [_with_metrics(cell, metrics) for cell in cells]
        return tuple(sorted(cells, key=_by_budget_size_and_seed))

    def metrics(self, sweep: str) -> dict[str, dict[str, Metric]]:
        """What the models of the sweep's runs can do, by run id and name."""
        found: dict[str, dict[str, Metric]] = {}
        for run_id, metric in self._typed(lambda row: (row["run_id"], stored_metric(row)), METRICS, sweep):
            found.setdefault(run_id, {})[metric.name] = metric
        return found

    def predictions(self, sweep: str) -> tuple[Prediction, ...]:
        """What was predicted for confirm runs of the sweep, as they were planned; empty where it has none."""
        return tuple(self._typed(parse_prediction, PREDICTIONS, sweep))

    def rounds(self, sweep: str) -> tuple[SteeringRound, ...]:
        """What the sweep decided when it steered itself, first to last; empty where it did not."""
        return tuple(self._typed(parse_round, ROUNDS, sweep))

    def pending(self, sweep: str) -> tuple[str, ...]:
        """The ids of the sweep's runs without a result, in the order of the plan.

        Raises:
            IsoflopError: no sweep of that name.
        """
        self._require(sweep)
        return tuple(row["run_id"] for row in self._rows(PENDING, sweep))

    def _require(self, sweep: str) -> None:
        if sweep not in (known := self.sweep_names()):
            raise IsoflopError(
                f"The database {str(self.path)!r} has no sweep {sweep!r}.",
                hint=f"It has: {', '.join(known)}." if known else "It has none yet: `isoflop plan SWEEP` adds one.",
            )

    def record(self, result: RunResult) -> bool:
        """Whether the result was taken: False, and nothing changes, when its run has one already.

        Raises:
            ValueError: a run that was never planned, a number that is not finite, or a simulated result for a run
                that trains (or the reverse).
        """
        with self._transaction():
            self._check_trainer(result)
            if self._status(result.run_id) is not None:
                return False
            self._insert("results", [result_row(result)])
            self._insert("curves", ({"run_id": result.run_id, **point.model_dump()} for point in result.curve))
            self._insert("metrics", (metric_row(result.run_id, metric) for metric in result.metrics))
        return True

    def record_metrics(self, run_id: str, metrics: Sequence[Metric]) -> None:
        """Add what a completed run's model can do; one that is there gives way only to one of newer questions.

        Raises:
            ValueError: the run did not complete.
        """
        with self._transaction():
            if self._status(run_id) is not Status.COMPLETED:
                raise ValueError(f"run {run_id} did not complete: it has no model")
            rows = self._rows("select name, probe_version from metrics where run_id = ?", run_id)
            known = {row["name"]: row["probe_version"] for row in rows}
            newer = [metric for metric in metrics if metric.probe_version > known.get(metric.name, 0)]
            for metric in newer:
                self._db.table("metrics").delete_where("run_id = ? and name = ?", [run_id, metric.name])
            self._insert("metrics", (metric_row(run_id, metric) for metric in newer))

    def _check_trainer(self, result: RunResult) -> None:
        for row in self._rows("select trainer from runs where run_id = ?", result.run_id):
            if (row["trainer"] == "simulated") != result.simulated:
                raise ValueError(
                    f"run {result.run_id} ({row['trainer']}) with a result of simulated={result.simulated}"
                )
            return
        raise ValueError(f"run {result.run_id} was never planned")

    def _status(self, run_id: str) -> Status | None:
        found = self._typed(_status, "select run_id, status from results where run_id = ?", run_id)
        return found[0] if found else None

    def supersede(self, run_id: str) -> None:
        """Take back the run's diverged or failed result, so that the run is pending again.

        What it was stays in `attempts`.

        Raises:
            ValueError: the run is completed or has no result.
        """
        with self._transaction():
            status = self._status(run_id)
            if status not in (Status.DIVERGED, Status.FAILED):
                raise ValueError(f"run {run_id} is {status or 'pending'}: nothing to supersede")
            self._db.execute(KEEP_AS_ATTEMPT, [run_id])
            self._db.table("results").delete(run_id)

    def record_attempt(
        self,
        run_id: str,
        attempt: int,
        *,
        host: str,
        device: str | None,
        started_at: str,
        ended_at: str | None,
        outcome: str | None,
        reason: str | None,
        log_path: str | None,
        engine: str | None = None,
        engine_job: str | None = None,
    ) -> None:
        """Log an attempt, in place of what the log said of the same attempt before.

        Times are UTC, ISO 8601; `ended_at` and `outcome` are None while the attempt goes on.
        """
        row = {
            "run_id": run_id,
            "attempt": attempt,
            "host": host,
            "device": device,
            "started_at": started_at,
            "ended_at": ended_at,
            "outcome": outcome,
            "reason": reason,
            "log_path": log_path,
            "engine": engine,
            "engine_job": engine_job,
        }
        with self._transaction():
            self._insert("attempts", [row], replace="(run_id, attempt)")

    def exclude(self, *run_ids: str, reason: str) -> None:
        """Leave the runs out of fits from now on, for a person's `reason`, which is shown in their place.

        Raises:
            IsoflopError: no run of one of these ids; nothing is changed.
        """
        for run_id in run_ids:
            self.run_spec(run_id)
        with self._transaction():
            rows = [{"run_id": run_id, "reason": reason, "excluded_at": utc_now()} for run_id in run_ids]
            self._db.table("exclusions").upsert_all(rows, pk="run_id")

    def include(self, *run_ids: str) -> None:
        """Let excluded runs count again."""
        with self._transaction():
            for run_id in run_ids:
                self._db.table("exclusions").delete_where("run_id = ?", [run_id])

    def exclusions(self) -> dict[str, str]:
        """The reasons of all excluded runs, by run id."""
        rows = self._rows("select run_id, reason from exclusions order by run_id")
        return {row["run_id"]: row["reason"] for row in rows}

    def runs_starting_with(self, prefix: str) -> tuple[str, ...]:
        """The ids, of runs of any sweep or of a former plan, that start with `prefix`."""
        return tuple(row["run_id"] for row in self._rows(RUNS_STARTING_WITH, prefix, prefix))

    def sweeps_asking_for(self, run_ids: Iterable[str]) -> tuple[str, ...]:
        """The names, in alphabetical order, of the sweeps that ask for any of these runs."""
        return tuple(row["sweep"] for row in self._rows(SWEEPS_ASKING_FOR, json.dumps(list(run_ids))))

    def statuses(self) -> dict[str, Status]:
        """How every run with a result ended, by id."""
        return dict(self._typed(lambda row: (row["run_id"], _status(row)), "select run_id, status from results"))

    def known_runs(self) -> dict[str, KnownRun]:
        """Every run that was ever planned here, by id."""
        return {run.run_id: run for run in self._typed(known_run, KNOWN_RUNS)}

    def planned_runs(self, sweep: str) -> tuple[PlannedRun, ...]:
        """The runs that the sweep asks for, once for each budget, by ascending budget."""
        return tuple(self._typed(planned_run, PLANNED_RUNS, sweep))

    def curves(self, sweep: str) -> dict[str, tuple[CurvePoint, ...]]:
        """The training losses of the sweep's runs with a result, by id, each by step.

        Raises:
            IsoflopError: no sweep of that name.
        """
        self._require(sweep)
        with explained(self.path):
            refuse_cut_curves(self._db, self.path)
        found: dict[str, list[CurvePoint]] = {}
        for row in self._rows(CURVES, sweep):
            found.setdefault(row.pop("run_id"), []).append(CurvePoint.model_construct(**row))
        return {run_id: tuple(points) for run_id, points in found.items()}

    def throughput(self, program: str | None = None) -> tuple[Timing, ...]:
        """What the latest 200 completed runs took, newest first; of those that a `program` trained, or else isoflop.

        Simulated runs took nothing and are not among them.
        """
        return tuple(
            self._typed(lambda row: Timing(**{**row, "shape": parse_shape(row["shape"])}), TIMINGS, program, NTIMINGS)
        )

    def record_measurement(self, measurement: Measurement) -> None:
        """Add what a trial found; it counts before all others of its shape, batch and device."""
        with self._transaction():
            self._insert("measurements", [measurement_row(measurement)])

    def measurements(self) -> tuple[Measurement, ...]:
        """What the latest 2000 trials found, the latest last."""
        return tuple(self._typed(stored_measurement, MEASUREMENTS, NMEASUREMENTS))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        if file_identity(self.path) != self._file:
            raise IsoflopError(
                f"The database {str(self.path)!r} was deleted or replaced while it was in use.",
                hint="Give the same command again to make a new one; results are also files in the artifacts and are "
                "not repeated.",
            )
        with transaction(self._db, self.path):
            yield
        self._checkpoint()

    def _checkpoint(self) -> None:
        begun = time.monotonic()
        if self._checkpoint_seconds <= CHECKPOINT_GRACE_SECONDS + CHECKPOINT_SHARE * (begun - self._opened):
            checkpoint(self._db, self.path)
            self._checkpoint_seconds += time.monotonic() - begun

    def _rows(self, sql: str, *parameters: object) -> list[Row]:
        with explained(self.path):
            return list(self._db.query(sql, parameters))

    def _typed(self, convert: Callable[[Row], _T], sql: str, *parameters: object) -> list[_T]:
        """What `convert` makes of every row."""
        found = []
        for row in self._rows(sql, *parameters):
            with as_written(self.path, f"the row of run {row['run_id']}" if "run_id" in row else "the row of a result"):
                found.append(convert(row))
        return found

    def _insert(self, table: str, rows: Iterable[Row], *, replace: str = "") -> None:
        """Add rows of the same columns, in place of those of an equal key `replace`.

        One statement for all takes a third of the time of a library's insert.
        """
        checked = map(finite, rows)
        for first in checked:
            names, values = ", ".join(first), ", ".join(f":{name}" for name in first)
            new = ", ".join(f"{name} = excluded.{name}" for name in first)
            otherwise = f" on conflict {replace} do update set {new}" if replace else ""
            statement = f"insert into {table} ({names}) values ({values}){otherwise}"  # noqa: S608
            self._db.conn.executemany(statement, chain([first], checked))


def _status(row: Row) -> Status:
    return Status(row["status"])


def _with_metrics(cell: SweepCell, metrics: Mapping[str, Mapping[str, Metric]]) -> SweepCell:
    return replace(cell, metrics=metrics[cell.run_id]) if isinstance(cell, RunCell) and cell.run_id in metrics else cell


def _by_budget_size_and_seed(cell: SweepCell) -> tuple[float, int, int]:
    return cell.budget_flops, cell.n_params_total, cell.seed if isinstance(cell, RunCell) else -1
