"""FLOPs that one command trained: those of its results, and those that checkpoints of interrupted runs keep."""

from collections.abc import Iterable
from pathlib import Path

from isoflop.engine.notices import AttemptEnded, AttemptStarted
from isoflop.result import RunResult
from isoflop.run_spec import AnyRun, Job
from isoflop.rundir import RunDir
from isoflop.rundir.kept_state import kept_tokens
from isoflop.rundir.layout import dir_of_run


class Spending:
    """Adds up what attempts train, from the state that each begins with to its result or to the state it leaves.

    Attributes:
        flops: so far. What was computed and is in neither, as by a killed worker since its last checkpoint, is not in.
    """

    def __init__(self, artifacts: Path) -> None:
        self.flops = 0.0
        self._artifacts = artifacts
        self._jobs: dict[str, tuple[AnyRun, ...]] = {}
        # FLOPs that each run had come to when it was looked at last, before an attempt or after one.
        self._kept: dict[str, float] = {}

    def expect(self, jobs: Iterable[Job]) -> None:
        """Note what the jobs go on from, none of which has been started."""
        for job in jobs:
            self._jobs[job.job_id] = job.runs
            self._kept |= {run.run_id: self._state(run) for run in job.runs}

    def begin(self, event: AttemptStarted) -> None:
        """See whether the attempt begins anew; what it has come to by now, it has come to itself.

        A run that has ended before its start was heard of has no state any more, and went on from what it had.
        """
        for run in self._jobs[event.job_id]:
            if RunDir(dir_of_run(self._artifacts, run.run_id)).read_result(run.run_id) is None:
                self._kept[run.run_id] = min(self._kept[run.run_id], self._state(run))

    def finish(self, result: RunResult) -> None:
        """Count a result of this command."""
        self._add(result.run_id, result.spent_flops)

    def end(self, event: AttemptEnded) -> None:
        """Count what the attempt leaves, of runs without a result."""
        for run in self._jobs[event.job_id]:
            self._add(run.run_id, self._state(run))

    def _add(self, run_id: str, flops: float) -> None:
        self.flops += max(0.0, flops - self._kept[run_id])
        self._kept[run_id] = max(flops, self._kept[run_id])

    def _state(self, run: AnyRun) -> float:
        """FLOPs in the checkpoint of a run; a simulated one has none."""
        if run.trainer == "simulated":
            return 0.0
        state = RunDir(dir_of_run(self._artifacts, run.run_id)).checkpoint_path(run.run_id)
        return float(kept_tokens(state, run.run_id) * run.shape.flops_per_token)
