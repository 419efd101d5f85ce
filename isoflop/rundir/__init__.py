"""The run directory: how a coordinator and a trainer talk, whatever the engine. What lies where: `layout`."""

from isoflop.rundir.assignment import Assignment
from isoflop.rundir.claim import Claim, own_claim
from isoflop.rundir.execution import DeviceKind, Execution
from isoflop.rundir.job_file import JobFile
from isoflop.rundir.run_dir import RunDir

__all__ = ["Assignment", "Claim", "DeviceKind", "Execution", "JobFile", "RunDir", "own_claim"]
