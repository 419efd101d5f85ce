"""[engine]: how clusters are asked for room; nothing here changes a run, and nothing of it is recorded."""

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeVar, get_args, get_origin

from pydantic import Field, ValidationError, field_validator, model_validator

from isoflop.errors import IsoflopError
from isoflop.spec.section import Section

_S = TypeVar("_S", bound=Section)
# A word for a command line that no shell reads; it cannot be taken for an option.
_Word = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\s\x00-\x1f-][^\x00-\x1f]*$")]
_Option = Annotated[str, Field(min_length=2, max_length=1000, pattern=r"^--?[A-Za-z][^\x00-\x1f]*$")]


# What sbatch would do otherwise than isoflop counts on.
_KEPT = (
    *("--array", "--clusters", "--help", "--job-name", "--no-requeue", "--nodes", "--ntasks", "--output", "--parsable"),
    *("--requeue", "--signal", "--test-only", "--usage", "--version", "--wait", "--wrap"),
)
_KEPT_SHORT = ("-a", "-M", "-h", "-J", "-N", "-n", "-o", "-V", "-W")


class SlurmSpec(Section):
    """Jobs of Slurm, each a pilot that trains one run after the other; words as sbatch(1) takes them."""

    jobs: int = Field(4, ge=1, le=10_000)
    """Jobs at once, as far as there are runs for them. --workers says it on the command line."""
    partition: _Word | None = None
    account: _Word | None = None
    qos: _Word | None = None
    time: _Word | None = None
    """Time limit of a job; runs that it cuts off checkpoint and go on in the next."""
    gres: _Word | None = None
    """Generic resources: "gpu:1"; "shard:2" for shares of a GPU where the site has them."""
    constraint: _Word | None = None
    cpus_per_task: int = Field(1, ge=1, le=4096)
    """CPU cores of a job; a sweep on cores trains a run on each."""
    mem: _Word | None = None
    """Memory of a job: "16G"; a bare number is MiB. Sizes that do not fit into it are dropped."""
    exclude: _Word | None = None
    """Nodes not to use."""
    sbatch: tuple[_Option, ...] = ()
    """Further options of sbatch: sbatch = ["--reservation=july"]."""
    python: _Word | None = None
    """Interpreter on the nodes that has isoflop; default: the one that runs this command."""
    setup: _Word | None = None
    """Shell script that a job reads (`.`) before it starts, relative to the sweep file: module load, ulimit."""
    lanes_per_device: int = Field(1, ge=1, le=48)
    """Runs at once on each GPU of a job: where the site has no shares of GPUs."""
    signal_seconds: int = Field(60, ge=10, le=65_535)
    """So long before the time limit runs checkpoint."""
    idle_seconds: float = Field(120, ge=5, le=86_400)
    """A job without work for so long ends: between two runs, or where `isoflop run` has died."""
    poll_seconds: float = Field(10, ge=0.2, le=3600)
    """How often Slurm is asked how its jobs are."""

    @model_validator(mode="after")
    def _trains_before_it_ends(self) -> Self:
        seconds = _seconds(self.time) if self.time is not None else None
        if seconds and seconds <= self.signal_seconds:  # 0 is no limit
            raise ValueError(
                f"time = {self.time!r} is {seconds} s, and runs checkpoint {self.signal_seconds} s (signal_seconds) "
                "before that: nothing would be trained"
            )
        return self

    @field_validator("sbatch")
    @classmethod
    def _leaves_jobs_as_they_are(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for option in value:
            word = option.partition("=")[0]
            whole = word.startswith("--")
            if any(kept.startswith(word) for kept in _KEPT) if whole else word[:2] in _KEPT_SHORT:
                raise ValueError(f"{word} is isoflop's own to say: leave it out")
        return value


def _seconds(limit: str) -> int | None:
    """What a time limit of sbatch comes to: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S; None for what is none of these."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", limit)
    if found is None:
        return None
    days, *parts = found.groups()
    numbers = [int(part) for part in parts if part is not None]
    if days is None and len(numbers) < 3:  # minutes first
        numbers.insert(0, 0)
    hours, minutes, seconds = (*numbers, 0, 0)[:3]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


_Resource = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.:-]*$")]
_Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class RaySpec(Section):
    """Actors of Ray, each a pilot that trains one run after the other."""

    address: _Word | None = None
    """The cluster: "head.example.org:6379", or "ray://head.example.org:10001"; default: RAY_ADDRESS."""
    jobs: int = Field(4, ge=1, le=10_000)
    """Actors at once, as far as there are runs for them. --workers says it on the command line."""
    num_gpus: float | None = Field(None, ge=0, le=64, allow_inf_nan=False)
    """GPUs of an actor, 0.5 for half of one; default: one where the cluster has GPUs and the sweep may use them."""
    num_cpus: float = Field(1, ge=0, le=4096, allow_inf_nan=False)
    """CPU cores of an actor; a sweep on cores trains a run on each."""
    memory: int | None = Field(None, ge=1)
    """Main memory of an actor, bytes: Ray counts it and bounds nothing, isoflop plans with it."""
    resources: dict[_Resource, _Amount] = Field(default_factory=dict)
    """The cluster's own resources that an actor takes: resources = { a100 = 1 }."""
    python: _Word | None = None
    """Interpreter on the nodes that has isoflop; default: the one of Ray's own workers there."""
    storage: Literal["auto", "shared", "copied"] = "auto"
    """Whether nodes see the artifacts under the same path, or get what they need copied; auto: each actor looks."""
    lanes_per_device: int = Field(1, ge=1, le=48)
    """Runs at once on each GPU of an actor."""
    grace_seconds: float = Field(45, ge=5, le=86_400)
    """What runs have to checkpoint when their actor is to go."""
    idle_seconds: float = Field(120, ge=5, le=86_400)
    """An actor without work for so long ends: between two runs, or where `isoflop run` has died."""
    poll_seconds: float = Field(5, ge=0.2, le=3600)
    """How often Ray is asked how its actors are."""

    @field_validator("num_gpus")
    @classmethod
    def _a_share_of_one_or_whole_ones(cls, value: float | None) -> float | None:
        if value is not None and value > 1 and value != int(value):
            raise ValueError("GPUs come whole beyond one")
        return value


class EngineSpec(Section):
    """How clusters are asked for room, a table for each: [engine.slurm], [engine.ray]."""

    slurm: SlurmSpec = SlurmSpec()
    ray: RaySpec = RaySpec()


def with_options(section: _S, options: Mapping[str, str]) -> _S:
    """The table with these options in place of its own, as text from a command line.

    Raises:
        IsoflopError: there is no such option, or not with that value.
    """
    fields = type(section).model_fields
    for name in options:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            known = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(fields)}."
            raise IsoflopError(f"--engine-option {name} is not an option of this engine.", hint=known)
    values: dict[str, object] = {name: _value(text, fields[name].annotation) for name, text in options.items()}
    try:
        return type(section).model_validate({**section.model_dump(), **values})
    except ValidationError as error:
        first = error.errors()[0]
        of_one = "".join(f" {name}={options.get(str(name), '')}" for name in first["loc"][:1])
        raise IsoflopError(
            f"--engine-option{of_one}: {first['msg'].removeprefix('Value error, ')}.",
            hint="docs/sweep-file.md says under [engine] what each key takes.",
        ) from None


def _value(text: str, kind: object) -> object:
    """What the text of an option stands for: a number where one is wanted, one word of a list, one entry of a table."""
    if get_origin(kind) is tuple:
        return (text,)
    kinds = {kind, *get_args(kind)}
    if get_origin(kind) is dict:
        name, _, amount = text.partition("=")
        return {name: _value(amount, float)}
    try:
        return int(text) if int in kinds else float(text) if float in kinds else text
    except ValueError:
        return text
