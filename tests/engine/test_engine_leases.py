"""Two sweeps and one device: the second waits for a GPU, and is told of cores."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from isoflop.engine.local import leases
from isoflop.engine.local.leases import DeviceLeases, device_leases
from isoflop.engine.notices import DeviceHeld
from isoflop.engine.protocol import Slot
from tests.engine.conftest import SWEEP, Sandbox

CORE = Slot("cpu", "Xeon", "", 1e9, bfloat16=False)
GPUS = tuple(Slot("cuda", f"H100 {name}", f"GPU-{name}/0", 1e9, bfloat16=True) for name in "ab")
ONE_RUN = SWEEP.replace("[6e8, 1.2e9]", "[6e8]").replace("sizes = 3", "sizes = 1")
HOLD = """
import sys
from pathlib import Path
from isoflop.engine.local.leases import DeviceLeases
from isoflop.engine.protocol import Slot
held = DeviceLeases([Slot("cuda", "H100 a", "GPU-a/0", 1e9, bfloat16=True)], Path(sys.argv[1]))
print(sorted(held.capacity().usable), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, which holds the first GPU."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "[0]\n"
    yield process
    process.kill()
    process.communicate()


def test_a_gpu_is_for_one_process_until_that_has_died(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    second = DeviceLeases((*GPUS, GPUS[0]), tmp_path)
    assert second.capacity().usable == {1}
    assert second.capacity().held == (DeviceHeld("H100 a", holder.pid, waits=True),)
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert second.capacity().usable == {0, 1, 2} and second.capacity().held == ()
    third = DeviceLeases(GPUS, tmp_path)
    assert third.capacity().usable == frozenset()
    second.release()
    assert third.capacity().usable == {0, 1}
    third.release()


def test_a_group_is_held_whole_or_not_at_all(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    """Two processes with half a group each would wait for each other for ever."""
    pair = Slot("cuda", "H100 (2 together)", "GPU-b/0,GPU-a/0", 1e9, bfloat16=True, n_devices=2)
    waiting, other = DeviceLeases([pair], tmp_path), DeviceLeases([GPUS[1]], tmp_path)
    assert waiting.capacity().usable == frozenset()
    assert waiting.capacity().held == (DeviceHeld("H100 (2 together)", holder.pid, waits=True),)
    assert other.capacity().usable == {0}
    other.release()
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert waiting.capacity().usable == {0}
    assert other.capacity().usable == DeviceLeases([GPUS[0]], tmp_path).capacity().usable == frozenset()
    waiting.release()


def test_cores_are_shared_and_that_is_said(tmp_path: Path) -> None:
    first, second = (DeviceLeases([CORE, CORE], tmp_path) for _ in range(2))
    assert first.capacity().held == ()
    assert second.capacity().usable == {0, 1}
    assert second.capacity().held == (DeviceHeld("Xeon", os.getpid(), waits=False),)
    first.release()
    second.release()


def test_where_no_lock_can_be_made_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    assert DeviceLeases(GPUS, tmp_path / "file").capacity().usable == {0, 1}
    monkeypatch.setattr(leases.tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"isoflop-{os.getuid()}").symlink_to(tmp_path)  # somebody else's doing
    with device_leases(GPUS, share=False) as held:
        assert held is None
    (tmp_path / f"isoflop-{os.getuid()}").unlink()
    with device_leases(GPUS, share=False) as held, device_leases(GPUS, share=True) as shared:
        assert held is not None and shared is None
        assert held.capacity().usable == {0, 1}


@pytest.mark.parametrize("share", [False, True], ids=["told", "shared"])
def test_a_second_sweep_on_the_cores_trains_and_is_told(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, share: bool
) -> None:
    (sandbox.folder / "tiny.toml").write_text(ONE_RUN)
    monkeypatch.setenv("TMPDIR", str(sandbox.folder))
    (sandbox.folder / f"isoflop-{os.getuid()}").mkdir()
    with (sandbox.folder / f"isoflop-{os.getuid()}" / "cpu.lock").open("w") as lock:
        lock.write("77")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        _, err = sandbox.run("run", "tiny.toml", "--workers", "1", *(["--share-devices"] if share else []))
    assert ("process 77 trains on the cores of this machine too" in err) is not share
