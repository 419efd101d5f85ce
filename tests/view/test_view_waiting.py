"""What `run` says while others work on its runs: which process, and what to do about one that does not go on."""

import pytest

from isoflop.engine.notices import DeviceHeld, DeviceTakenOut, Holder, Waiting
from isoflop.sweep.run_outcome import Outline
from isoflop.view.live import SweepProgress, event_line

NOBODY = SweepProgress(
    Outline(
        sweep="s", simulated=False, cells=(), done=frozenset(), shares={}, devices=(), device_kind="cpu", timings=()
    )
)


@pytest.mark.parametrize(
    ("holder", "said"),
    [
        (Holder(77, ("abc",), orphan=False, stopped=False), "process 77 works on abc"),
        (
            Holder(77, ("abc",), orphan=False, stopped=True),
            "process 77 works on abc and is stopped: `kill -CONT 77` continues it, `kill -9 77` ends it",
        ),
        (
            Holder(77, ("abc",), orphan=True, stopped=True),
            "process 77 works on abc: a killed `isoflop run` left it; where it does not end within seconds it is "
            "killed",
        ),
    ],
    ids=["at work", "stopped", "orphan"],
)
def test_a_process_that_is_waited_for_is_named_with_what_can_be_done(holder: Holder, said: str) -> None:
    line = event_line(NOBODY, Waiting(("abc",), (holder,)))
    assert line == f"waiting for another process that trains 1 run of this sweep; {said}"


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (DeviceHeld("H100", 77, waits=True), "waiting for H100: process 77 trains on it; "
         "`--share-devices` trains beside it"),
        (DeviceHeld("H100", 0, waits=True), "waiting for H100: another process trains on it; "
         "`--share-devices` trains beside it"),
        (DeviceHeld("Xeon", 77, waits=False), "process 77 trains on the cores of this machine too: "
         "both sweeps take longer than alone"),
    ],
    ids=["GPU", "unknown", "cores"],
)  # fmt: skip
def test_a_device_in_other_hands_is_named(held: DeviceHeld, said: str) -> None:
    assert event_line(NOBODY, held) == said


def test_without_a_known_process_the_runs_are_counted() -> None:
    line = event_line(NOBODY, Waiting(("abc", "def")))
    assert line == "waiting for another process that trains 2 runs of this sweep"


@pytest.mark.parametrize(("n_left", "then"), [(1, "1 worker left"), (0, "no worker is left, the sweep stops")])
def test_a_device_that_is_taken_out_is_named_with_the_reason_and_what_is_left(n_left: int, then: str) -> None:
    said = event_line(NOBODY, DeviceTakenOut("H100 (GPU-a)", "the worker ended with exit code 1", n_left))
    assert said == (
        "H100 (GPU-a) is taken out: different runs in a row crashed there; at the last, the worker ended with exit "
        f"code 1; {then}"
    )
