"""Frees weights that no sweep keeps: after each result, and once over all runs at the end."""

from pathlib import Path

from isoflop.artifacts.directory_locks import alone_in
from isoflop.artifacts.other_databases import OtherDatabases, notes, read_other_databases
from isoflop.artifacts.retention import Ranking, leaves_weights, weights_any_keeps
from isoflop.errors import IsoflopError
from isoflop.result import RunResult, Status
from isoflop.rundir import RunDir
from isoflop.rundir.layout import dir_of_run
from isoflop.spec import Keep
from isoflop.store import Store, run_cells


class WeightKeeper:
    """Keeps to a sweep's `[run] keep` while the sweep runs, for the process that holds its lock.

    Nobody else can then change what this sweep asks for, excludes or records, so its ranking is read once and kept in
    memory. What other sweeps want of a run that they share is asked of the database, and of every other database that
    trains into the same folder; where one of those cannot be read, nothing is freed.
    """

    def __init__(self, store: Store, sweep: str, keep: Keep, artifacts: Path) -> None:
        self._store, self._sweep, self._keep, self._artifacts = store, sweep, keep, artifacts
        self._ranking = Ranking(store.cells(sweep) if keep == "best-per-budget" else ())
        self._to_free: set[str] = set()
        self._notes: tuple[tuple[str, int], ...] | None = None
        self._others: OtherDatabases | None = None

    def take(self, result: RunResult) -> None:
        """Note a recorded result; `free` acts on it."""
        if self._keep != "all" and leaves_weights(result):
            self._to_free |= self._ranking.take(result)

    def free(self) -> None:
        """Delete what the results so far leave unwanted, unless a process still writes beside it.

        A run that another sweep asks for too waits for `free_all`.
        """
        if not self._to_free:
            return
        if (seen := notes(self._artifacts)) != self._notes:
            self._notes, self._others = seen, self._read_others()
        for run_id in sorted(self._to_free):
            if self._is_shared(run_id) or free_weights(self._artifacts, run_id):
                self._to_free.discard(run_id)

    def free_all(self) -> None:
        """Delete the weights of every run of the sweep that neither it nor a sweep that shares the run keeps."""
        others = self._read_others()
        if others is None:
            return
        cells = run_cells(self._store.cells(self._sweep))
        # What failed may go on from what its program left, with --retry.
        ended = {cell.run_id for cell in cells if cell.status not in (None, Status.FAILED)}
        kept = weights_any_keeps(self._store, self._store.sweeps_asking_for(ended)) | others.weights
        for run_id in sorted(ended - kept):
            free_weights(self._artifacts, run_id)

    def _is_shared(self, run_id: str) -> bool:
        if self._others is None or run_id in self._others.asked_for:
            return True
        return bool(set(self._store.sweeps_asking_for([run_id])) - {self._sweep})

    def _read_others(self) -> OtherDatabases | None:
        """What other databases want; None where that cannot be read."""
        try:
            return read_other_databases(self._artifacts, self._store.path)
        except IsoflopError:
            return None


def free_weights(artifacts: Path, run_id: str) -> bool:
    """Whether there is nothing left to free of a run; False while another process works on its job.

    Weights that a person had trained again stay.
    """
    run_dir = RunDir(dir_of_run(artifacts, run_id))
    weights, program = run_dir.weights_path(run_id), run_dir.program_dir(run_id)
    nothing_there = not weights.is_file() and (program.is_symlink() or not program.is_dir())
    if weights.parent.is_symlink() or nothing_there or run_dir.keep_path.exists():
        return True
    with alone_in(run_dir.path) as alone:
        if alone:
            weights.unlink(missing_ok=True)
            run_dir.forget_program(run_id)
        return alone
