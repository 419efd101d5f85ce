"""Which jobs are begun with the step in C++, and what happens to one whose worker does not find it."""

from dataclasses import replace
from pathlib import Path

import pytest

from isoflop import step_library as library
from isoflop.engine.dispatch import Dispatcher
from isoflop.engine.execution import GitState, job_file
from isoflop.engine.notices import AttemptEnded
from isoflop.engine.protocol import Slot
from isoflop.hardware import cpu_flags
from isoflop.run_spec import Job, RunSpec
from isoflop.rundir import Execution, RunDir
from tests.run_examples import RUN
from tests.scripted_engine import RECORD, Clock, ScriptedEngine

CPU = Slot("cpu", "core", "", 1e15, bfloat16=False)
GPU = Slot("cuda", "gpu", "0", 1e15, bfloat16=True)
pytestmark = pytest.mark.skipif(
    not library.FLAGS["avx2"] <= cpu_flags(), reason="no step in C++ is for this CPU: it lacks AVX2"
)


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of libraries, with one for AVX2; nobody loads it here."""
    folder = tmp_path / "libraries"
    folder.mkdir()
    (folder / "_avx2.cpython-311-x86_64-linux-gnu.so").touch()
    monkeypatch.setattr(library, "FOLDER", folder)
    return folder


def begun(tmp_path: Path, slot: Slot = CPU, **changes: object) -> Execution:
    """How a new job of the run with `changes` is to be computed."""
    run = RunSpec.model_validate({**RUN.model_dump(), **changes})
    return job_file(Job((run,)), slot, RunDir(tmp_path / run.run_id)).execution


def test_a_cpu_with_a_library_takes_the_step_in_cpp(tmp_path: Path, built: Path) -> None:
    execution = begun(tmp_path)
    assert (execution.step, execution.instructions) == ("native", "avx2")


def test_the_widest_instructions_that_the_cpu_has_are_taken(tmp_path: Path, built: Path) -> None:
    (built / "_avx512.cpython-311-x86_64-linux-gnu.so").touch()
    expected = "avx512" if library.FLAGS["avx512"] <= cpu_flags() else "avx2"
    assert begun(tmp_path).instructions == expected


def test_without_a_library_torch_takes_the_step(tmp_path: Path, built: Path) -> None:
    for file in built.iterdir():
        file.unlink()
    execution = begun(tmp_path)
    assert (execution.step, execution.instructions) == ("eager", "")


@pytest.mark.parametrize(
    ("slot", "changes", "step"),
    [
        (GPU, {}, "graph"),
        (replace(CPU, bfloat16=True), {}, "eager"),
        (CPU, {"trainer": "simulated"}, "eager"),
        (CPU, {"shape": replace(RUN.shape, head_dim=15)}, "eager"),
    ],
    ids=["a GPU", "bfloat16", "a simulation", "an odd head"],
)
def test_what_the_library_cannot_do_is_left_to_torch(
    tmp_path: Path, built: Path, slot: Slot, changes: dict[str, object], step: str
) -> None:
    execution = begun(tmp_path, slot, **changes)
    assert (execution.step, execution.instructions) == (step, "")


def test_a_job_begun_with_the_plain_step_keeps_it(tmp_path: Path, built: Path) -> None:
    job, run_dir = Job((RUN,)), RunDir(tmp_path / RUN.run_id)
    library_file = next(built.iterdir())
    library_file.unlink()
    before = job_file(job, CPU, run_dir)
    run_dir.write_job(before)
    library_file.touch()
    assert job_file(job, CPU, run_dir) == before
    assert before.execution.step == "eager"


def test_a_job_whose_worker_lacks_the_library_starts_again_with_the_plain_step(tmp_path: Path, built: Path) -> None:
    clock = Clock()
    engine = ScriptedEngine([CPU], {RUN.run_id: [RECORD]}, clock)
    dispatcher = Dispatcher(
        engine, artifacts=tmp_path, corpora=tmp_path, git=GitState(None, None), stall_seconds=5.0, clock=clock
    )
    ended = [notice for notice in dispatcher.run([Job((RUN,))]) if isinstance(notice, AttemptEnded)]
    assert [(notice.outcome, notice.reason) for notice in ended] == [
        ("not_recorded", "the step in C++ is not installed for that CPU; next with torch's"),
        ("done", None),
    ]
    job = RunDir(tmp_path / RUN.run_id).read_job()
    assert job is not None
    assert (job.execution.step, job.execution.instructions) == ("eager", "")
