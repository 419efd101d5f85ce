"""The cluster of the tests itself: whoever starts it may be killed, and nothing of it is left."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from tests.clusters.slurm_daemons import why_no_slurm
from tests.waits import has_ended

UP = """
import sys, time
from pathlib import Path
from tests.clusters.slurm_daemons import Slurm
cluster = Slurm(Path(sys.argv[1]), accounting=False)
print(cluster.said("sbatch", "--parsable", "--output=/dev/null", "--wrap", "sleep 600"), flush=True)
time.sleep(600)
"""


def test_a_cluster_whose_starter_is_killed_is_gone(tmp_path: Path) -> None:
    if reason := why_no_slurm(accounting=False):
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as folder:
        words = [sys.executable, "-c", UP, folder]
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        with subprocess.Popen(
            words, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
        ) as starter:
            try:
                assert starter.stdout is not None
                assert starter.stdout.readline().strip() == "1"
                started = _started_by(starter.pid, "sleep 600")
            finally:
                starter.kill()
        names = {name for name, _ in started}
        assert {"munged", "slurmctld", "slurmd", "slurmstepd"} <= names, names
        _, left = psutil.wait_procs([process for _, process in started], timeout=20)
        assert not [process for process in left if not has_ended(process)]


def _started_by(pid: int, job: str) -> list[tuple[str, psutil.Process]]:
    """Name and process of all that it started, once its job runs."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(psutil.NoSuchProcess):  # one of those that come and go
            found = psutil.Process(pid).children(recursive=True)
            if any(" ".join(process.cmdline()) == job for process in found):
                return [(process.name(), process) for process in found]
        time.sleep(0.1)
    raise AssertionError("its job does not run")
