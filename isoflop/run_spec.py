"""RunSpec: one training run, fully determined. Job: the runs an engine dispatches together."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from isoflop.shape import CountedShape, ModelShape, Shape

CooldownShape = Literal["linear", "one_minus_sqrt"]
Trainer = Literal["builtin", "simulated", "command"]
OptimizerKind = Literal["adamw", "sgd", "muon"]

# Raised when a change to the training code moves losses, so that new runs get new ids.
NUMERICS_VERSION = 1

# Fields added to RunSpec after its first release. At their default ("as before") they stay out of
# the hash, so that older runs keep their ids. A dot leads into a part of the spec.
LATER_FIELDS = frozenset({"optimizer.kind", "optimizer.momentum", "optimizer.writing_rate_scale", "factory"})

RUN_ID_LENGTH = 12

# The largest whole number that SQLite holds.
LARGEST_COUNT = 2**63 - 1
# Less room for the seeds of replicates.
LARGEST_SEED = 2**62

# Stands where the text and its tokens are the program's business.
OWN_CORPUS = "program"

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ScheduleSpec(_Frozen):
    """Learning rate over steps: linear warm-up, constant, cooldown to zero (Haegele et al. 2024, arXiv 2405.18392)."""

    warmup_steps: int = Field(ge=0)
    cooldown_steps: int = Field(ge=0)
    cooldown_shape: CooldownShape


class OptimizerSpec(_Frozen):
    """The optimizer, with rates per kind of weight (muP: Yang et al. 2022, arXiv 2203.03466)."""

    kind: OptimizerKind = Field("adamw", description="muon: AdamW for all but hidden matrices")
    learning_rate: PositiveFloat = Field(description="peak rate of embedding and norm gains")
    hidden_rate_scale: PositiveFloat = Field(description="rate of hidden matrices over that")
    head_rate_scale: PositiveFloat = Field(description="rate of the head over that")
    writing_rate_scale: PositiveFloat = Field(
        1.0, description="rate of hidden matrices that write to the residual stream over that of the others"
    )
    decay_per_step: float = Field(
        ge=0, description="peak rate x AdamW coefficient of hidden matrices and head; others do not decay"
    )
    momentum: float = Field(0.0, ge=0, lt=1, description="of sgd, and of muon's hidden matrices")
    beta1: float = Field(ge=0, lt=1)
    beta2: float = Field(ge=0, lt=1)
    epsilon: PositiveFloat
    grad_clip: PositiveFloat = Field(description="largest global gradient norm")


class FactorySpec(_Frozen):
    """Whose module is trained in place of our decoder."""

    name: str = Field(description="package.module:function")
    code_hash: str = Field(description="hash of the source file of package.module")


class _Run(_Frozen):
    """Everything that determines one run. `run_id` is its hash: a changed spec is a different run."""

    later_fields: ClassVar[frozenset[str]] = frozenset()

    @cached_property
    def run_id(self) -> str:
        """Hash of the content, lower-case hexadecimal."""
        content = self.model_dump(mode="json")
        for name in self.later_fields:
            *parts, last = name.split(".")
            spec, inside = self, content
            for part in parts:
                spec, inside = getattr(spec, part), inside[part]
            if getattr(spec, last) == type(spec).model_fields[last].default:
                del inside[last]
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:RUN_ID_LENGTH]

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with `update` in place; pydantic's would carry along an id that was computed before."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("run_id", None)
        return copied


class RunSpec(_Run):
    """A run of isoflop's own trainer, or of the simulated one."""

    later_fields = LATER_FIELDS

    trainer: Literal["builtin", "simulated"]
    numerics: PositiveInt = NUMERICS_VERSION
    # Left to right: every key of our shape is one of a counted shape, too.
    shape: Annotated[CountedShape | ModelShape, Field(union_mode="left_to_right")]
    n_steps: PositiveInt
    batch_sequences: PositiveInt
    schedule: ScheduleSpec
    optimizer: OptimizerSpec
    seed: int = Field(ge=0, le=LARGEST_SEED, description="initial weights and order of the data")
    corpus_fingerprint: str
    tokenizer: str
    eval_tokens: PositiveInt = Field(description="held-out tokens of the final loss")
    factory: FactorySpec | None = Field(None, description="of a module of the user's own")

    @property
    def batch_tokens(self) -> int:
        """Tokens per optimizer step."""
        return self.batch_sequences * self.shape.context_length

    @property
    def n_tokens(self) -> int:
        """Training tokens, D."""
        return self.n_steps * self.batch_tokens

    @property
    def planned_flops(self) -> float:
        """Training FLOPs, C: tokens times the shape's FLOPs per token."""
        return float(self.n_tokens * self.shape.flops_per_token)


class CommandRun(_Run):
    """A run that a program of the user's own trains. What the program makes of batch, rate and text is its own."""

    trainer: Literal["command"]
    shape: Shape
    n_tokens: PositiveInt = Field(le=LARGEST_COUNT, description="training tokens, D")
    seed: int = Field(ge=0, le=LARGEST_SEED)
    argv: tuple[str, ...] = Field(min_length=1, description="the command with its placeholders")
    env: dict[str, str] = Field(default_factory=dict, description="variables that the sweep file adds, likewise")
    code_hash: str = Field(description="hash of the program's files, as the sweep file names them")
    corpus_fingerprint: str = OWN_CORPUS
    tokenizer: str = OWN_CORPUS

    @property
    def n_steps(self) -> int:
        """Optimizer steps that are planned: none, they are the program's."""
        return 0

    @property
    def planned_flops(self) -> float:
        """Training FLOPs, C: tokens times the model's FLOPs per token."""
        return float(self.n_tokens * self.shape.flops_per_token)


def as_program(argv: Sequence[str]) -> str:
    """The arguments as the database has them in a run's specification."""
    return json.dumps(list(argv), separators=(",", ":"), ensure_ascii=False)


AnyRun = RunSpec | CommandRun
_ANY_RUN: TypeAdapter[AnyRun] = TypeAdapter(Annotated[AnyRun, Field(discriminator="trainer")])


def parse_run(text: str) -> AnyRun:
    """The run that the JSON describes.

    Raises:
        ValidationError: it describes none.
    """
    return _ANY_RUN.validate_json(text)


@dataclass(frozen=True)
class Job:
    """What an engine dispatches: one or more runs that share work. An independent run is a job of one."""

    runs: tuple[AnyRun, ...]

    @property
    def job_id(self) -> str:
        """The run's id for a job of one, else a hash of the ids. Names the job's directory."""
        if len(self.runs) == 1:
            return self.runs[0].run_id
        ids = ",".join(run.run_id for run in self.runs)
        return hashlib.sha256(ids.encode()).hexdigest()[:RUN_ID_LENGTH]
