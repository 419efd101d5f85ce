"""The outcome of one run: a status and, for a completed run only, a loss."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Status(StrEnum):
    """How a run ended. A run without a result is pending; "running" is never stored."""

    COMPLETED = "completed"
    DIVERGED = "diverged"
    FAILED = "failed"


class CurvePoint(BaseModel):
    """Mean training loss since the previous point. Un-annealed unless it is the last."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int = Field(ge=1)
    n_tokens: int = Field(ge=1)
    loss: float = Field(allow_inf_nan=False)


class Provenance(BaseModel):
    """Where a result came from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str
    device: str
    isoflop_version: str
    python_version: str
    torch_version: str | None = None
    git_commit: str | None = None
    git_dirty: bool | None = None
    engine: str | None = Field(None, description="what started the worker; none: this machine's isoflop")
    engine_job: str | None = Field(None, description="the engine's own name for the job that it ran in")


# How the names of metrics of named texts begin; others are of probes.
TEXT_METRIC = "text_"


class Metric(BaseModel):
    """What a trained model can do, as one number with its standard error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,79}$")
    value: float = Field(allow_inf_nan=False)
    standard_error: Amount = Field(description="over items, or over windows of a text")
    n_items: int = Field(ge=1, description="items, or windows of a text")
    unit: Literal["share", "bits per byte"]
    higher_is_better: bool
    chance: float | None = Field(None, allow_inf_nan=False, description="of a guess among the choices")
    majority: float | None = Field(None, allow_inf_nan=False, description="of always the most frequent right answer")
    probe_version: int = Field(ge=1, description="of the questions asked")
    corpus_fingerprint: str = Field(description="of the corpus whose held-out text was asked about, or of the text")
    evaluated_at: str = Field(description="UTC, ISO 8601")


class RunResult(BaseModel):
    """What one attempt at a run achieved. `val_loss` exists exactly when the run completed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    run_id: str
    status: Status
    reason: str | None = Field(None, description="why it did not complete, one sentence")
    attempt: int = Field(ge=1)
    simulated: bool = Field(False, description="true when no model was trained")

    n_steps: int = Field(ge=0, description="optimizer steps taken, counted by the trainer")
    n_tokens: int = Field(ge=0, description="training tokens consumed, counted by the trainer")
    achieved_flops: Amount = Field(description="training FLOPs, from the trainer's own counters")
    spent_flops: Amount = Field(description="FLOPs paid for it, work lost with earlier attempts excluded")

    val_loss: float | None = Field(None, allow_inf_nan=False, description="nats per token, held-out")
    val_loss_se: float | None = Field(None, ge=0, allow_inf_nan=False, description="nats, over held-out sequences")
    bits_per_byte: float | None = Field(None, allow_inf_nan=False)
    n_val_tokens: int | None = None

    seconds: Amount = Field(description="training and evaluation, all attempts, process start excluded")
    tokens_per_second: float | None = Field(None, allow_inf_nan=False, description="while training")
    peak_flops_per_second: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="measured on the device with a large matrix product"
    )
    model_flops_utilisation: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="training FLOPs per second over that peak"
    )
    finished_at: str = Field(description="UTC, ISO 8601")
    execution: dict[str, object] = Field(default_factory=dict, description="what may change a bit of the result")
    provenance: Provenance
    curve: tuple[CurvePoint, ...] = ()
    metrics: tuple[Metric, ...] = Field((), description="of a completed run whose sweep asks for probes")

    @model_validator(mode="after")
    def _loss_exactly_when_completed(self) -> "RunResult":
        if (self.status is Status.COMPLETED) != (self.val_loss is not None):
            raise ValueError(f"status {self.status} with val_loss {self.val_loss}")
        if (self.status is Status.COMPLETED) == (self.reason is not None):
            raise ValueError(f"status {self.status} with reason {self.reason!r}")
        return self
