"""Whether a job whose worker has ended is tried again, how, and what is recorded of it where it is not."""

import platform
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from isoflop import __version__
from isoflop.engine.attempt import Attempt
from isoflop.engine.execution import GitState, shrink, with_plainer_step
from isoflop.engine.notices import ASKED_TO_STOP, AttemptEnded, Outcome
from isoflop.engine.protocol import Ended
from isoflop.errors import IsoflopError
from isoflop.result import Provenance, RunResult, Status
from isoflop.run_spec import AnyRun, Job
from isoflop.rundir import ExitCode
from isoflop.shape import Shape

# A worker that dies without a result (killed, hung) is tried again from its checkpoint this often in all.
MAX_DEATHS = 3
# One that somebody else asks to stop, as a program can its own worker, goes on from a checkpoint this often in all.
MAX_STOPS = 10
_ANOTHER = "another process trains it"
# By what a job's steps were to be taken with.
_UNAVAILABLE = {
    "compiler": "the compiled step failed (log); next without torch's compiler",
    "graph": "the step could not be recorded as a CUDA graph; next without",
    "native": "the step in C++ is not installed for that CPU; next with torch's",
}
_INTERRUPTED: dict[int | None, str] = {ExitCode.CHECKPOINTED: ASKED_TO_STOP, ExitCode.BUSY: _ANOTHER}


@dataclass(frozen=True)
class Verdict:
    """What became of an attempt, see `AttemptEnded`.

    Attributes:
        obstacle: what every other run would meet too, so that all must stop; None for nothing.
    """

    outcome: Outcome
    reason: str | None = None
    obstacle: IsoflopError | None = None


class RetryPolicy:
    """Remembers how often a job's workers have died, and with how few sequences at once a shape was found to fit.

    Attributes:
        may_compile: False once torch's compiler has failed: it is the machine's, not the job's.
        unpacked: jobs, by id, that need a GPU to themselves: memory ran out beside others.
    """

    def __init__(self) -> None:
        self._deaths: Counter[str] = Counter()
        self._stops: Counter[str] = Counter()
        self._reached: dict[str, tuple[int, int]] = {}  # the furthest step of an evicted job, and vain attempts since
        self._fitting: dict[Shape, int] = {}
        self.may_compile = True
        self.unpacked: set[str] = set()

    def sequences_at_once(self, job: Job) -> int | None:
        """At most so many sequences per forward pass: what the job's shapes were found to fit with; None = no limit."""
        return min((self._fitting[run.shape] for run in job.runs if run.shape in self._fitting), default=None)

    def judge(self, attempt: Attempt, ended: Ended, *, stopping: bool, device_failed: bool = False) -> Verdict:
        """What the end of the attempt means; `stopping` where every worker was told to end.

        Where memory ran out the job's execution is made smaller. A death with which a device was taken out does not
        count for the job.
        """
        if not attempt.missing:
            return Verdict("done") if attempt.has_own_result else Verdict("interrupted", _ANOTHER)
        if ended.exit_code == ExitCode.OBSTACLE:
            obstacle = attempt.obstacle or _unknown_obstacle(attempt)
            return Verdict("interrupted", obstacle.message, obstacle)
        if not stopping and ended.evicted is not None and _was_stopped(ended):
            return self._evicted(attempt, ended, ended.evicted)
        if stopping or ended.exit_code in _INTERRUPTED:
            if not stopping and ended.exit_code == ExitCode.CHECKPOINTED and self._is_stopped_again(attempt.job):
                return Verdict("given_up", f"the worker was told to stop {MAX_STOPS} times, and not by isoflop")
            return Verdict("interrupted", _INTERRUPTED.get(ended.exit_code, ended.how))
        return self._without_result(attempt, ended, device_failed=device_failed)

    def _evicted(self, attempt: Attempt, ended: Ended, why: str) -> Verdict:
        """What it means to have had to go: nothing, for a worker that was not begun."""
        return self._goes_on(attempt, "interrupted", why) if ended.begun else Verdict("interrupted", why)

    def _goes_on(self, attempt: Attempt, outcome: Outcome, why: str) -> Verdict:
        """Another attempt, unless the job comes no further from one allocation to the next."""
        job_id, step = attempt.job.job_id, attempt.latest.step if attempt.latest is not None else 0
        furthest, vain = self._reached.get(job_id, (-1, 0))
        vain = 0 if step > furthest else vain + 1
        self._reached[job_id] = max(step, furthest), vain
        if vain < MAX_STOPS:
            return Verdict(outcome, why)
        return Verdict("given_up", f"{why}; {MAX_STOPS} times in a row the run came no further than step {furthest}")

    def forgive(self, job_ids: Iterable[str]) -> None:
        """Take one death of each of these jobs back: it was their device's."""
        self._deaths.subtract(job_id for job_id in job_ids if self._deaths[job_id])

    def _is_stopped_again(self, job: Job) -> bool:
        """Whether others have stopped the job's workers too often for it to come to an end."""
        self._stops[job.job_id] += 1
        return self._stops[job.job_id] >= MAX_STOPS

    def _without_result(self, attempt: Attempt, ended: Ended, *, device_failed: bool) -> Verdict:
        """What a worker's end means that nobody asked for: another attempt, changed where that helps, or none."""
        if device_failed:
            return Verdict("died", _death(attempt, ended))
        if attempt.hung is not None:
            return self._died(attempt, ended)
        if ended.exit_code == ExitCode.OUT_OF_MEMORY or ended.out_of_memory:
            return self._with_less_memory(attempt)
        if ended.with_its_place:
            return self._goes_on(attempt, "died", _death(attempt, ended))
        if ended.exit_code == ExitCode.STEP_UNAVAILABLE and (missing := with_plainer_step(attempt.run_dir)) is not None:
            self.may_compile = self.may_compile and missing != "compiler"
            return Verdict("not_recorded", _UNAVAILABLE[missing])
        return self._died(attempt, ended)

    def _with_less_memory(self, attempt: Attempt) -> Verdict:
        """Have the job tried again with fewer sequences per forward pass, or first without others beside it.

        Fewer sequences round otherwise, and what runs beside a run changes nothing of its numbers.
        """
        if attempt.n_packed > 1 and attempt.job.job_id not in self.unpacked:
            self.unpacked.add(attempt.job.job_id)
            return Verdict("out_of_memory", "ran out of memory beside other runs on its GPU; next without them")
        halved = shrink(attempt.run_dir)
        if halved is None:
            return Verdict("interrupted", _ANOTHER)
        before, after = halved
        if after is None:
            batch = f" with {before} sequence per forward pass" if before else ""
            return Verdict("given_up", f"ran out of memory{batch}")
        for run in attempt.job.runs:
            self._fitting[run.shape] = after
        reason = f"ran out of memory with {before} sequences per forward pass; next with {after}"
        return Verdict("out_of_memory", reason)

    def _died(self, attempt: Attempt, ended: Ended) -> Verdict:
        self._deaths[attempt.job.job_id] += 1
        deaths = self._deaths[attempt.job.job_id]
        if deaths < MAX_DEATHS:
            return Verdict("died", _death(attempt, ended))
        return Verdict("given_up", f"{_death(attempt, ended)}, {deaths} times")


def _was_stopped(ended: Ended) -> bool:
    """Whether the worker, or its program, came to no end of its own: it checkpointed, was killed, or nobody knows."""
    code = ended.exit_code
    return code is None or code < 0 or code in (ExitCode.CHECKPOINTED, ExitCode.UNASKED)


def _death(attempt: Attempt, ended: Ended) -> str:
    """How the worker, or the program that it watched, ended without a result."""
    if attempt.hung is not None:
        return f"the worker {attempt.hung}"
    if ended.exit_code == ExitCode.UNASKED:
        return f"the program exited with {ExitCode.CHECKPOINTED}, to go on later, though nobody had asked it to stop"
    how = "met an error of its GPU (log)" if ended.exit_code == ExitCode.DEVICE_FAILED else ended.how
    return f"the worker {how} without a result"


def no_device_left(names: Sequence[str]) -> IsoflopError:
    """Why a sweep stops whose devices have all been taken out."""
    return IsoflopError(
        f"No device is left to train on: different runs in a row crashed on {' and on '.join(names)}.",
        hint="See the logs of the attempts above, `nvidia-smi` and the kernel's log (`dmesg`, Xid); the runs stay "
        "pending, and the same command goes on.",
    )


def _unknown_obstacle(attempt: Attempt) -> IsoflopError:
    hint = f"See {attempt.run_dir.log_path(attempt.number)}."
    return IsoflopError("A worker met an obstacle it could not report.", hint=hint)


def attempt_ended(attempt: Attempt, verdict: Verdict) -> AttemptEnded:
    """The attempt's end, to be told now."""
    return AttemptEnded(
        job_id=attempt.job.job_id,
        run_ids=tuple(run.run_id for run in attempt.job.runs),
        attempt=attempt.number,
        worker=attempt.slot,
        host=attempt.place.host,
        device=attempt.device,
        started_at=attempt.started_at,
        ended_at=time.time(),
        at=time.monotonic(),
        outcome=verdict.outcome,
        reason=verdict.reason,
        log_path=attempt.run_dir.log_path(attempt.number),
        engine=attempt.place.engine,
        engine_job=attempt.place.engine_job,
    )


def failed_result(run: AnyRun, attempt: Attempt, reason: str, git: GitState) -> RunResult:
    """The result of a run whose workers died without one; it counts what the last attempt said it had done."""
    latest = attempt.latest if attempt.latest is not None and attempt.latest.run_id == run.run_id else None
    n_tokens = latest.n_tokens if latest else 0
    flops = float(n_tokens * run.shape.flops_per_token)
    begun = attempt.run_dir.read_job()
    return RunResult(
        run_id=run.run_id,
        status=Status.FAILED,
        reason=reason,
        attempt=attempt.number,
        simulated=run.trainer == "simulated",
        n_steps=latest.step if latest else 0,
        n_tokens=n_tokens,
        achieved_flops=flops,
        spent_flops=0.0 if run.trainer == "simulated" else flops,
        seconds=max(0.0, time.monotonic() - attempt.begun),
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        execution=begun.execution.model_dump(mode="json") if begun is not None else {},
        provenance=Provenance(
            host=attempt.place.host,
            device=attempt.device,
            isoflop_version=__version__,
            python_version=platform.python_version(),
            git_commit=git.commit,
            git_dirty=git.dirty,
            engine=None if attempt.place.engine == "local" else attempt.place.engine,
            engine_job=attempt.place.engine_job or None,
        ),
    )
