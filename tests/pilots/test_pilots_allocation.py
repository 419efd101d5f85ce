"""What a pilot's process has in its allocation, and what it does at its signals."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from isoflop.engine.local.devices import FoundDevices
from isoflop.engine.pilots import pilot as pilot_module
from isoflop.engine.pilots.mailbox import EndedAnswer, HereAnswer, LeavingAnswer, Mailbox, ObstacleAnswer
from isoflop.engine.pilots.pilot import NO_FOLDER, lanes_here, main
from isoflop.engine.protocol import USABLE_MEMORY, Slot
from isoflop.rundir import ExitCode
from tests.pilots.pilot_stage import CONTENT, LANES, Stage, StagedEngine
from tests.scripted_engine import WORK


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of eight cores and 1000 bytes of memory to plan with, of which no control group takes any."""
    monkeypatch.setattr(pilot_module, "cpu_cores", lambda: 8)
    monkeypatch.setattr("isoflop.engine.local.devices.cpu_cores", lambda: 8)
    monkeypatch.setattr("isoflop.engine.local.devices.host_memory", lambda: 1000 / USABLE_MEMORY)
    monkeypatch.setattr(pilot_module, "memory_limit", lambda: None)
    for name in ("SLURM_CPUS_ON_NODE", "SLURM_MEM_PER_NODE", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variable", "changes", "number"),
    [
        ("", {}, 8),
        ("3", {}, 3),
        ("3", {"cores": 2}, 2),
        ("100", {}, 8),
        ("0", {}, 8),
        ("3(x2)", {}, 8),
        ("3", {"most_lanes": 2}, 2),
        ("7", {"devices_per_run": 2}, 3),
        ("", {"device": "auto"}, 8),
    ],
)
def test_lanes_are_the_cores_of_the_allocation(
    monkeypatch: pytest.MonkeyPatch, cores: None, variable: str, changes: dict[str, object], number: int
) -> None:
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", variable)
    content = CONTENT.model_copy(update=changes)
    lanes = lanes_here(content)
    assert len(lanes) == number
    assert {(lane.kind, lane.n_devices) for lane in lanes} == {("cpu", content.devices_per_run)}
    assert all(lane.n_sharing <= number * content.devices_per_run for lane in lanes)


@pytest.mark.parametrize(
    ("megabytes", "memory_bytes", "limit", "expected"),
    [
        ("", None, None, 1000.0),
        ("", 100.0, None, 100 * USABLE_MEMORY),
        ("", 1e9, None, 1000.0),
        ("1", None, None, 1000.0),
        ("", 100.0, 5e8, 1000.0),  # the control group's is known to the machine's memory already
    ],
)
def test_memory_is_what_the_allocation_has(
    monkeypatch: pytest.MonkeyPatch,
    cores: None,
    megabytes: str,
    memory_bytes: float | None,
    limit: float | None,
    expected: float,
) -> None:
    monkeypatch.setenv("SLURM_MEM_PER_NODE", megabytes)
    monkeypatch.setattr(pilot_module, "memory_limit", lambda: limit)
    lanes = lanes_here(CONTENT.model_copy(update={"memory_bytes": memory_bytes, "most_lanes": 1}))
    assert [lane.memory_bytes for lane in lanes] == [expected]


def test_slurm_counts_memory_in_mebibytes(monkeypatch: pytest.MonkeyPatch, cores: None) -> None:
    monkeypatch.setattr("isoflop.engine.local.devices.host_memory", lambda: 1e12)
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "3")
    assert {lane.memory_bytes for lane in lanes_here(CONTENT)} == {3 * 2.0**20 * USABLE_MEMORY}


def test_a_gpu_that_was_given_in_part_has_that_part_of_its_memory(monkeypatch: pytest.MonkeyPatch, cores: None) -> None:
    asked: list[object] = []

    def find(device: str, workers: int | None, devices_per_run: int, wish: object) -> FoundDevices:
        asked.append((device, workers))
        return FoundDevices((tuple(replace(lane, n_sharing=3) for lane in LANES),), ())

    monkeypatch.setattr(pilot_module, "find_devices", find)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    lanes = lanes_here(CONTENT.model_copy(update={"device": "auto", "device_share": 0.25, "most_lanes": 2}))
    assert asked == [("cuda", None)]
    assert [(lane.visible_device, lane.memory_bytes, lane.n_sharing) for lane in lanes] == [
        ("0", 20e9, 2),
        ("1", 20e9, 2),
    ]


def test_a_process_without_a_pilot_file_says_where_it_looked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(str(tmp_path), "3") == NO_FOLDER
    assert f"No pilot.json in {str(tmp_path / '3')!r} on " in capsys.readouterr().err


def test_a_device_that_is_not_there_is_an_obstacle_for_every_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    box = Mailbox(tmp_path / "0")
    box.create(CONTENT.model_copy(update={"device": "cuda"}))
    assert main(str(tmp_path), "0") == 1
    [said] = box.answers(0)[0]
    assert isinstance(said, ObstacleAnswer) and "GPU" in said.message


@pytest.fixture
def handlers() -> Iterator[None]:
    """The handlers of signals, as they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("received", "why"),
    [
        (signal.SIGUSR2, "the time limit of its allocation is near"),
        (signal.SIGTERM, "its allocation was taken away"),
        (signal.SIGINT, "its allocation was taken away"),
    ],
)
def test_the_process_says_what_it_has_and_takes_signals_as_evictions(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, cores: None, handlers: None, received: signal.Signals, why: str
) -> None:
    given: list[tuple[Slot, ...]] = []

    def engine(lanes: tuple[Slot, ...]) -> StagedEngine:
        given.append(lanes)
        return stage.engine

    monkeypatch.setattr(pilot_module, "LocalEngine", engine)
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "2")
    stage.engine.does(WORK)
    stage.order(0)
    stage.engine.at(1, partial(signal.raise_signal, received))
    assert main(str(stage.folder), "0") == 0
    here, ended, leaving = stage.answers()
    assert isinstance(here, HereAnswer) and isinstance(ended, EndedAnswer)
    assert (here.pid, here.lanes) == (os.getpid(), given[0])
    assert len(here.lanes) == 2 and all(lane.instructions is not None for lane in here.lanes)
    assert (ended.exit_code, ended.evicted) == (ExitCode.CHECKPOINTED, why)
    assert leaving == LeavingAnswer(why=why)
