"""Which devices are found, from what nvidia-smi prints, without any GPU."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from isoflop.engine.execution import GitState, git_state, job_file
from isoflop.engine.local import devices
from isoflop.engine.local.devices import cpu_cores, host_memory, slot_options
from isoflop.engine.protocol import Slot
from isoflop.errors import IsoflopError
from isoflop.run_spec import Job
from isoflop.rundir import RunDir
from tests.databases import opened
from tests.engine.conftest import MakeNvidiaSmi
from tests.run_examples import RUN

INTERPRETER = sys.executable
H100 = "0, GPU-aaaa-1111, NVIDIA H100 80GB HBM3, 81559, 9.0, Disabled"
V100 = "1, GPU-bbbb-2222, Tesla V100-SXM2-16GB, 16384, 7.0, [N/A]"
# As an A100 with two instances is listed on its host, and one instance of it inside a container.
A100 = "0, GPU-cccc-3333, NVIDIA A100-SXM4-40GB, 40960, 8.0, Enabled"
A100_IN_A_CONTAINER = "0, GPU-cccc-3333, NVIDIA A100-SXM4-40GB, [Insufficient Permissions], 8.0, Enabled"
A100_INSTANCES = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-cccc-3333)
  MIG 3g.20gb     Device  0: (UUID: MIG-dddd-4444)
  MIG 1c.3g.20gb  Device  1: (UUID: MIG-eeee-5555)"""


@pytest.fixture
def two_gpus(nvidia_smi: MakeNvidiaSmi) -> None:
    nvidia_smi(H100, V100)


def visible_devices() -> list[str]:
    return [slot.visible_device for slot in slot_options("auto", None)[0] if slot.kind == "cuda"]


@pytest.mark.usefixtures("two_gpus")
def test_each_gpu_is_a_slot_pinned_by_its_uuid() -> None:
    first, second = slot_options("auto", None)[0]
    assert (first.kind, first.name, first.visible_device) == ("cuda", "NVIDIA H100 80GB HBM3", "GPU-aaaa-1111")
    assert first.bfloat16 and not second.bfloat16
    assert first.memory_bytes == pytest.approx(0.8 * 81559 * 2**20)


FIRST, SECOND = "GPU-aaaa-1111", "GPU-bbbb-2222"


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("visible", "seen"),
    [
        pytest.param("1", [SECOND], id="index"),
        pytest.param("GPU-bbbb-2222,0", [SECOND, FIRST], id="uuid and index"),
        pytest.param("GPU-bbbb", [SECOND], id="abbreviated"),
        pytest.param("GPU-", [], id="abbreviated to what both begin with"),
        pytest.param("0,0,GPU-aaaa", [FIRST], id="one GPU thrice"),
        pytest.param("7", [], id="absent"),
        pytest.param("1,7,0", [SECOND], id="up to the first that is absent"),
        pytest.param("-1,0,1", [], id="minus one hides the rest"),
        pytest.param("", [], id="none"),
        pytest.param("0,", [FIRST], id="trailing comma"),
    ],
)
def test_an_inherited_choice_of_gpus_means_what_it_means_to_cuda(
    monkeypatch: pytest.MonkeyPatch, visible: str, seen: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_devices() == seen


@pytest.mark.parametrize("gpu", [A100, A100_IN_A_CONTAINER], ids=["host", "container"])
def test_each_instance_of_a_gpu_is_a_slot_with_its_own_memory(nvidia_smi: MakeNvidiaSmi, gpu: str) -> None:
    nvidia_smi(gpu, V100, listing=A100_INSTANCES)
    first, second, other = slot_options("auto", None)[0]
    assert [first.visible_device, second.visible_device] == ["MIG-dddd-4444", "MIG-eeee-5555"]
    assert first.name == "NVIDIA A100-SXM4-40GB MIG 3g.20gb"
    assert first.memory_bytes == second.memory_bytes == pytest.approx(0.8 * 20e9)
    assert first.bfloat16
    assert other.visible_device == SECOND


@pytest.mark.parametrize(
    ("visible", "seen"),
    [
        pytest.param("MIG-eeee-5555", ["MIG-eeee-5555"], id="one"),
        pytest.param("MIG-eeee-5555,MIG-dddd-4444", ["MIG-eeee-5555", "MIG-dddd-4444"], id="both, in this order"),
        pytest.param("MIG-dddd", ["MIG-dddd-4444"], id="abbreviated"),
        pytest.param("0", ["MIG-dddd-4444"], id="the GPU by index: its first instance"),
        pytest.param("GPU-cccc-3333", ["MIG-dddd-4444"], id="the GPU by UUID: its first instance"),
        pytest.param("MIG-9999,MIG-dddd-4444", [], id="absent"),
        pytest.param("1,MIG-dddd-4444", [SECOND, "MIG-dddd-4444"], id="beside a whole GPU"),
    ],
)
def test_an_inherited_choice_of_instances_is_respected(
    nvidia_smi: MakeNvidiaSmi, monkeypatch: pytest.MonkeyPatch, visible: str, seen: list[str]
) -> None:
    nvidia_smi(A100, V100, listing=A100_INSTANCES)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_devices() == seen


def test_instances_named_after_their_gpu_as_old_drivers_do(
    nvidia_smi: MakeNvidiaSmi, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = "GPU 0: A100-SXM4-40GB (UUID: GPU-cccc-3333)\n  MIG 1g.5gb Device 0: (UUID: MIG-GPU-cccc-3333/7/0)"
    nvidia_smi(A100, listing=old)
    assert visible_devices() == ["MIG-GPU-cccc-3333/7/0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-GPU-cccc-3333/7/0")
    assert visible_devices() == ["MIG-GPU-cccc-3333/7/0"]


def test_a_gpu_to_be_cut_without_any_instance_is_no_slot(nvidia_smi: MakeNvidiaSmi) -> None:
    nvidia_smi(A100, V100, listing="GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-cccc-3333)")
    assert visible_devices() == [SECOND]


def test_a_gpu_without_memory_of_its_own_has_the_machines(nvidia_smi: MakeNvidiaSmi) -> None:
    nvidia_smi("0, GPU-ffff, NVIDIA GB10, [N/A], 12.1, [N/A]")
    [slot] = slot_options("cuda", None)[0]
    assert slot.visible_device == "GPU-ffff" and slot.bfloat16
    assert slot.memory_bytes == pytest.approx(0.8 * host_memory())


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("0, GPU-ffff, NVIDIA A100, [GPU is lost], 8.0, Disabled", id="lost"),
        pytest.param("0, GPU-ffff, NVIDIA A100, [Insufficient Permissions], 8.0, Disabled", id="not permitted"),
        pytest.param("0, [N/A], NVIDIA A100, 40960, 8.0, Disabled", id="no UUID"),
        pytest.param("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", id="no driver"),
    ],
)
def test_a_line_without_a_usable_gpu_costs_only_that_gpu(nvidia_smi: MakeNvidiaSmi, line: str) -> None:
    nvidia_smi(line, V100)
    assert visible_devices() == [SECOND]


def test_a_gpu_whose_capability_is_not_known_computes_in_float32(nvidia_smi: MakeNvidiaSmi) -> None:
    nvidia_smi("0, GPU-ffff, Quadro K600, 1024, [N/A], [N/A]")
    [slot] = slot_options("cuda", None)[0]
    assert not slot.bfloat16


@pytest.mark.usefixtures("two_gpus")
def test_workers_limits_the_slots_and_cpu_ignores_gpus() -> None:
    assert len(slot_options("auto", 1)[0]) == 1
    assert [{slot.kind for slot in slots} for slots in slot_options("cpu", 3)] == [{"cpu"}]
    assert [{slot.kind for slot in slots} for slots in slot_options("auto", 3)] == [{"cuda"}, {"cpu"}]
    assert len(slot_options("cpu", 3)[0]) == 3


@pytest.mark.usefixtures("two_gpus")
def test_gpus_that_torch_cannot_use_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\nexit 1\n")
    assert {slot.kind for slot in slot_options("auto", 1)[0]} == {"cpu"}
    with pytest.raises(IsoflopError, match="No GPU"):
        slot_options("cuda", None)


@pytest.mark.usefixtures("two_gpus")
def test_gpus_that_train_one_run_together_are_one_slot() -> None:
    [pair] = slot_options("cuda", 4, 2)[0]
    assert (pair.visible_device, pair.n_devices) == (f"{FIRST},{SECOND}", 2)
    assert pair.name == "NVIDIA H100 80GB HBM3 (2 together)"
    assert not pair.bfloat16, "one of them has none"
    assert pair.memory_bytes == pair.share_bytes == pytest.approx(0.8 * 16384 * 2**20)
    for device in ("auto", "cuda"):
        with pytest.raises(IsoflopError, match=r"^devices_per_run = 3, but this machine has 2 GPUs"):
            slot_options(device, None, 3)


def test_cores_that_train_one_run_together_share_their_memory_and_never_outnumber_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "cpu_cores", lambda: 5)
    slots = slot_options("cpu", None, 2)[0]
    assert len(slots) == len(slot_options("cpu", 9, 2)[0]) == 2
    assert slots[0].share_bytes == pytest.approx(0.8 * host_memory() / 4)
    assert len(slot_options("cpu", 1, 2)[0]) == 1
    with pytest.raises(IsoflopError, match=r"^devices_per_run = 6, but this machine has 5 CPU cores"):
        slot_options("cpu", None, 6)


def test_ranks_take_torchs_step_and_a_job_goes_on_with_as_many_only(tmp_path: Path) -> None:
    run_dir, run = RunDir(tmp_path), RUN.model_copy(update={"batch_sequences": 5})
    one = Slot("cuda", "GPU", "GPU-a", 1e10, bfloat16=True)
    two = Slot("cuda", "GPU (2 together)", "GPU-a,GPU-b", 1e10, bfloat16=True, n_devices=2)
    for slot, step, at_once in ((one, "graph", 5), (two, "eager", 3)):
        run_dir.write_job(begun := job_file(Job((run,)), slot, run_dir))
        assert (begun.execution.step, begun.execution.world_size) == (step, slot.n_devices)
        assert begun.execution.micro_batch_sequences == at_once
        run_dir.checkpoint_dir.mkdir(exist_ok=True)
        (run_dir.checkpoint_dir / "x.safetensors").write_bytes(b"state")
        assert job_file(Job((run,)), slot, run_dir) == begun
        assert list(run_dir.checkpoint_dir.iterdir()), "as many go on"
    assert job_file(Job((run,)), one, run_dir).execution.step == "graph"
    assert not list(run_dir.checkpoint_dir.iterdir())


def test_a_core_is_a_slot_without_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    slots = slot_options("auto", None)[0]
    assert len(slots) == cpu_cores() >= 1
    assert {slot.visible_device for slot in slots} == {""}
    assert not any(slot.bfloat16 for slot in slots)  # on cores all of it is float32
    assert {slot.n_sharing for slot in slots} == {len(slots)}


SIMULATED = """
name = "drawn"
budgets = [1e17, 3e17, 1e18]
trainer = "simulated"
[grid]
center_tokens_per_param = 20
"""
# Loaded by every interpreter that finds it; writes down what a process sets, not what we think it sets.
WITNESS = """
import os, sys

def witness(event, arguments):
    if event == "os.putenv" and os.fsencode(arguments[0]) == b"CUDA_VISIBLE_DEVICES":
        with open(os.environ["WITNESS_FILE"], "a") as file:
            file.write(f"{os.getpid()} {os.fsdecode(arguments[1])}\\n")

sys.addaudithook(witness)
"""
TORCH_THAT_SEES_CUDA = "class cuda:\n    is_available = staticmethod(lambda: True)\n"


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.slow(2)
def test_runs_are_spread_over_the_gpus_and_each_worker_sees_its_own(tmp_path: Path) -> None:
    """The real command on two listed GPUs; simulated runs, which load no torch, stand in for training.

    A process takes all jobs of its GPU (that they stay apart: test_engine_stay.py).
    """
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "sitecustomize.py").write_text(WITNESS)
    (modules / "torch.py").write_text(TORCH_THAT_SEES_CUDA)
    (tmp_path / "drawn.toml").write_text(SIMULATED)
    seen = tmp_path / "seen"
    command = [INTERPRETER, "-m", "isoflop", "run", "drawn.toml", "--device", "cuda", "--json"]
    search = os.pathsep.join(filter(None, (str(modules), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": search, "WITNESS_FILE": str(seen)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    with opened(tmp_path / "isoflop.db") as connection:
        device_of = dict(connection.execute("select run_id, device from attempts"))
    visible_to = dict(line.split() for line in seen.read_text().splitlines())
    assert len(device_of) == 21
    uuid_of = {"NVIDIA H100 80GB HBM3": FIRST, "Tesla V100-SXM2-16GB": SECOND}
    assert sorted(visible_to.values()) == sorted(uuid_of.values())
    for run_id, device in device_of.items():
        job = json.loads((tmp_path / "isoflop-artifacts" / run_id / "job.json").read_text())
        assert job["execution"]["device_kind"] == "cuda"
        assert (job["execution"]["dtype"] == "bfloat16") == (uuid_of[device] == FIRST)
    shares = Counter(device_of.values())
    assert set(shares) == set(uuid_of) and min(shares.values()) >= 3


def test_a_job_keeps_its_execution_on_the_same_kind_of_device_only(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    cpu = slot_options("cpu", 1)[0][0]
    begun = job_file(Job((RUN,)), cpu, run_dir)
    run_dir.write_job(begun.model_copy(update={"execution": begun.execution.model_copy(update={"n_threads": 3})}))
    assert job_file(Job((RUN,)), cpu, run_dir).execution.n_threads == 3
    (run_dir.checkpoint_dir).mkdir()
    (run_dir.checkpoint_dir / "x.safetensors").write_bytes(b"state of a CPU run")
    gpu = type(cpu)("cuda", "GPU", "GPU-aaaa", 1e10, bfloat16=True)
    assert job_file(Job((RUN,)), gpu, run_dir).execution.device_kind == "cuda"
    assert not list(run_dir.checkpoint_dir.iterdir())


def test_the_state_of_a_repository_is_known_and_of_no_repository_is_none(tmp_path: Path) -> None:
    assert git_state(tmp_path).commit is None
    for command in ("init -q", "-c user.name=a -c user.email=a@b commit -q --allow-empty -m x"):
        subprocess.run(["git", "-C", str(tmp_path), *command.split()], check=True)
    clean = git_state(tmp_path)
    assert clean.commit is not None and len(clean.commit) == 40 and clean.dirty is False
    (tmp_path / "new").write_text("")
    assert git_state(tmp_path).dirty is True
    # of a repository without files nobody can say that they are as committed
    subprocess.run(["git", "clone", "-q", "--bare", str(tmp_path), str(tmp_path / "bare")], check=True)
    assert git_state(tmp_path / "bare") == GitState(clean.commit, None)
