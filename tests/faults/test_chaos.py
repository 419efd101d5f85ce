"""A short run of benchmarks/chaos.py: all that it does to a sweep, and then exactly the undisturbed sweep's results."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.mounts import why_no_mounts
from tests.faults.turmoil import ENDINGS, IN_LIFE, NO_KILLS

CHAOS = Path(__file__).parents[2] / "benchmarks" / "chaos.py"
N_KILLS, N_INSIDE = 20, 6


@pytest.mark.slow(90)
@pytest.mark.timeout(1200)  # three quarters of a minute on two idle cores
def test_kills_of_every_kind_leave_the_results_of_an_undisturbed_sweep(tmp_path: Path) -> None:
    command = [sys.executable, str(CHAOS), "--kills", str(N_KILLS), "--seed", "20261123", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    kinds = {*IN_LIFE, *ENDINGS} - ({"disk"} if why_no_mounts(tmp_path) else set())
    assert told["by_kind"].keys() == kinds and told["kills"] == N_KILLS
    assert sum(told["by_kind"][kind] for kind in kinds.difference(NO_KILLS)) == N_KILLS
    assert told["inside_writes"] >= N_INSIDE
    assert (told["runs_lost"], told["results_doubled"], told["processes_left"]) == (0, 0, 0)
