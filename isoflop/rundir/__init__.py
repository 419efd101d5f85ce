"""The run directory: how a coordinator and a trainer talk, whatever the engine.

    <artifacts>/<job_id>/
        job.json              the job's RunSpecs and its `execution`
        claim.json            who works on it: host, pid, start time, attempt
        .lock                 held (flock) by whoever writes here; freed by the system at death
        heartbeat             the step last reached; its age says whether the trainer lives
        events.jsonl          progress, append-only
        checkpoint/           state to resume from
        result-<run_id>.json  the outcome of one run
        attempt-K/log.txt     what attempt K printed

Everything but the append-only events is written to a temporary name and renamed into place.
"""

from isoflop.rundir.assignment import Assignment
from isoflop.rundir.claim import Claim, own_claim
from isoflop.rundir.execution import DeviceKind, Execution
from isoflop.rundir.job_file import JobFile
from isoflop.rundir.run_dir import WEIGHTS_SUFFIX, RunDir

__all__ = ["WEIGHTS_SUFFIX", "Assignment", "Claim", "DeviceKind", "Execution", "JobFile", "RunDir", "own_claim"]
