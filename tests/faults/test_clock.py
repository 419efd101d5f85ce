"""A clock that jumps by an hour, back and forth, while a sweep runs: nothing that matters is measured with it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.engine.conftest import Sandbox
from tests.faults.processes import has_stepped

# Loaded by every Python process at start-up: the wall clock is off by as many seconds as the file says at the moment.
CLOCK = """
import datetime, os, time
_time, _datetime, _file = time.time, datetime.datetime, os.environ["CLOCK_OFFSET_FILE"]

def _offset():
    with open(_file) as file:
        return float(file.read() or 0)

class Jumping(_datetime):
    @classmethod
    def now(cls, tz=None):
        return _datetime.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls):
        return _datetime.fromtimestamp(time.time(), datetime.timezone.utc).replace(tzinfo=None)

time.time = lambda: _time() + _offset()
time.time_ns = lambda: int(time.time() * 1e9)
datetime.datetime = Jumping
"""
HOUR = 3600.0


class Clock:
    """The offset that every process of a sweep reads with the time."""

    def __init__(self, folder: Path) -> None:
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(CLOCK)
        self._file = folder / "offset"
        self.jump_to(0.0)
        self.environment = {"PYTHONPATH": str(folder / "site"), "CLOCK_OFFSET_FILE": str(self._file)}

    def jump_to(self, offset: float) -> None:
        """Set the offset for all at once."""
        self._file.with_suffix(".new").write_text(str(offset))
        self._file.with_suffix(".new").replace(self._file)


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock(tmp_path)
    paths = [made.environment["PYTHONPATH"], *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setenv("CLOCK_OFFSET_FILE", made.environment["CLOCK_OFFSET_FILE"])
    return made


def test_the_injected_clock_is_the_one_that_processes_see(clock: Clock) -> None:
    clock.jump_to(HOUR)
    code = "import time; from datetime import datetime, UTC; print(time.time(), datetime.now(UTC).timestamp())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [round((float(seen) - time.time()) / HOUR) for seen in done.stdout.split()] == [1, 1]


def test_a_sweep_under_a_jumping_clock_has_the_same_bits_and_honest_seconds(
    sandbox: Sandbox, undisturbed: Sandbox, clock: Clock
) -> None:
    begun = time.monotonic()
    coordinator = sandbox.start("run", "tiny.toml", "--workers", "2", "--json")
    sandbox.wait_for(lambda: [run for run in sandbox.claimed().values() if has_stepped(sandbox, run)])
    for offset in (-HOUR, 0.0, HOUR, 0.0):  # so that some runs begin under one clock and end under another
        seen = set(sandbox.claimed())
        clock.jump_to(offset)
        sandbox.wait_for(lambda seen=seen: coordinator.poll() is not None or set(sandbox.claimed()) - seen)
    out, err = coordinator.communicate(timeout=120)
    took = time.monotonic() - begun
    assert coordinator.returncode == 0, err

    assert sandbox.losses() == undisturbed.losses()
    said = json.loads(out)
    assert 0 < said["seconds"] <= took
    assert said["busy_share"] is None or 0 <= said["busy_share"] <= 1
    [(least, total)] = sandbox.rows("select min(seconds), sum(seconds) from results")
    assert float(str(least)) > 0 and float(str(total)) <= 2 * took
    [(slowest,)] = sandbox.rows("select min(tokens_per_second) from results")
    assert float(str(slowest)) > 0
    assert sandbox.rows("select outcome, count(*) from attempts group by outcome") == [("done", 6)]
    document = sandbox.run("plan", "tiny.toml", "--json")[0]
    assert 0 <= json.loads(document)["estimate"]["seconds"] < 10 * took  # rates that were measured, not jumps
