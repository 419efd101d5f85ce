"""What a new plan would leave behind: runs that were trained and that the sweep would ask for no more."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from isoflop.errors import IsoflopError
from isoflop.plan.types import Plan
from isoflop.rundir import RunDir
from isoflop.rundir.layout import dir_of_run, dirs_of_runs
from isoflop.status.work import latest_report
from isoflop.store import PlanChanges, RunCell, Store, run_cells
from isoflop.sweep.planning import PlannedSweep
from isoflop.units import format_flops, plural

NOTHING_WRITTEN = "Nothing was written."
WAYS_ON = (
    "Undo the change to keep these runs, give the changed sweep another name to keep both, or repeat the command "
    "with --replan."
)
WAYS_ON_OF_DROPPED = "`isoflop run` finishes these runs; --drop-suggested --replan gives them up."
# Changed keys that a sentence names.
_NAMED = 3

# Keys that isoflop fills in, and what has changed where they have.
_CODE = {"command.code_hash": "the program's files", "model.factory_hash": "the factory's file"}


@dataclass(frozen=True)
class LeftBehind:
    """What is at stake when a sweep is planned anew.

    Attributes:
        n_completed: runs with a loss.
        n_begun: runs without a result that have a checkpoint to go on from.
        n_runs: runs of the plan so far.
        flops: training FLOPs spent on both.
        why: what changed, a few words.
        ways_on: what can be done about it.
    """

    sweep: str
    n_completed: int
    n_begun: int
    n_runs: int
    flops: float
    why: str
    ways_on: str = WAYS_ON

    @property
    def sentence(self) -> str:
        """What would be lost, and why."""
        done = [
            plural(self.n_completed, "trained run") if self.n_completed else "",
            plural(self.n_begun, "half-trained run") if self.n_begun else "",
        ]
        what = " and ".join(filter(None, done))
        return (
            f"This plan of {self.sweep} leaves behind {what} of {self.n_runs} "
            f"({format_flops(self.flops)} FLOPs): {self.why}."
        )

    def refusal(self) -> IsoflopError:
        """The error of a plan that nobody agreed to."""
        return IsoflopError(f"{self.sentence} {NOTHING_WRITTEN}", hint=self.ways_on)


def left_behind(
    store: Store, plan: Plan, changes: PlanChanges | None, artifacts: Path, *, dropped: bool = False
) -> LeftBehind | None:
    """What `plan` would leave behind in the database and in the run directories; None for nothing that was trained.

    `dropped`: whether suggested runs were taken out of it because somebody asked for that.

    A run that another sweep asks for is left behind too: this sweep's fit loses it. Simulated runs were not trained.
    """
    if changes is None or not changes.no_longer_asked_for or plan.simulated:
        return None
    runs = {cell.run_id: cell for cell in run_cells(store.cells(plan.sweep))}
    gone = [runs[run.run_id] for run in changes.no_longer_asked_for]
    completed = {cell.run_id: cell.completed.spent_flops for cell in gone if cell.completed}
    begun = dict(_begun((cell for cell in gone if cell.status is None), artifacts))
    if not completed and not begun:
        return None
    return LeftBehind(
        sweep=plan.sweep,
        n_completed=len(completed),
        n_begun=len(begun),
        n_runs=len(runs),
        flops=sum(completed.values()) + sum(begun.values()),
        why=why_changed(changes, dropped=dropped),
        ways_on=WAYS_ON if changes.keys or changes.corpus or not dropped else WAYS_ON_OF_DROPPED,
    )


def refuse_to_leave_gpus(planned: PlannedSweep, artifacts: Path) -> None:
    """Nothing, unless the sweep would go on on cores with runs that it began on GPUs, which others use now.

    They would begin anew there, and their losses would not compare with the others'.

    Raises:
        IsoflopError: it would.
    """
    if not planned.busy or planned.slots[0].kind != "cpu":
        return
    dirs = dirs_of_runs(artifacts, planned.plan.runs)
    begun = [run_id for run_id, path in dirs.items() if RunDir(path).keeps_state(run_id)]
    jobs = [RunDir(dirs[run_id]).read_job() for run_id in begun]
    n_left = sum(job is not None and job.execution.device_kind == "cuda" for job in jobs)
    if n_left:
        busy = ", ".join(f"{gpu.index} ({gpu.name})" for gpu in planned.busy)
        raise IsoflopError(
            f"{plural(n_left, 'run')} of {planned.plan.sweep} began on a GPU, and other programs compute on every one "
            f"now: {busy}.",
            hint=f"Wait for them; or --devices {planned.busy[0].index} or --share-devices trains there beside them; "
            "--device cpu begins these runs anew on cores.",
        )


def _begun(cells: Iterable[RunCell], artifacts: Path) -> Iterator[tuple[str, float]]:
    """Pending runs with a checkpoint, each with the FLOPs it has come to."""
    for cell in cells:
        run_dir = RunDir(dir_of_run(artifacts, cell.run_id))
        if run_dir.keeps_state(cell.run_id):
            at = latest_report(run_dir, cell.run_id, this_attempt=False)
            yield cell.run_id, float(at.n_tokens * cell.shape.flops_per_token) if at else 0.0


def why_changed(changes: PlanChanges, *, dropped: bool = False) -> str:
    """Why the plan is another one: keys of the sweep file, the corpus, runs `dropped`, or what else decides."""
    reasons = ["--drop-suggested takes suggested runs out of it"] if dropped else []
    keys = {name: change for name, change in (changes.keys or {}).items() if name not in _CODE}
    if keys:
        reasons.append(f"{_listed(keys)} changed in the sweep file")
    reasons += [f"{what} changed ({name})" for name, what in _CODE.items() if name in (changes.keys or {})]
    if changes.corpus is not None:
        reasons.append(f"the corpus changed (fingerprint {changes.corpus[0]} -> {changes.corpus[1]})")
    return " and ".join(reasons) or "this machine or this version of isoflop plans other runs for the same sweep file"


def _listed(keys: Mapping[str, object]) -> str:
    names = list(keys)
    more = f" and {len(names) - _NAMED} more keys" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
