"""Forty kills, and afterwards exactly the results of an undisturbed sweep."""

from pathlib import Path

import pytest

from tests.engine.conftest import SWEEP, Sandbox, make_sandbox
from tests.faults.assault import Assault

# Ten runs of about a second each: something to kill.
TEN_RUNS = (
    SWEEP.replace("[6e8, 1.2e9]", "[1.5e9, 3e9]")
    .replace("sizes = 3", "sizes = 5")
    .replace("base_batch_tokens = 256", "base_batch_tokens = 128")
)
N_KILLS, N_INSIDE = 40, 10


@pytest.mark.timeout(1200)  # a minute and a half on two idle cores
def test_forty_kills_leave_the_results_of_an_undisturbed_sweep(tmp_path: Path) -> None:
    made = iter(range(100))

    def new_sweep() -> Sandbox:
        folder = tmp_path / f"sweep-{next(made)}"
        folder.mkdir()
        return make_sandbox(folder, TEN_RUNS)

    undisturbed = new_sweep()
    undisturbed.run("run", "tiny.toml", "--workers", "2")
    assert len(undisturbed.losses()) == 10

    assault = Assault(new_sweep, seed=20261123)
    assault.run()
    print(assault.tally)
    assert len(assault.kills) == N_KILLS
    assert assault.n_inside >= N_INSIDE, assault.tally
    for sandbox in assault.sweeps:
        sandbox.run("run", "tiny.toml", "--workers", "2")
        check_whole(sandbox, undisturbed)


def check_whole(sandbox: Sandbox, undisturbed: Sandbox) -> None:
    """Every planned run has one result, to the bit, and nothing half-written is left."""
    planned = {str(run_id) for (run_id,) in sandbox.rows("select run_id from cells")}
    assert sandbox.rows("select status, count(*) from results group by status") == [("completed", len(planned))]
    assert sandbox.losses() == undisturbed.losses()
    curves = "select run_id, step, n_tokens, loss from curves order by run_id, step"
    assert sandbox.rows(curves) == undisturbed.rows(curves)
    assert not list(sandbox.folder.rglob("*.tmp"))
    assert not list(sandbox.folder.rglob("building-*"))
    for run_id in planned:
        check_directory(sandbox, run_id)


def check_directory(sandbox: Sandbox, run_id: str) -> None:
    """One result file, no state to resume from, and attempts numbered without gaps that agree with the database."""
    folder = sandbox.folder / "isoflop-artifacts" / run_id
    assert [path.name for path in folder.glob("**/result-*")] == [f"result-{run_id}.json"]
    assert not (folder / "checkpoint" / f"{run_id}.safetensors").exists()
    begun = sorted(int(path.name.removeprefix("attempt-")) for path in folder.glob("attempt-*"))
    assert begun == list(range(1, len(begun) + 1))
    [(attempt,)] = sandbox.rows(f"select attempt from results where run_id = '{run_id}'")
    logged = dict(sandbox.rows(f"select attempt, outcome from attempts where run_id = '{run_id}'"))
    assert attempt == begun[-1] and set(logged) <= set(begun)
    assert all(outcome in ("died", "interrupted") for number, outcome in logged.items() if number < attempt)
    assert logged.get(attempt, "done") == "done"  # absent where the coordinator died before it could note it
