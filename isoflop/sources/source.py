"""What a fit reads: the rows of a sweep, of a table of other people's runs, or of several of these as one."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypedDict, TypeVar

import numpy as np

from isoflop.counting import Convention, FlopCount, flops_per_token
from isoflop.finding import Finding
from isoflop.result import CurvePoint
from isoflop.shape import LadderModel, ParamCount
from isoflop.sources.columns.header import TableColumns
from isoflop.sources.columns.loss_scale import PLAIN, LossScale
from isoflop.sources.measure import IN_NATS, Measure
from isoflop.sources.table_options import TableOptions
from isoflop.spec import SweepSpec
from isoflop.store import Prediction, RunCell, SteeringRound, SweepCell

if TYPE_CHECKING:
    from isoflop.fit import Question, SweepFit

_T = TypeVar("_T")

PARAM_COUNTS: tuple[ParamCount, ...] = ("total", "non_embedding", "matmul")


class Origin(StrEnum):
    """Where the rows come from."""

    SWEEP = "sweep"
    CSV = "csv"
    JSON = "json"
    JSON_LINES = "jsonl"
    PARQUET = "parquet"
    WORKBOOK = "xlsx"
    SEVERAL = "several"


class Row(NamedTuple):
    """One run as a fit sees it: budget in FLOPs (the grouping key), parameters, training tokens, loss; then the rest.

    Attributes:
        loss_se: standard error of the loss over the evaluation set, in the loss's unit.
        trunk: rows that share a trunk are ends of one training, so not independent.
        seed: initial weights and order of the data.
        source: label of the source that the row comes from.
        cell: the cell of a sweep that it is the result of; None in a table.
        as_read: budget_flops, n_tokens and loss in the table, where the run was put at another budget.
        unique_tokens: distinct training tokens, as a table has them: fewer than `n_tokens` where some are repeated.
    """

    budget_flops: float
    n_params: float
    n_tokens: float
    loss: float
    loss_se: float | None = None
    trunk: str | None = None
    seed: str | None = None
    source: str = ""
    cell: RunCell | None = None
    as_read: tuple[float, float, float] | None = None
    unique_tokens: float | None = None

    @property
    def fresh_tokens(self) -> float:
        """The distinct tokens among `n_tokens`, which may be those of another budget; 0 where unknown."""
        moved = self.n_tokens / self.as_read[1] if self.as_read else 1.0
        return (self.unique_tokens or 0.0) * moved


class FitColumns(TypedDict):
    """Columns (n,) as `fit_sweep` names them."""

    budget_flops: tuple[float, ...]
    n_params: tuple[float, ...]
    n_tokens: tuple[float, ...]
    loss: tuple[float, ...]
    loss_se: tuple[float, ...]
    trunk: tuple[str | None, ...]
    unique_tokens: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class _Rows(ABC):
    """The rows of one fit.

    Attributes:
        label: the sweep's name, or the table's file name, unless the user gave another; of several, all of them.
        path: the database or table that was read; of several, the first.
        rows: the fitted runs: budget, N under `param_count`, tokens, loss (nats per token; tables: as given).
        param_count, flop_count: conventions of N and of C.
        simulated: whether any fitted row is simulated.
        cells: every cell of the sweeps, also those left out; empty for tables.
        findings: what was left out, and why; what does not belong into one fit.
    """

    label: str
    path: Path
    rows: tuple[Row, ...]
    param_count: Convention
    flop_count: FlopCount = FlopCount.EXACT
    simulated: bool = False
    cells: tuple[SweepCell, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    @abstractmethod
    def each(self) -> "tuple[Source, ...]":
        """The sources one by one."""

    @property
    def sweeps(self) -> "tuple[SweepSource, ...]":
        """The sources that are sweeps."""
        return tuple(part for part in self.each if isinstance(part, SweepSource))

    @property
    def fitted(self) -> Measure:
        """What of the runs is fitted, the same of every sweep."""
        return next((part.measure for part in self.sweeps), IN_NATS)

    @property
    def specs(self) -> tuple[SweepSpec, ...]:
        """The sweeps as they were last planned, each once."""
        planned = [part.spec for part in self.sweeps]
        return tuple(spec for index, spec in enumerate(planned) if spec not in planned[:index])

    @property
    def sweep(self) -> str | None:
        """Name of the sweep that all rows are of; None where they are of none, or of several."""
        return common(part.spec.name if isinstance(part, SweepSource) else None for part in self.each)

    @property
    def runs(self) -> Iterator[tuple[Row, RunCell, ParamCount]]:
        """The rows of sweeps, source by source and as their source has them, with how N is counted here."""
        for part in self.sweeps:
            count = self.param_count if self.param_count in PARAM_COUNTS else part.spec.fit.params
            yield from ((row, row.cell, count) for row in part.rows if row.cell)

    @property
    def columns_of_fit(self) -> FitColumns:
        """All that a fit takes of the rows, by the names of its arguments; errors of losses are 0 where unknown."""
        return {
            "budget_flops": tuple(row.budget_flops for row in self.rows),
            "n_params": tuple(row.n_params for row in self.rows),
            "n_tokens": tuple(row.n_tokens for row in self.rows),
            "loss": tuple(row.loss for row in self.rows),
            "loss_se": tuple(row.loss_se or 0.0 for row in self.rows),
            "trunk": tuple(None if row.trunk is None else f"{row.source}/{row.trunk}" for row in self.rows),
            "unique_tokens": tuple(row.fresh_tokens for row in self.rows),
        }

    @property
    def points_on_the_way(self) -> list[tuple[float, float, float, float]]:
        """Points along the fitted runs' training curves: FLOPs, N and tokens so far, counted as here, and loss.

        The last point of a curve is the run itself, and is left out.
        """
        points: list[tuple[float, float, float, float]] = []
        curves = {run_id: curve for part in self.sweeps for run_id, curve in part.curves.items()}
        for _, cell, count in self.runs if curves else ():
            n_params, per_token = float(cell.shape.n_params(count)), flops_per_token(cell.shape, self.flop_count, count)
            on_the_way = curves.get(cell.run_id, ())[:-1]
            points += [(per_token * at.n_tokens, n_params, float(at.n_tokens), at.loss) for at in on_the_way]
        return points


@dataclass(frozen=True, kw_only=True)
class Source(_Rows):
    """The rows of one source.

    Attributes:
        origin: what kind of source it is.
        param_counts, tokenizers: what it names, as far as it does.
    """

    origin: Origin
    param_counts: tuple[str, ...] = ()
    tokenizers: tuple[str, ...] = ()

    @property
    def each(self) -> "tuple[Source, ...]":
        """The source itself."""
        return (self,)

    @property
    @abstractmethod
    def scale(self) -> LossScale:
        """What its losses are, as they are fitted."""


@dataclass(frozen=True, kw_only=True)
class SweepSource(Source):
    """The completed runs of a sweep.

    Attributes:
        spec: the sweep as it was last planned.
        corpus_fingerprint: of the tokens the fitted runs read.
        curves: training losses by run, in the unit of the rows' losses.
        predictions: of its confirm runs, from before they existed.
        rounds: what it decided when it steered itself.
        file: the sweep file that named it; None where the database did.
        measure: what of the runs is fitted.
    """

    origin: Origin = Origin.SWEEP
    param_count: Convention
    spec: SweepSpec
    corpus_fingerprint: str
    curves: Mapping[str, tuple[CurvePoint, ...]] = field(default_factory=dict)
    predictions: tuple[Prediction, ...] = ()
    rounds: tuple[SteeringRound, ...] = ()
    file: Path | None = None
    measure: Measure = IN_NATS

    @property
    def scale(self) -> LossScale:
        """What its losses are, as they are fitted."""
        return self.measure.scale

    def n_params(self, cell: RunCell) -> float:
        """N of one of its runs, as it counts; of models that a ladder counts, as that says."""
        count = self.param_count if self.param_count in PARAM_COUNTS else self.spec.fit.params
        return float(cell.shape.n_params(count))

    @property
    def vocab_size(self) -> int | None:
        """Rows of the embedding of every fitted model; the sweep file may have come to say something else."""
        shape = next((row.cell.shape for row in self.rows if row.cell is not None), None)
        return None if shape is None or isinstance(shape, LadderModel) else shape.vocab_size


@dataclass(frozen=True, kw_only=True)
class TableSource(Source):
    """A table of other people's runs.

    Attributes:
        columns: which of its columns were read.
        loss_scale: what its losses are, as they are fitted.
        options: how it was to be read.
        places: the line or number of each of `rows` in the file; none where nobody knows.
        counted_in: what `places` are: lines or rows.
    """

    param_count: Convention = "as_given"
    columns: TableColumns
    loss_scale: LossScale = PLAIN
    options: TableOptions = field(default_factory=TableOptions)
    places: Sequence[int] = ()
    counted_in: Literal["line", "row"] = "row"

    @property
    def scale(self) -> LossScale:
        """What its losses are, as they are fitted."""
        return self.loss_scale


@dataclass(frozen=True, kw_only=True)
class Pool(_Rows):
    """Several sources as one: each of them as it would be alone, but for the runs that it does not bring."""

    parts: tuple[Source, ...]

    @property
    def each(self) -> tuple[Source, ...]:
        """The sources."""
        return self.parts

    @property
    def origin(self) -> Origin:
        """Kind of the sources; SEVERAL where it differs."""
        return common(part.origin for part in self.parts) or Origin.SEVERAL


def fit_source(source: Source | Pool, question: "Question") -> "SweepFit":
    """The fit of all that `source` knows of its rows, its training curves among them."""
    from isoflop.fit import Columns, Curves, fit_sweep  # loads scipy, which reading a source does without

    points = source.points_on_the_way
    curves = Curves(*np.array(points).T) if points else None
    return fit_sweep(Columns(**source.columns_of_fit), dataclasses.replace(question, curves=curves))


def common(values: Iterable[_T]) -> _T | None:
    """The value that all share; None where they differ."""
    first, *others = values
    return first if all(other == first for other in others) else None
