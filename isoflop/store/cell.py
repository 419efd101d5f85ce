"""The cells of a sweep as the database has them: a size that the plan dropped, or a run with a result or none."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from functools import cache, cached_property
from operator import itemgetter
from typing import Any, ClassVar, Self

from isoflop.hardware import n_sharing
from isoflop.plan.types import Role
from isoflop.result import Metric, RunResult, Status
from isoflop.shape import Shape
from isoflop.units import format_count, format_flops

# Plans are made of whole steps and trainers count the steps they take: any real difference is a trainer's mistake.
PLAN_TOLERANCE = 0.005

# Probes and controls follow another recipe on purpose, and a confirming run is there to judge the fit.
_FITTED_ROLES = frozenset({Role.GRID, Role.REPLICATE, Role.SUGGESTED})


class Standing(StrEnum):
    """What a cell is to the fit. Only `used` enters it."""

    USED = "used"
    PENDING = "pending"
    DIVERGED = "diverged"
    FAILED = "failed"
    OFF_PLAN = "off_plan"
    EXCLUDED = "excluded"
    CHECK = "check_run"
    DROPPED = "dropped"

    @property
    def words(self) -> str:
        """The value as people write it."""
        return self.value.replace("_", " ")


@dataclass(frozen=True)
class _Record:
    @classmethod
    def of(cls, known: Mapping[str, Any]) -> Self:
        """The record whose fields are among `known`, by their names."""
        return cls(*cls._values()(known))

    @classmethod
    @cache
    def _values(cls) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
        """Takes the values of the fields out of a mapping, in their order."""
        return itemgetter(*(field.name for field in fields(cls)))


@dataclass(frozen=True)
class CellResult(_Record):
    """What came of a cell's run, however it ended.

    Attributes:
        status: how the run ended.
        achieved_flops: training FLOPs by the trainer's own counters.
        achieved_tokens: training tokens by the trainer's own counter.
        spent_flops: FLOPs paid for the result.
        seconds: training and evaluation.
        tokens_per_second: training throughput.
        model_flops_utilisation: training FLOPs per second over the device's measured peak.
        execution: what may change a bit of the result, as the worker was told.
        simulated: true when no model was trained.
        host, device, git_commit, git_dirty, isoflop_version, torch_version, finished_at: where the result comes from.
        worker: the device; of a GPU that trained several runs at once it says so.
    """

    status: Status
    achieved_flops: float
    achieved_tokens: int
    spent_flops: float
    seconds: float
    tokens_per_second: float | None
    model_flops_utilisation: float | None
    execution: Mapping[str, object]
    simulated: bool
    host: str
    device: str
    git_commit: str | None
    git_dirty: bool | None
    isoflop_version: str
    torch_version: str | None
    finished_at: str
    worker: str

    @property
    def device_seconds(self) -> float:
        """Of the device: `seconds`, shared among the runs that it trained at once."""
        return self.seconds / n_sharing(self.worker)

    @property
    def arithmetic(self) -> str:
        """`bfloat16`, `float32, math attention`: what of `execution` moves losses beyond the rounding of its precision.

        Threads, micro-batches and how a step is taken, compiled or not, change the order of sums and which of them are
        rounded: a thousandth of a nat in bfloat16 (docs/benchmarks.md).
        """
        kernel, precision = self.execution.get("attention", "default"), self.execution.get("dtype")
        words = [
            precision if isinstance(precision, str) else "unknown precision",
            *([f"{kernel} attention"] if kernel != "default" else []),
        ]
        return ", ".join(words)


@dataclass(frozen=True)
class CompletedResult(CellResult):
    """The result of a run that completed.

    Attributes:
        val_loss, val_loss_se: nats per token, held-out, and its standard error.
        bits_per_byte: the same loss in bits per byte of text.
    """

    val_loss: float
    val_loss_se: float | None
    bits_per_byte: float | None


@dataclass(frozen=True)
class BrokenResult(CellResult):
    """The result of a run that diverged or failed, and why, in one sentence."""

    reason: str


def cell_result(known: Mapping[str, Any]) -> CompletedResult | BrokenResult:
    """The result whose fields are among `known`."""
    return (CompletedResult if known["status"] is Status.COMPLETED else BrokenResult).of(known)


@dataclass(frozen=True)
class _Place(_Record):
    """Where a cell lies.

    Attributes:
        sweep: name of the sweep.
        budget_flops: planned training FLOPs of the cell, the grouping key.
        shape: the model.
    """

    sweep: str
    budget_flops: float
    shape: Shape

    @property
    def n_params_total(self) -> int:
        """Every parameter of the model."""
        return self.shape.n_params_total


@dataclass(frozen=True)
class EmptyCell(_Place):
    """A size that the plan dropped, and why, in one sentence. It has no run, so neither role nor result."""

    drop_reason: str
    standing: ClassVar[Standing] = Standing.DROPPED
    run_id: ClassVar[None] = None
    role: ClassVar[None] = None
    result: ClassVar[None] = None
    completed: ClassVar[None] = None
    used: ClassVar[None] = None


@dataclass(frozen=True)
class RunCell(_Place):
    """A planned run in its place, and what came of it.

    Attributes:
        role: why the sweep asks for it.
        run_id: hash of the run's content.
        n_tokens: planned training tokens, D.
        n_steps: planned optimizer steps; None where a program of its own decides, as of the next two.
        planned_flops: training FLOPs of the run as planned, C.
        epochs: passes over the training corpus.
        batch_tokens: tokens per optimizer step.
        learning_rate: peak rate of embedding and norm gains; others scale with width and depth.
        seed: initial weights and order of the data.
        log_path: log of the latest attempt.
        n_attempts: attempts known.
        excluded: a person's reason for leaving the run out of every fit; None when it counts.
        result: None while the run is pending.
        metrics: what its model can do, by name, as far as that was measured.
    """

    role: Role
    run_id: str
    n_tokens: int
    n_steps: int | None
    planned_flops: float
    epochs: float
    batch_tokens: int | None
    learning_rate: float | None
    seed: int
    log_path: str | None
    n_attempts: int
    excluded: str | None
    result: CompletedResult | BrokenResult | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)

    @cached_property
    def standing(self) -> Standing:
        """What the cell is to the fit."""
        if self.result is None:
            return Standing.PENDING
        if self.broken:
            return Standing(self.broken.status.value)
        if self.excluded is not None:
            return Standing.EXCLUDED
        if self.role not in _FITTED_ROLES:
            return Standing.CHECK
        return Standing.OFF_PLAN if self._is_off_plan(self.result) else Standing.USED

    @property
    def will_be_fitted(self) -> bool:
        """Whether it waits to be trained and then enters the fit."""
        return self.result is None and self.excluded is None and self.role in _FITTED_ROLES

    def _is_off_plan(self, result: CellResult) -> bool:
        flops_error = abs(result.achieved_flops - self.planned_flops) / self.planned_flops
        tokens_error = abs(result.achieved_tokens - self.n_tokens) / self.n_tokens
        return max(flops_error, tokens_error) > PLAN_TOLERANCE

    @property
    def status(self) -> Status | None:
        """How the run ended; None while it is pending."""
        return self.result.status if self.result else None

    @cached_property
    def completed(self) -> CompletedResult | None:
        """The result of a run that completed, whatever it is to the fit."""
        return self.result if isinstance(self.result, CompletedResult) else None

    @cached_property
    def used(self) -> CompletedResult | None:
        """The result of a run that enters the fit."""
        return self.completed if self.standing is Standing.USED else None

    @property
    def broken(self) -> BrokenResult | None:
        """The result of a run that diverged or failed."""
        return self.result if isinstance(self.result, BrokenResult) else None

    @property
    def plan_miss(self) -> str | None:
        """How a run missed its plan: `planned 1.00e12 FLOPs and 2.10M tokens, achieved 0.97e12 and 2.04M`."""
        if self.result is None or self.standing not in (Standing.OFF_PLAN, Standing.CHECK):
            return None
        if not self._is_off_plan(self.result):
            return None
        achieved = f"{format_flops(self.result.achieved_flops)} and {format_count(self.result.achieved_tokens)}"
        planned = f"{format_flops(self.planned_flops)} FLOPs and {format_count(self.n_tokens)} tokens"
        return f"planned {planned}, achieved {achieved}"

    def with_result(self, result: RunResult) -> "RunCell":
        """The cell as it is once `result` is recorded."""
        known = {**dict(result), **dict(result.provenance), "achieved_tokens": result.n_tokens}
        known["worker"] = result.provenance.device
        metrics = {metric.name: metric for metric in result.metrics}
        return replace(self, result=cell_result(known), metrics=metrics)


SweepCell = EmptyCell | RunCell


def run_cells(cells: Iterable[SweepCell]) -> list[RunCell]:
    """The cells that have a run."""
    return [cell for cell in cells if isinstance(cell, RunCell)]
