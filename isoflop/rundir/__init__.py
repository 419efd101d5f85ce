"""The run directory: how a coordinator and a trainer talk, whatever the engine. What lies where: `layout`."""

from isoflop.rundir.claim import Claim, own_claim
from isoflop.rundir.exit_codes import ExitCode
from isoflop.rundir.job_file import Assignment, DeviceKind, Execution, JobFile, ProgramExecution, ProgramPlace
from isoflop.rundir.run_dir import RunDir

__all__ = [
    "Assignment",
    "Claim",
    "DeviceKind",
    "Execution",
    "ExitCode",
    "JobFile",
    "ProgramExecution",
    "ProgramPlace",
    "RunDir",
    "own_claim",
]
