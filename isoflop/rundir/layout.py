"""What lies where in a folder of artifacts: run id -> job id -> paths. The one module that knows a name on disk.

    <artifacts>/peaks/            the devices' measured rates
    <artifacts>/compiled/         what torch's compiler made for GPUs
    <artifacts>/measuring/        what `isoflop plan --measure` writes while it measures, under a lock
    <artifacts>/sizes/            what probes of ladders printed, and what factories build
    <artifacts>/again/            runs that are trained once more, each as below, until their weights are had
    <artifacts>/<job_id>/
        job.json                  the job's RunSpecs and its `execution`
        claim.json                who works on it: host, pid, start time, attempt
        .lock                     held (flock) by whoever writes here; freed by the system at death
        heartbeat                 the step last reached; its age says whether the trainer lives
        events.jsonl              progress, append-only
        checkpoint/               <run_id>.safetensors to resume from, <run_id>.weights.safetensors to keep; <run_id>/
                                  is a program's own
        result-<run_id>.json      the outcome of one run
        keep                      there where a person had the run trained again: its weights are not freed
        attempt-K/log.txt         what attempt K printed
        attempt-K/result.json     what a program of the user's own says it came to
        attempt-K/process.json    that program's process
        attempt-K/fenced          why nothing of attempt K counts any more: it was given up while it may have lived on

    <artifacts>/pilots/<token>/   what was submitted to a cluster together: jobs.json has its names for the jobs
    <artifacts>/pilots/<token>/<number>/
        pilot.json                what the pilot is for; there before the cluster is asked for it
        orders.jsonl              its coordinator's, append-only
        answers.jsonl             its own, append-only
        heartbeat                 touched by a living pilot
        log.txt                   what it, or the cluster that was to start it, printed
        gone                      written by the coordinator once the pilot is over, with the reason
        coming                    in a mirror: written anew while what an order needs, or its answer tells of, is copied
        .copied                   held (flock) by who copies for it, where nodes share no storage with the coordinator

Everything but what is append-only is written to a temporary name and renamed into place.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from isoflop.run_spec import RUN_ID_LENGTH

# A run's id and a job's look alike: a job of one run has its run's.
RUN_ID = rf"[0-9a-f]{{{RUN_ID_LENGTH}}}"
RESULT_NAME = re.compile(rf"result-({RUN_ID})\.json")
# What isoflop writes directly in a job's directory, temporary names apart.
OWN_NAMES = re.compile(
    rf"job\.json|claim\.json|\.lock|heartbeat|keep|events\.jsonl|checkpoint|attempt-\d+|{RESULT_NAME.pattern}"
)
# The variable that tells a program of the user's own, and all that it starts, the job's directory.
RUN_DIR_VARIABLE = "ISOFLOP_RUN_DIR"
# In a job's directory: what only grows; and what a coordinator alone writes, or nobody but its own machine reads.
GROWING_NAMES = frozenset({"events.jsonl", "log.txt"})
COORDINATOR_NAMES = frozenset({"job.json", "keep", "fenced", ".lock"})
_STATE_SUFFIX, _WEIGHTS_SUFFIX = ".safetensors", ".weights.safetensors"


def job_id_of(run_id: str) -> str:
    """The job that a run belongs to. Every job is of one run, which names it (`Job.job_id`)."""
    return run_id


def job_dir(artifacts: Path, job_id: str) -> Path:
    """The directory of a job."""
    return artifacts / job_id


def dir_of_run(artifacts: Path, run_id: str) -> Path:
    """The directory of the job that a run belongs to."""
    return job_dir(artifacts, job_id_of(run_id))


def dirs_of_runs(artifacts: Path, run_ids: Iterable[str]) -> dict[str, Path]:
    """The same for many runs, of those whose job has a directory; the folder is listed once.

    Raises:
        OSError: the folder is there and cannot be read.
    """
    try:
        names = {path.name for path in artifacts.iterdir()}
    except FileNotFoundError:
        return {}
    return {run_id: dir_of_run(artifacts, run_id) for run_id in run_ids if job_id_of(run_id) in names}


def peaks_dir(artifacts: Path) -> Path:
    """Where the devices' measured rates lie."""
    return artifacts / "peaks"


def compiled_dir(artifacts: Path) -> Path:
    """Where torch's compiler keeps what it makes."""
    return artifacts / "compiled"


def sizes_dir(artifacts: Path) -> Path:
    """Where what probes of ladders printed, and what factories build, is remembered."""
    return artifacts / "sizes"


def pilots_dir(artifacts: Path) -> Path:
    """Where the mailboxes of pilots lie."""
    return artifacts / "pilots"


def again_dir(artifacts: Path) -> Path:
    """Where runs are trained once more."""
    return artifacts / "again"


def measuring_dir(artifacts: Path) -> Path:
    """What trials of shapes write to, and what tells that one command makes them."""
    return artifacts / "measuring"


def checkpoint_path(checkpoints: Path, run_id: str) -> Path:
    """Where a run's state lies while it trains."""
    return checkpoints / f"{run_id}{_STATE_SUFFIX}"


def weights_path(checkpoints: Path, run_id: str) -> Path:
    """Where a completed run's weights lie."""
    return checkpoints / f"{run_id}{_WEIGHTS_SUFFIX}"


def checkpoints_in(checkpoints: Path) -> list[Path]:
    """The states to resume from in the folder, weights apart."""
    return [path for path in checkpoints.glob(f"*{_STATE_SUFFIX}") if not path.name.endswith(_WEIGHTS_SUFFIX)]


@dataclass(frozen=True)
class JobPaths:
    """Paths in one job's directory."""

    path: Path

    @property
    def job_path(self) -> Path:
        """The runs and how they are computed."""
        return self.path / "job.json"

    @property
    def lock_path(self) -> Path:
        """Held by whoever writes here."""
        return self.path / ".lock"

    @property
    def claim_path(self) -> Path:
        """Where the worker says who it is."""
        return self.path / "claim.json"

    @property
    def heartbeat_path(self) -> Path:
        """Touched by a living trainer."""
        return self.path / "heartbeat"

    @property
    def events_path(self) -> Path:
        """Progress, one JSON object per line."""
        return self.path / "events.jsonl"

    @property
    def keep_path(self) -> Path:
        """There where the weights of the job's runs are kept whatever the sweep file says."""
        return self.path / "keep"

    @property
    def checkpoint_dir(self) -> Path:
        """What a later attempt resumes from, and weights."""
        return self.path / "checkpoint"

    def checkpoint_path(self, run_id: str) -> Path:
        """Where a run's state lies while it trains."""
        return checkpoint_path(self.checkpoint_dir, run_id)

    def weights_path(self, run_id: str) -> Path:
        """Where a completed run's weights lie."""
        return weights_path(self.checkpoint_dir, run_id)

    def program_dir(self, run_id: str) -> Path:
        """Where a program of the user's own keeps what it goes on from, and its weights."""
        return self.checkpoint_dir / run_id

    def keeps_state(self, run_id: str) -> bool:
        """Whether there is something that a later attempt can go on from."""
        program = self.program_dir(run_id)
        return self.checkpoint_path(run_id).exists() or (program.is_dir() and any(program.iterdir()))

    def result_path(self, run_id: str) -> Path:
        """The outcome of a run of this job."""
        return self.path / f"result-{run_id}.json"

    def attempt_dir(self, attempt: int) -> Path:
        """Files of one attempt."""
        return self.path / f"attempt-{attempt}"

    def program_result_path(self, attempt: int) -> Path:
        """What a program of the user's own says its attempt came to."""
        return self.attempt_dir(attempt) / "result.json"

    def program_process_path(self, attempt: int) -> Path:
        """Which process the attempt started, so that a later one can end it where it outlived its worker."""
        return self.attempt_dir(attempt) / "process.json"

    def log_path(self, attempt: int) -> Path:
        """What the attempt printed."""
        return self.attempt_dir(attempt) / "log.txt"

    def fence_path(self, attempt: int) -> Path:
        """There where nothing of the attempt counts any more."""
        return self.attempt_dir(attempt) / "fenced"

    @property
    def last_attempt(self) -> int:
        """Number of the latest attempt that was started, 0 if none."""
        numbers = [int(p.name.removeprefix("attempt-")) for p in self.path.glob("attempt-[0-9]*") if p.is_dir()]
        return max(numbers, default=0)


@dataclass(frozen=True)
class PilotPaths:
    """Paths in the folder of one pilot."""

    path: Path

    @property
    def pilot_path(self) -> Path:
        """What the pilot is for."""
        return self.path / "pilot.json"

    @property
    def orders_path(self) -> Path:
        """What its coordinator tells it."""
        return self.path / "orders.jsonl"

    @property
    def answers_path(self) -> Path:
        """What it tells its coordinator."""
        return self.path / "answers.jsonl"

    @property
    def heartbeat_path(self) -> Path:
        """Touched by a living pilot."""
        return self.path / "heartbeat"

    @property
    def log_path(self) -> Path:
        """What it, or the cluster that was to start it, printed."""
        return self.path / "log.txt"

    @property
    def gone_path(self) -> Path:
        """There once it is over."""
        return self.path / "gone"

    @property
    def coming_path(self) -> Path:
        """Written anew, in a mirror, while something is copied: the pilot is not without work."""
        return self.path / "coming"

    @property
    def copying_lock_path(self) -> Path:
        """Held by who copies between it and a mirror of it."""
        return self.path / ".copied"


def submission_path(folder: Path) -> Path:
    """The cluster's names for the jobs of the pilots in `folder`."""
    return folder / "jobs.json"
