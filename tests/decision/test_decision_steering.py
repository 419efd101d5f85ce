"""What a sweep that steers itself does next, on sweeps drawn from a known surface."""

import math

import numpy as np
import pytest

from isoflop.decision.steering.goal import Goal, Means, NextRound, Past
from isoflop.decision.steering.next_round import MOST_GROWTH, PATIENCE, ROUND_SHARE, VALLEY_SHARE, decide_round
from isoflop.fit import fit_sweep
from isoflop.fit.rows import Rows, sort_rows
from isoflop.store import Verdict
from tests.fit.known_sweeps import CHINCHILLA

BUDGETS = (1e18, 3e18, 9e18)
TARGET = 9e19
NOISE = 0.002
Runs = list[tuple[float, float]]


def optimum(budget: float) -> float:
    return float(CHINCHILLA.optimum(math.log10(budget))[0])


def grid(*, off: float = 1.0, n_sizes: int = 7, half_width: float = 0.65, budgets: tuple[float, ...] = BUDGETS) -> Runs:
    """Sizes about a guess of the optimum that is `off` times too large."""
    offsets = math.log10(off) + np.linspace(-half_width, half_width, n_sizes)
    return [(budget, float(10 ** (optimum(budget) + offset))) for budget in budgets for offset in offsets]


def beside(off: float) -> Runs:
    """A grid that holds its floors, or where it is `off` one that is too narrow for that."""
    return grid(off=off, half_width=0.65 if off == 1.0 else 0.4)


def trained(runs: Runs, *, noise: float = NOISE, seed: int = 0) -> Rows:
    budgets, sizes = (np.array(column) for column in zip(*runs, strict=True))
    loss = np.array([CHINCHILLA.loss(n, c / (6 * n)) for c, n in runs])
    loss *= np.exp(np.random.default_rng(seed).normal(0, noise, len(runs)))
    return sort_rows(budgets, sizes, budgets / (6 * sizes), loss)


def decide(runs: Runs, *, within: float = 1.25, max_hours: float | None = None, noise: float = NOISE,
           target: float = TARGET, **means: object) -> NextRound:  # fmt: skip
    known = {"flops_spent": sum(c for c, _ in runs), "hours_spent": 0.0, "trainable": lambda _, n: n, **means}
    return decide_round(trained(runs, noise=noise), Goal(target, within, max_hours), Means(**known))  # type: ignore[arg-type]


def flops(runs: object) -> float:
    return sum(budget for budget, _ in runs)  # type: ignore[attr-defined]


def test_a_goal_that_the_results_meet_is_met_by_the_interval_that_fit_shows() -> None:
    found, rows = decide(grid(), within=2.0), trained(grid())
    (target,) = fit_sweep(rows.budget_flops, rows.n_params, rows.n_tokens, rows.loss, targets=[TARGET]).targets
    assert found.verdict is Verdict.MET and found.runs == ()
    assert found.reading is not None
    assert (found.reading.low, found.reading.high) == pytest.approx(target.n_opt_ci_statistical, rel=1e-12)
    assert found.reading.n_opt == pytest.approx(target.n_opt, rel=1e-12)


def test_a_wide_interval_asks_for_runs_that_cost_no_more_than_a_share_and_promise_to_narrow_it() -> None:
    found = decide(grid(), within=1.1, noise=0.004)
    assert found.verdict is Verdict.GROW
    assert found.reading is not None and found.expected_span is not None
    assert found.reading.span > 1.1 and found.expected_span < found.reading.span
    share = VALLEY_SHARE if {budget for budget, _ in found.runs} - set(BUDGETS) else ROUND_SHARE
    assert 0 < flops(found.runs) <= share * flops(grid())
    assert max(budget for budget, _ in found.runs) < TARGET


def test_the_same_results_give_the_same_decision() -> None:
    assert decide(grid(), within=1.1) == decide(grid(), within=1.1)


@pytest.mark.parametrize(("off", "side"), [(5.0, "below"), (0.2, "above")])
def test_floors_off_the_sizes_are_found_by_whole_valleys_the_cheapest_first(off: float, side: str) -> None:
    runs = beside(off)
    found = decide(runs)
    assert found.verdict is Verdict.GROW
    assert {budget for budget, _ in found.runs} == {BUDGETS[0]}
    assert f"its floor lies {side} its sizes" in found.why
    sizes = [n for budget, n in runs if budget == BUDGETS[0]]
    beyond = [n for _, n in found.runs if not min(sizes) <= n <= max(sizes)]
    assert all((n < min(sizes)) == (side == "below") for n in beyond)
    assert len(beyond) >= 3


@pytest.mark.parametrize("off", [5.0, 0.2])
def test_a_sweep_that_begins_beside_its_valleys_comes_to_its_goal_and_to_the_truth(off: float) -> None:
    runs, past, verdict = beside(off), [], Verdict.GROW
    for _ in range(30):
        found = decide(runs, past=past)
        verdict = found.verdict
        if verdict.ends:
            break
        past.append(Past(len(runs), flops(runs), found.reading.span if found.reading else None))
        runs = runs + list(found.runs)
    assert verdict is Verdict.MET
    assert found.reading is not None
    assert abs(math.log10(found.reading.n_opt) - optimum(TARGET)) < 0.1
    assert flops(runs) < 4 * flops(grid())


def test_sizes_that_a_budget_has_are_not_trained_again_when_its_valley_is_centred_anew() -> None:
    runs = beside(5.0)
    known = np.log10([n for budget, n in runs if budget == BUDGETS[0]])
    new = np.log10([n for _, n in decide(runs).runs])
    assert min(abs(known[:, None] - new[None, :]).ravel()) > 0.06


def test_one_budget_alone_opens_the_next_on_the_usual_slope() -> None:
    found = decide(grid(budgets=BUDGETS[:1]))
    (budget,) = {budget for budget, _ in found.runs}
    assert found.verdict is Verdict.GROW
    assert BUDGETS[0] < budget < TARGET
    assert np.log10([n for _, n in found.runs]).mean() == pytest.approx(optimum(budget), abs=0.1)


def test_hours_that_are_gone_end_a_sweep_whose_goal_is_not_met() -> None:
    found = decide(grid(), within=1.01, max_hours=2.0, hours_spent=2.5)
    assert found.verdict is Verdict.HOURS_GONE
    assert "2.5 device-hours are spent" in found.why and "goal.max_hours is 2" in found.why
    assert "goal.max_hours" in found.hint
    assert decide(grid(), within=2.0, max_hours=2.0, hours_spent=2.5).verdict is Verdict.MET


def _hours(budget: float, n_params: float) -> float:
    return budget / 1e18


@pytest.mark.parametrize("off", [1.0, 5.0], ids=["narrow", "re-centre"])
def test_no_round_takes_more_hours_than_are_left(off: float) -> None:
    runs = beside(off)
    found = decide(runs, within=1.05, max_hours=12.0, hours=_hours)
    assert found.verdict is Verdict.GROW
    assert sum(_hours(*run) for run in found.runs) <= 12.0
    short = decide(runs, within=1.05, max_hours=1e-3, hours=_hours)
    assert short.verdict is Verdict.HOURS_GONE
    assert "would come next" in short.why and "are left" in short.why


def test_too_few_sizes_for_any_valley_say_what_to_mend() -> None:
    found = decide(grid(n_sizes=3))
    assert found.verdict is Verdict.NO_VALLEY
    assert "the most that one has is 3 runs" in found.why
    assert "grid.sizes" in found.hint


def test_a_round_that_gave_nothing_ends_the_sweep() -> None:
    found = decide(grid(), within=1.05, past=[Past(len(grid()), flops(grid()), 1.5)])
    assert found.verdict is Verdict.NO_GAIN
    assert "none of the runs of the round before" in found.why


def _idle_past(span: float) -> list[Past]:
    return [Past(count, float(count), span) for count in range(1, PATIENCE + 1)]


def test_rounds_that_do_not_narrow_the_interval_lead_to_a_new_budget_and_where_there_is_none_to_the_end() -> None:
    now = decide(grid(), within=1.05).reading
    assert now is not None
    found = decide(grid(), within=1.05, past=_idle_past(now.span))
    assert found.verdict is Verdict.GROW
    assert min(budget for budget, _ in found.runs) > BUDGETS[-1]
    assert "3 rounds have not narrowed the interval" in found.why
    near = decide(grid(), within=1.001, target=1.5e19, max_hours=1e9, past=_idle_past(1.0011))
    assert near.verdict is Verdict.NO_GAIN
    assert "goal.within" in near.hint


def test_a_goal_far_out_of_reach_is_given_up_unless_hours_are_given_for_it() -> None:
    found = decide(grid(), within=1.0001)
    assert found.verdict is Verdict.OUT_OF_REACH
    assert "times the FLOPs spent so far" in found.why
    assert found.reading is not None
    reachable = float(found.hint.split("goal.within to ")[1].split()[0])
    assert math.log(found.reading.span) / math.log(reachable) <= math.sqrt(MOST_GROWTH)
    assert decide(grid(), within=1.0001, max_hours=1e9, hours=_hours).verdict is Verdict.GROW


def test_sizes_that_cannot_be_trained_end_the_sweep_with_what_to_change() -> None:
    found = decide(beside(5.0), trainable=lambda *_: None)
    assert found.verdict is Verdict.OUT_OF_REACH
    assert "cannot be trained" in found.why
    assert "recipe.min_steps" in found.hint


def test_only_sizes_that_can_be_trained_are_asked_for() -> None:
    ladder = np.geomspace(1e6, 1e10, 60)

    def nearest(_: float, n_params: float) -> float:
        return float(ladder[np.argmin(np.abs(np.log(ladder / n_params)))])

    for off in (1.0, 5.0):
        found = decide(beside(off), within=1.05, trainable=nearest)
        assert found.runs and all(np.isclose(ladder, n).any() for _, n in found.runs)
