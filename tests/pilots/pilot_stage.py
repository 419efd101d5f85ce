"""A pilot in the test's own process, with workers that do what a script says, on a clock of their own."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from isoflop.engine.local.local_engine import LocalEngine
from isoflop.engine.pilots.mailbox import AnyAnswer, EndedAnswer, EndOrder, Mailbox, PilotFile, StartOrder
from isoflop.engine.pilots.pilot import Pilot
from isoflop.engine.protocol import Launch, Preload, Slot, WorkerRef
from isoflop.errors import IsoflopError
from isoflop.rundir import Assignment, Execution, JobFile, RunDir
from tests.run_examples import RUN
from tests.scripted_engine import Clock, ScriptedEngine, Worker

CONTENT = PilotFile(
    sweep="s", database="/s.db", engine="slurm", device="cpu", devices_per_run=1, lanes_per_device=1, idle_seconds=10,
    grace_seconds=6, submitted_at=1.0,
)  # fmt: skip
RUNS = [RUN.model_copy(update={"trainer": "simulated", "seed": seed}) for seed in range(3)]
LANES = [Slot("cuda", f"GPU {number}", str(number), 80e9, bfloat16=True) for number in range(3)]


class StagedEngine(ScriptedEngine):
    """Has a test do something at a second of the clock."""

    def __init__(self) -> None:
        super().__init__(LANES, {}, Clock())
        self.refusal: IsoflopError | None = None
        self._acts: list[tuple[float, Callable[[], object]]] = []

    def does(self, *acts: str, worker: int = 0) -> None:
        self._script[RUNS[worker].run_id] += acts

    def at(self, second: float, act: Callable[[], object]) -> None:
        self._acts.append((second, act))

    def start(self, launches: Sequence[Launch]) -> list[WorkerRef | None]:
        if self.refusal is not None:
            raise self.refusal
        return super().start(launches)

    def wait(self, seconds: float) -> None:
        super().wait(seconds)
        assert self.clock.now < 100, "the pilot does not end"
        for second, act in list(self._acts):
            if second <= self.clock.now:
                self._acts.remove((second, act))
                act()


class Stage:
    """A pilot, its mailbox and its workers; worker K trains run K on lane K."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.box = Mailbox(folder / "0")
        self.box.create(CONTENT)
        self.engine = StagedEngine()
        self.pilot = Pilot(self.box, CONTENT, cast(LocalEngine, self.engine), self.engine.clock)

    def run_dir(self, worker: int) -> RunDir:
        return RunDir(self.folder / RUNS[worker].run_id)

    def order(self, worker: int) -> None:
        run_dir, folder = self.run_dir(worker), self.folder
        execution = Execution(device_kind="cpu", dtype="float32", n_threads=1, micro_batch_sequences=1)
        run_dir.write_job(JobFile(runs=(RUNS[worker],), execution=execution))
        run_dir.attempt_dir(1).mkdir()
        assignment = Assignment(
            job_dir=run_dir.path, attempt=1, corpora=folder, peaks=folder, compiled=folder, coordinator_pid=1,
            visible_device="", git_commit=None, git_dirty=None,
        )  # fmt: skip
        self.box.order(StartOrder(worker=worker, lane=worker, preload=Preload.NOTHING, assignment=assignment))

    def end(self) -> None:
        self.box.order(EndOrder(why="enough"))

    def answers(self) -> list[AnyAnswer]:
        return self.box.answers(0)[0]

    def ended(self) -> dict[int, EndedAnswer]:
        found = [answer for answer in self.answers() if isinstance(answer, EndedAnswer)]
        assert len({answer.worker for answer in found}) == len(found), "an end was told twice"
        return {answer.worker: answer for answer in found}

    def worker(self, number: int) -> Worker:
        """The worker that was started on this lane."""
        [found] = [worker for worker in self.engine.started if worker.launch.slot == number]
        return found
