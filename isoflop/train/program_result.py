"""What a program of the user's own says its run came to: one JSON object, checked before anything is believed."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from isoflop.result import CurvePoint
from isoflop.run_spec import LARGEST_COUNT, CommandRun
from isoflop.spec.problems import first_problem

# A curve of as many points is a log.
LARGEST_RESULT = 64 << 20
# Of a reason, which is shown in a line: what is longer, as a whole traceback is, is cut and stays in the log.
LONGEST_REASON = 500
_SOURCE = "the program's result"

# Strict: `true` is no number, though Python takes it for 1.
Finite = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Count = Annotated[int, Field(ge=0, le=LARGEST_COUNT, strict=True)]


class ProgramResult(BaseModel):
    """The content of {result_path}."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    status: Literal["completed", "diverged"]
    n_tokens: Count = Field(description="training tokens consumed, counted by the program")
    achieved_flops: Finite = Field(ge=0, description="training FLOPs, from the program's own counters")
    val_loss: Finite | None = Field(None, ge=0, description="nats per token, held-out; exactly when completed")
    reason: str | None = Field(None, min_length=1, description="why it diverged; exactly then")
    val_loss_se: Finite | None = Field(None, ge=0)
    bits_per_byte: Finite | None = None
    n_val_tokens: Count | None = None
    n_steps: Count = 0
    curve: tuple[CurvePoint, ...] = ()

    @field_validator("reason")
    @classmethod
    def _cut(cls, reason: str | None) -> str | None:
        return reason if reason is None or len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]} [...]"

    @model_validator(mode="after")
    def _loss_exactly_when_completed(self) -> Self:
        if self.status == "completed" and (self.val_loss is None or self.reason is not None):
            raise ValueError("a completed run has val_loss and no reason")
        if self.status == "diverged" and (self.val_loss is not None or self.reason is None):
            raise ValueError("a diverged run has reason and no val_loss")
        steps = [point.step for point in self.curve]
        if steps != sorted(set(steps)):
            raise ValueError("the steps of the curve do not ascend")
        return self


def read_program_result(path: Path, run: CommandRun) -> ProgramResult | str | None:
    """What the program reported of `run`; why that cannot be believed, in words; None where it left nothing."""
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > LARGEST_RESULT:
            return f"the program's result has more than {LARGEST_RESULT >> 20} MiB"
        reported = ProgramResult.model_validate_json(path.read_bytes())
    except ValidationError as error:
        return _problem(error)
    except OSError as error:
        return f"the program's result cannot be read: {error.strerror}"
    if reported.run_id != run.run_id:
        return f"the program's result is of run {reported.run_id!r}, not of this one"
    return reported


def _problem(error: ValidationError) -> str:
    """The first thing that is wrong with a result."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return "the program's result is not JSON"
    if not first["loc"] and first["type"] != "value_error":
        return "the program's result is JSON, but no object with keys"
    if first["type"] == "value_error" and not first["loc"]:
        return f"the program's result: {first['msg'].removeprefix('Value error, ')}"
    told = first_problem(error, ProgramResult, source=_SOURCE)
    unknown = f" {told.hint}" if "unknown key" in told.message else ""
    return f"{told.message.replace(repr(_SOURCE), _SOURCE)}{unknown}"
