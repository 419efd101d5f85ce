"""How a sweep that steers itself grew, as a table and a figure."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest

from isoflop.report.figure.growth_figure import factor_ticks
from isoflop.report.growth_words import goal_document, growth_table, round_line
from isoflop.store import SteeringRound, Verdict

ROUND = SteeringRound(
    sweep="s",
    round=1,
    decided_at="2026-01-01T00:00:00+00:00",
    isoflop_version="1",
    target_flops=9e18,
    within=1.08,
    max_hours=None,
    n_rows=21,
    estimator="joint",
    n_opt=2e8,
    n_opt_low=1.9e8,
    n_opt_high=2.1e8,
    flops_spent=1e19,
    hours_spent=0.0,
    verdict=Verdict.MET,
    why="the goal is met",
    hint="",
    new_flops=0.0,
    new_hours=None,
    expected_span=None,
    new_runs=(),
)


def test_rounds_towards_another_target_than_the_last_are_said_to_be_that() -> None:
    table = growth_table([ROUND, replace(ROUND, round=2), replace(ROUND, round=3, target_flops=9e19)])
    assert table is not None
    assert "N_opt at 9.00e19 FLOPs" in table.note and "Of rounds 1, 2: at 9.00e18 FLOPs." in table.note
    same = growth_table([ROUND, replace(ROUND, round=2)])
    assert same is not None and "Of round" not in same.note


@pytest.mark.parametrize(("low", "high"), [(1.0, 1000), (1.05, 1.3), (1.0, 12), (1.2, 60)])
def test_factors_at_the_axis_never_lie_on_one_another(low: float, high: float) -> None:
    ticks = factor_ticks(low, high)
    assert 3 <= len(ticks) <= 9
    assert all(math.log(b / a) >= math.log(high / low) / 8 for a, b in pairwise(ticks))


GROWS = replace(
    ROUND,
    verdict=Verdict.GROW,
    why="the floor at 1e17 FLOPs lies below the sizes",
    max_hours=3.0,
    hours_spent=1.0,
    new_flops=4e18,
    new_hours=0.5,
    expected_span=1.1,
    new_runs=("aaa", "bbb"),
)


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (ROUND, ("N_opt at 9.00e18 FLOPs 200M", "a factor of 1.11; goal: 1.08", "1.00e19 FLOPs", "the goal is met")),
        (GROWS, ("2 left", "next 2 runs for 4.00e18 FLOPs", "lies below the sizes; expected: a factor of 1.1")),
        (
            replace(ROUND, verdict=Verdict.NO_GAIN, why="ten more runs expect 1.1", hint="Raise within."),
            ("stopped: more runs gain nothing: ten more runs expect 1.1. Raise within.",),
        ),
        (replace(GROWS, n_opt_low=None), ("no interval of N_opt at 9.00e18 FLOPs yet (goal: a factor of 1.08)",)),
    ],
)
def test_a_round_is_one_line_of_the_interval_what_is_spent_and_what_is_next(
    one: SteeringRound, said: tuple[str, ...]
) -> None:
    line = round_line(one, simulated=False)
    assert line.startswith("s, round 1: ") and all(part in line for part in said), line
    assert round_line(one, simulated=True) == f"SIMULATED {line}"


def test_the_document_of_a_goal_is_that_of_its_last_round() -> None:
    document = goal_document([GROWS, replace(ROUND, round=2, n_opt_high=2e8, n_opt_low=1.9e8)])
    assert (document["met"], document["verdict"], document["span"]) == (True, "met", pytest.approx(2 / 1.9))
    first, last = document["rounds"]
    assert (first["verdict"], first["new_runs"], last["n_opt_ci"]) == ("grow", ["aaa", "bbb"], (1.9e8, 2e8))
