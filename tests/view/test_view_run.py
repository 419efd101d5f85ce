"""What `isoflop run` says at its end: what was trained, and what goes on from where."""

import io
from typing import Any

import pytest
from rich.console import Console

from isoflop.sweep.run_outcome import RunOutcome
from isoflop.view.run_view import print_run

DONE = RunOutcome(
    sweep="demo",
    simulated=False,
    counts={"completed": 6, "diverged": 0, "failed": 0, "pending": 0},
    excluded={},
    incomplete=(),
    seconds=12.0,
    flops_spent=1.5e9,
    n_kept=0,
    n_read=0,
    busy_share=0.9,
)
STOPPED: dict[str, Any] = {"completed": 1, "diverged": 0, "failed": 0, "pending": 5}
CONTINUES = "The same command continues with the pending runs"


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({}, ["demo: 6 completed", "1.50e9 FLOPs in 12s, workers busy 90%"]),
        ({"flops_spent": 0.0, "busy_share": None}, ["demo: 6 completed", "Nothing was left to train."]),
        (
            {"flops_spent": 0.0, "busy_share": None, "n_read": 6},
            [
                "demo: 6 completed",
                "6 results read from the artifacts; none of them is trained again.",
                "Nothing was left to train.",
            ],
        ),
        (
            {"counts": STOPPED, "n_kept": 2},
            [
                "demo: 1 completed, 5 pending",
                "1.50e9 FLOPs in 12s, workers busy 90%",
                f"{CONTINUES}; 2 of 5 go on from a checkpoint.",
            ],
        ),
        (
            {"counts": STOPPED, "flops_spent": 0.0, "busy_share": None},
            ["demo: 1 completed, 5 pending", "Nothing was trained in 12s.", f"{CONTINUES}."],
        ),
    ],
    ids=["trained", "nothing to do", "results on disk", "stopped with checkpoints", "stopped while it waited"],
)
def test_the_end_says_what_was_trained(changes: dict[str, Any], lines: list[str]) -> None:
    assert said(**changes) == lines


def test_a_simulated_sweep_counts_no_flops() -> None:
    assert not any("FLOPs" in line or "train." in line for line in said(simulated=True, flops_spent=0.0))


def said(**changes: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=120)
    print_run(RunOutcome(**{**vars(DONE), **changes}), console)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]
