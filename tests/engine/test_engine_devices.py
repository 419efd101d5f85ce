"""Which devices are found, from what nvidia-smi prints, without any GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from isoflop.engine.devices import cpu_cores, slot_options
from isoflop.engine.execution import git_state, job_file
from isoflop.errors import IsoflopError
from isoflop.run_spec import Job
from isoflop.rundir import RunDir
from tests.run_examples import RUN

SMI = """#!/bin/sh
cat <<'END'
0, GPU-aaaa, NVIDIA H100 80GB HBM3, 81559, 9.0
1, GPU-bbbb, Tesla V100-SXM2-16GB, 16384, 7.0
END
"""


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An nvidia-smi that lists two GPUs and a python whose torch sees CUDA, both real programs on PATH."""
    (tmp_path / "nvidia-smi").write_text(SMI)
    (tmp_path / "python").write_text("#!/bin/sh\nexit 0\n")
    for program in tmp_path.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("two_gpus")
def test_each_gpu_is_a_slot_pinned_by_its_uuid() -> None:
    first, second = slot_options("auto", None)[0]
    assert (first.kind, first.name, first.visible_device) == ("cuda", "NVIDIA H100 80GB HBM3", "GPU-aaaa")
    assert first.bfloat16 and not second.bfloat16
    assert first.memory_bytes == pytest.approx(0.8 * 81559 * 2**20)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("visible", "names"),
    [("1", ["GPU-bbbb"]), ("GPU-bbbb,0", ["GPU-bbbb", "GPU-aaaa"]), ("7", [])],
    ids=["index", "both", "absent"],
)
def test_an_inherited_choice_of_gpus_is_respected(
    monkeypatch: pytest.MonkeyPatch, visible: str, names: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    slots = slot_options("auto", None)[0]
    assert [slot.visible_device for slot in slots if slot.kind == "cuda"] == names


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


def test_a_core_is_a_slot_without_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    slots = slot_options("auto", None)[0]
    assert len(slots) == cpu_cores() >= 1
    assert {slot.visible_device for slot in slots} == {""}


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
