"""--devices, --per-device and GPUs that others use: which slots come of it, and which wishes contradict each other."""

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from isoflop.engine.local import devices, leases
from isoflop.engine.local.busy_gpus import BusyGpu
from isoflop.engine.local.device_wish import DeviceWish, NamedDevices, parse_devices, parse_per_device
from isoflop.engine.local.devices import FoundDevices, find_devices
from isoflop.engine.local.leases import DeviceLeases
from isoflop.engine.local.mps import mps_runs
from isoflop.engine.protocol import Slot
from isoflop.errors import IsoflopError
from isoflop.plan.planner import make_plan
from isoflop.rundir import Execution, JobFile, RunDir
from isoflop.spec import parse_spec
from isoflop.sweep.planning import PlannedSweep
from isoflop.sweep.stakes import refuse_to_leave_gpus
from tests.engine.conftest import MakeNvidiaSmi
from tests.engine.test_engine_devices import (
    A100,
    A100_INSTANCES,
    FIRST,
    H100,
    INTERPRETER,
    SECOND,
    TORCH_THAT_SEES_CUDA,
    V100,
)
from tests.plan.test_plan_grid import LARGE_CORPUS

FREE = ("0, GPU-aaaa-1111, 600, 81559", "1, GPU-bbbb-2222, 400, 16384")
HALF_FULL = ("0, GPU-aaaa-1111, 600, 81559", "1, GPU-bbbb-2222, 9000, 16384")


@pytest.fixture(autouse=True)
def own_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the leases of these GPUs lie."""
    monkeypatch.setattr(leases.tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"isoflop-{os.getuid()}"


@pytest.fixture
def two_gpus(nvidia_smi: MakeNvidiaSmi) -> None:
    nvidia_smi(H100, V100, memory=FREE)


@pytest.fixture
def program() -> Iterator[Callable[[dict[str, str]], int]]:
    """Starts a process with these variables, which lives as long as the test; its id."""
    started: list[subprocess.Popen[bytes]] = []

    def start(environment: dict[str, str]) -> int:
        process = subprocess.Popen(["sleep", "600"], env={**os.environ, **environment})
        started.append(process)
        return process.pid

    yield start
    for process in started:
        process.kill()
        process.communicate()


def named(text: str) -> DeviceWish:
    return DeviceWish(parse_devices(text))


def seen(found: FoundDevices) -> list[str]:
    return [slot.visible_device for slot in found.options[0]]


@pytest.mark.parametrize(
    ("value", "means"),
    [
        ("0,2", NamedDevices(("0", "2"))),
        (" 2 , 00 ", NamedDevices(("2", "0"))),
        ("GPU-aaaa-1111,MIG-dddd", NamedDevices(("GPU-aaaa-1111", "MIG-dddd"))),
        ("cpu", NamedDevices()),
        ("cpu:2", NamedDevices(cores=2)),
    ],
)
def test_devices_are_named_by_number_by_uuid_or_as_cores(value: str, means: NamedDevices) -> None:
    assert parse_devices(value) == means


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "'' is not the name"),
        ("0,", "'' is not the name"),
        ("-1", "'-1' is not the name"),
        ("GPU-", "'GPU-' is not the name"),
        ("cuda:0", "'cuda:0' is not the name"),
        ("cpu:0", "names no core"),
        ("cpu:-1", "is not the name"),
        ("0,cpu:2", "beside other devices"),
        ("cpu,cpu", "beside other devices"),
        ("1,01", "names a GPU twice"),
    ],
)
def test_a_list_that_names_no_devices_is_an_error_with_a_hint(value: str, said: str) -> None:
    with pytest.raises(IsoflopError, match=said) as raised:
        parse_devices(value)
    assert raised.value.hint


def test_runs_per_device_are_auto_or_a_number() -> None:
    assert [parse_per_device(value) for value in ("auto", "1", "48")] == [None, 1, 48]
    for value in ("0", "49", "-1", "two", "1.5", ""):
        with pytest.raises(IsoflopError, match="not a number of runs per GPU"):
            parse_per_device(value)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("value", "visible", "slots"),
    [
        pytest.param("1", None, [SECOND], id="index"),
        pytest.param("1,0", None, [SECOND, FIRST], id="in their order"),
        pytest.param("GPU-bbbb", None, [SECOND], id="the beginning of a UUID"),
        pytest.param("0,GPU-aaaa-1111", None, [FIRST], id="one GPU by both names"),
        pytest.param("1", "1", [SECOND], id="counted as nvidia-smi does, not as CUDA would"),
    ],
)
def test_named_gpus_are_the_slots(
    monkeypatch: pytest.MonkeyPatch, value: str, visible: str | None, slots: list[str]
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = find_devices("auto", None, wish=named(value))
    assert len(found.options) == 1 and seen(found) == slots


def test_a_gpu_that_is_cut_is_all_its_instances(nvidia_smi: MakeNvidiaSmi) -> None:
    nvidia_smi(A100, V100, listing=A100_INSTANCES)
    assert seen(find_devices("cuda", None, wish=named("0"))) == ["MIG-dddd-4444", "MIG-eeee-5555"]
    assert seen(find_devices("cuda", None, wish=named("MIG-eeee,1"))) == ["MIG-eeee-5555", SECOND]


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("device", "workers", "wish", "said"),
    [
        ("cpu", None, named("0"), "--device cpu contradicts --devices, which names GPUs"),
        ("cuda", None, named("cpu"), "--device cuda contradicts --devices, which names cores"),
        ("auto", 1, named("0,1"), "--devices gives 2 workers, and --workers 1"),
        ("auto", 3, named("cpu:2"), "--devices cpu:2 contradicts --workers 3"),
        ("auto", None, named("cpu:3"), "--devices cpu:3, but this process may use 2 CPU cores"),
        ("auto", None, named("7"), "GPU 7, which this machine does not have"),
        ("auto", None, named("GPU-cccc"), "GPU GPU-cccc, which this machine does not have"),
        ("cpu", None, DeviceWish(per_device=2), "--per-device 2 is for GPUs"),
        ("auto", None, DeviceWish(NamedDevices(), per_device=2), "--per-device 2 is for GPUs"),
    ],
)
def test_wishes_that_cannot_be_had_are_errors_with_a_hint(
    monkeypatch: pytest.MonkeyPatch, device: devices.DeviceChoice, workers: int | None, wish: DeviceWish, said: str
) -> None:
    monkeypatch.setattr(devices, "cpu_cores", lambda: 2)
    with pytest.raises(IsoflopError, match=said) as raised:
        find_devices(device, workers, wish=wish)
    assert raised.value.hint


@pytest.mark.usefixtures("two_gpus")
def test_what_the_environment_hides_stays_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with pytest.raises(IsoflopError, match="GPU 0, which CUDA_VISIBLE_DEVICES=1 hides"):
        find_devices("auto", None, wish=named("0,1"))


def test_named_cores_are_workers_and_may_be_left_to_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "cpu_cores", lambda: 4)
    for value, workers, number in (("cpu:2", None, 2), ("cpu:2", 2, 2), ("cpu", 3, 3), ("cpu", None, 4)):
        [slots] = find_devices("auto", workers, wish=named(value)).options
        assert len(slots) == number and {slot.kind for slot in slots} == {"cpu"}
    [pairs] = find_devices("cpu", None, 2, named("cpu:2")).options
    assert [slot.n_devices for slot in pairs] == [2]


@pytest.mark.usefixtures("two_gpus")
def test_packed_gpus_have_as_many_slots_and_the_first_runs_go_to_different_ones() -> None:
    [slots] = find_devices("auto", None, wish=DeviceWish(per_device=2)).options
    assert [slot.visible_device for slot in slots] == [FIRST, SECOND, FIRST, SECOND]
    assert {slot.n_packed for slot in slots} == {2}
    [alone, _] = find_devices("auto", None).options
    assert [slot.share_bytes for slot in slots[:2]] == [slot.share_bytes for slot in alone], "computed as if alone"
    with pytest.raises(IsoflopError, match="--per-device 2 gives 4 workers, and --workers 3 asks for another"):
        find_devices("cuda", 3, wish=DeviceWish(per_device=2))
    with pytest.raises(IsoflopError, match=r"contradicts devices_per_run = 2"):
        find_devices("cuda", None, 2, DeviceWish(per_device=2))


def test_without_a_gpu_there_is_nothing_to_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(IsoflopError, match="No GPU") as raised:
        find_devices("auto", None, wish=DeviceWish(per_device=2))
    assert "leave out --per-device" in raised.value.hint


def test_a_gpu_that_another_program_fills_is_left_out_and_named(
    nvidia_smi: MakeNvidiaSmi, program: Callable[[dict[str, str]], int]
) -> None:
    pid = program({})
    nvidia_smi(H100, V100, memory=HALF_FULL, processes=[f"GPU-bbbb-2222, {pid}, 8600"])
    found = find_devices("cuda", None)
    assert seen(found) == [FIRST]
    [busy] = found.busy
    assert (busy.index, busy.name, busy.pids) == ("1", "Tesla V100-SXM2-16GB", (pid,))
    assert (busy.taken_bytes, busy.memory_bytes) == (8600 * 2**20, 16384 * 2**20)
    assert seen(find_devices("cuda", None, wish=DeviceWish(share=True))) == [FIRST, SECOND]
    assert seen(find_devices("cuda", None, wish=named("1"))) == [SECOND]


@pytest.mark.parametrize(
    ("processes", "busy"),
    [
        pytest.param([], True, id="nobody listed, half of the memory taken"),
        pytest.param(["GPU-bbbb-2222, {other}, 100"], False, id="a context without data"),
        pytest.param(["GPU-bbbb-2222, {other}, [N/A]"], True, id="one that does not say what it has"),
        pytest.param(["GPU-bbbb-2222, {ours}, 8600"], False, id="a worker of ours"),
        pytest.param(["GPU-bbbb-2222, {ours}, 8000", "GPU-bbbb-2222, {other}, 900"], True, id="both"),
        pytest.param(["GPU-bbbb-2222, 4194999, 8600"], False, id="one that has ended meanwhile"),
        pytest.param(["GPU-bbbb-2222, [Insufficient Permissions], [N/A]"], True, id="not ours to ask"),
    ],
)
def test_what_counts_as_busy(
    nvidia_smi: MakeNvidiaSmi, program: Callable[[dict[str, str]], int], processes: list[str], busy: bool
) -> None:
    pids = {"other": program({}), "ours": program({"ISOFLOP_COORDINATOR_PID": "1"})}
    nvidia_smi(H100, V100, memory=HALF_FULL, processes=[line.format(**pids) for line in processes])
    assert [gpu.index for gpu in find_devices("cuda", None).busy] == ["1"] * busy


def test_a_gpu_that_another_sweep_of_ours_trains_on_is_waited_for_not_left_out(
    nvidia_smi: MakeNvidiaSmi, own_leases: Path
) -> None:
    nvidia_smi(H100, V100, memory=HALF_FULL)
    slots = find_devices("cuda", None, wish=DeviceWish(share=True)).options[0]
    own_leases.mkdir(mode=0o700, exist_ok=True)
    held = DeviceLeases(slots, own_leases)
    assert held.capacity().usable == {0, 1}
    assert seen(find_devices("cuda", None)) == [FIRST, SECOND]
    held.release()
    assert seen(find_devices("cuda", None)) == [FIRST]


def test_where_every_gpu_is_busy_cores_are_left_and_cuda_alone_is_an_error(nvidia_smi: MakeNvidiaSmi) -> None:
    nvidia_smi(V100, memory=HALF_FULL)
    found = find_devices("auto", 2)
    assert [{slot.kind for slot in slots} for slots in found.options] == [{"cpu"}] and len(found.busy) == 1
    with pytest.raises(IsoflopError, match="Other programs compute on every GPU: 1") as raised:
        find_devices("cuda", None)
    assert "--share-devices" in raised.value.hint


def test_mps_is_used_where_its_daemon_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    assert not mps_runs()
    os.mkfifo(tmp_path / "control")
    assert not mps_runs(), "left by a daemon that has ended"
    listening = os.open(tmp_path / "control", os.O_RDONLY | os.O_NONBLOCK)
    assert mps_runs()
    os.close(listening)


def test_mps_is_used_where_its_daemon_listens_at_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of driver 580 does."""
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as daemon:
        daemon.bind(str(tmp_path / "control"))
        daemon.listen()
        assert mps_runs()
    assert not mps_runs(), "left by a daemon that has ended"


@pytest.mark.slow(5)
def test_the_command_says_what_it_leaves_out_and_refuses_what_contradicts(
    tmp_path: Path, nvidia_smi: MakeNvidiaSmi
) -> None:
    """The real command; simulated runs, which load no torch, stand in for training."""
    nvidia_smi(H100, V100, memory=HALF_FULL)
    (tmp_path / "torch.py").write_text(TORCH_THAT_SEES_CUDA)
    (tmp_path / "drawn.toml").write_text('name = "drawn"\nbudgets = [1e17, 3e17]\ntrainer = "simulated"\n')
    environment = {
        **os.environ,
        "CUDA_MPS_PIPE_DIRECTORY": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
    }

    def command(*options: str) -> subprocess.CompletedProcess[str]:
        line = [INTERPRETER, "-m", "isoflop", options[0], "drawn.toml", *options[1:]]
        return subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    refused = command("run", "--devices", "cpu:1", "--workers", "2")
    assert refused.returncode == 1 and "contradicts --workers 2" in refused.stderr
    done = command("run", "--device", "cuda", "--per-device", "2")
    planned = command("plan", "--device", "cuda", "--dry-run")
    for shown in (done, planned):
        assert shown.returncode == 0, shown.stderr
        assert (
            "drawn: GPU 1 (Tesla V100-SXM2-16GB) is left out: other programs took 9.4 GB of 17.2 GB; "
            "`--devices 1` or `--share-devices` of `run` trains there too.\n"
        ) in shown.stderr
    assert "drawn: 2 runs at once on each GPU; without CUDA MPS their kernels take turns.\n" in done.stderr


def test_runs_that_began_on_a_gpu_do_not_begin_anew_on_cores_because_others_use_it(tmp_path: Path) -> None:
    spec = parse_spec({"name": "s", "budgets": [1e11, 4e11], "model": {"context_length": 64}}, source="t")
    plan = make_plan(spec, LARGE_CORPUS)
    busy = (BusyGpu("0", "Some GPU", 7e10, 8e10, (123,)),)
    planned = PlannedSweep(plan, (Slot("cpu", "Some CPU", "", 1e9, bfloat16=False),), LARGE_CORPUS, None, busy=busy)
    run = plan.cells[0].run
    run_dir = RunDir(tmp_path / run.run_id)
    on = {
        kind: Execution(device_kind=kind, dtype="float32", n_threads=1, micro_batch_sequences=1)
        for kind in ("cpu", "cuda")
    }
    for kind, begun in (("cpu", True), ("cuda", False)):
        run_dir.write_job(JobFile(runs=(run,), execution=on[kind]))
        refuse_to_leave_gpus(planned, tmp_path)
        if begun:
            run_dir.checkpoint_dir.mkdir()
            run_dir.checkpoint_path(run.run_id).touch()
            refuse_to_leave_gpus(planned, tmp_path)
            run_dir.checkpoint_path(run.run_id).unlink()
    run_dir.checkpoint_path(run.run_id).touch()
    with pytest.raises(IsoflopError, match=r"1 run of s began on a GPU, .*now: 0 \(Some GPU\)") as raised:
        refuse_to_leave_gpus(planned, tmp_path)
    assert "--device cpu begins these runs anew" in raised.value.hint
    refuse_to_leave_gpus(replace(planned, busy=()), tmp_path)
