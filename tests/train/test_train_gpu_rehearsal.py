"""benchmarks/gpu.py, rehearsed: what waits for a GPU has run before one comes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ["sweep", "foresight", "steps", "losses", "packing", "memory"]  # the tests are run by whoever runs this one


@pytest.mark.slow(60)
def test_every_part_runs_on_a_cpu_says_so_and_is_not_run_twice(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/gpu.py", "--rehearse", "--out", str(tmp_path), *PARTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads((tmp_path / "gpu.json").read_text())
    assert document["rehearsal"] is True
    assert set(document["parts"]) == set(PARTS)
    assert not [row for rows in document["parts"].values() for row in rows if "error" in row]
    assert document["parts"]["sweep"][2]["differing"] == []
    assert document["parts"]["foresight"][3]["differing"] == []
    assert "no figure counts" in (tmp_path / "gpu.md").read_text()
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert again.stdout.count("measured before") == len(PARTS)
