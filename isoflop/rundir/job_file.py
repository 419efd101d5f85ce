"""What a worker is told: the job with its execution (job.json), and the assignment it is started with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from isoflop.run_spec import AnyRun, Job
from isoflop.step_library import Instructions

DeviceKind = Literal["cpu", "cuda"]


class Execution(BaseModel):
    """Everything that can change a bit of a result, fixed before the first step and reused by later attempts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device_kind: DeviceKind
    dtype: Literal["float32", "bfloat16"] = Field(description="of matrix products; weights stay float32")
    n_threads: int = Field(ge=1, description="CPU threads of the trainer")
    attention: Literal["default", "math"] = Field("default", description="kernel of the attention product")
    step: Literal["eager", "graph", "native"] = Field(
        "eager",
        description="an optimizer step operation by operation, recorded and replayed as one CUDA graph, or in C++",
    )
    instructions: Instructions = Field("", description="of the CPU, for the step in C++")
    compile: bool = Field(False, description="the model's blocks fused by torch's compiler, inside the graph")
    micro_batch_sequences: int = Field(ge=1, description="sequences per forward pass of a process")
    eval_batch_tokens: int = Field(8192, ge=1, description="tokens per forward pass of the held-out loss")
    world_size: int = Field(1, ge=1, description="processes that share each batch, one device or core each")

    @model_validator(mode="after")
    def _ranks_step_plainly(self) -> "Execution":
        if self.world_size > 1 and self.step != "eager":
            raise ValueError("several processes take their steps operation by operation")
        return self

    def smaller(self) -> "Execution | None":
        """The same with half the tokens per forward pass; None where it is one sequence already."""
        if self.micro_batch_sequences == 1:
            return None
        halves = {name: max(1, getattr(self, name) // 2) for name in ("micro_batch_sequences", "eval_batch_tokens")}
        return self.model_copy(update=halves)


class ProgramExecution(BaseModel):
    """What isoflop decides of how a program of the user's own computes; the rest is the program's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device_kind: DeviceKind
    world_size: int = Field(1, ge=1, description="GPUs, or CPU cores, that the program is given")


class JobFile(BaseModel):
    """Content of job.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    runs: tuple[AnyRun, ...] = Field(min_length=1)
    execution: Execution | ProgramExecution

    @property
    def job(self) -> Job:
        """The runs as an engine sees them."""
        return Job(self.runs)


@dataclass(frozen=True)
class Assignment:
    """What an engine tells a worker.

    Attributes:
        job_dir: the run directory.
        attempt: number of this attempt, from 1.
        corpora: folder of tokenised corpora.
        peaks: folder of the devices' measured rates.
        compiled: folder of what torch's compiler writes.
        coordinator_pid: process that the worker must not outlive.
        visible_device: value of CUDA_VISIBLE_DEVICES, a device per process of the run; "" hides every GPU.
        device_name: what the engine calls the device.
        git_commit, git_dirty: state of the sweep's source tree, None outside a repository.
        probes: whether a trained model is asked the built-in probes.
        program: of a sweep that a program of the user's own trains, or whose models a factory of the user's own builds.
        engine, engine_job: what started the worker, and its own name for where it runs; "" on this machine.
    """

    job_dir: Path
    attempt: int
    corpora: Path
    peaks: Path
    compiled: Path
    coordinator_pid: int
    visible_device: str
    git_commit: str | None
    git_dirty: bool | None
    device_name: str = ""
    probes: bool = False
    program: "ProgramPlace | None" = None
    engine: str = ""
    engine_job: str = ""


@dataclass(frozen=True)
class ProgramPlace:
    """Where and how long a program of the user's own may work, or where a factory of the user's own lies.

    Attributes:
        folder: the program starts there, the factory is looked for there.
        seconds: after these it is stopped; None = never.
        grace_seconds: after these it is killed, once it was asked to stop.
    """

    folder: Path
    seconds: float | None
    grace_seconds: float
