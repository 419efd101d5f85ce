"""JobFile: what job.json says."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from isoflop.run_spec import Job, RunSpec
from isoflop.rundir.execution import Execution


class JobFile(BaseModel):
    """Content of job.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    runs: tuple[RunSpec, ...] = Field(min_length=1)
    execution: Execution

    @property
    def job(self) -> Job:
        """The runs as an engine sees them."""
        return Job(self.runs)
