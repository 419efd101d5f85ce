"""[engine]: how clusters are asked for room; nothing here changes a run, and nothing of it is recorded."""

import difflib
from collections.abc import Mapping
from typing import Annotated, TypeVar, get_origin

from pydantic import Field, ValidationError

from isoflop.errors import IsoflopError
from isoflop.spec.section import Section

_S = TypeVar("_S", bound=Section)
# A word for a command line that no shell reads; it cannot be taken for an option.
_Word = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\s\x00-\x1f-][^\x00-\x1f]*$")]
_Option = Annotated[str, Field(min_length=3, max_length=1000, pattern=r"^--?[A-Za-z][^\x00-\x1f]*$")]


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


class EngineSpec(Section):
    """How clusters are asked for room, a table for each: [engine.slurm]."""

    slurm: SlurmSpec = SlurmSpec()


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
        name = str(first["loc"][0])
        raise IsoflopError(
            f"--engine-option {name}={options.get(name, '')}: {first['msg']}.",
            hint="docs/clusters.md lists the options and what they take.",
        ) from None


def _value(text: str, kind: object) -> object:
    """What the text of an option stands for: a number where a number is wanted, one word of a list of words."""
    if get_origin(kind) is tuple:
        return (text,)
    try:
        return int(text) if kind is int else float(text) if kind is float else text
    except ValueError:
        return text
