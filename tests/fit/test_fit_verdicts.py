"""Verdicts change where the documented limits lie: a case just below each and one just above."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.stats import f as fisher

from isoflop.fit import fit_sweep
from isoflop.fit.estimators.choice import choose
from isoflop.fit.estimators.joint import fit_joint
from isoflop.fit.estimators.parabola import find_valleys
from isoflop.fit.findings.agreement import on_agreement
from isoflop.fit.findings.evidence import Evidence
from isoflop.fit.question import Question
from isoflop.fit.rows import sort_rows
from tests.fit.known_sweeps import EXPONENT_A, SKEWED, codes, known_sweep, stack, surface_sweep, valley, with_noise

FIVE = np.geomspace(1e18, 1e20, 5)
PLAIN = with_noise(surface_sweep(FIVE), np.random.default_rng(1), 0.001)


def _findings_of(**changed_joint):
    """What is found of agreement where the joint fit of a plain sweep had these attributes instead of its own."""
    rows, fit = sort_rows(*PLAIN), fit_sweep(*PLAIN)
    choice = choose(rows)
    changed = dataclasses.replace(choice, joint=dataclasses.replace(choice.joint, **changed_joint))
    seen = Evidence(
        rows=rows,
        valleys=find_valleys(rows),
        profiles=fit.profiles,
        noise=None,
        frontier=fit.frontier,
        estimators=fit.estimators,
        joint=choice.joint,
        choice=changed,
        replicates=None,
        targets=(),
        scorecard=(),
        credible_decades=None,
        question=Question(),
        suggested=(),
    )
    return {finding.code: finding for finding in on_agreement(seen)}


@pytest.mark.parametrize(("chance", "rejected"), [(0.0095, True), (0.0105, False)], ids=str)
def test_a_surface_is_rejected_where_it_would_fit_so_badly_once_in_a_hundred_sweeps(chance, rejected):
    # five floors, two lines and two exponents against five parameters; 35 rows less five floors and six
    lack_of_fit = float(fisher.isf(chance, 6, 24))
    found = _findings_of(lack_of_fit=lack_of_fit)
    assert ("surface_rejected" in found) == rejected
    if rejected:
        assert found["surface_rejected"].values["p_value"] == pytest.approx(chance)


@pytest.mark.parametrize(
    ("chance", "share_of_n", "named"),
    [(0.0095, 0.052, True), (0.0105, 0.052, False), (0.0095, 0.048, False), (1e-9, 0.048, False)],
    ids=["both", "likely", "small", "small and sure"],
)
def test_floors_are_scattered_where_noise_does_not_explain_five_per_cent_of_n(chance, share_of_n, named):
    ours = choose(sort_rows(*PLAIN)).joint.valley
    scatter = dataclasses.replace(ours.scatter, sd=math.log10(1 + share_of_n), p_value=chance)
    found = _findings_of(valley=dataclasses.replace(ours, scatter=scatter))
    assert ("scattered_floors" in found) == named


@pytest.mark.slow(3)
@pytest.mark.parametrize(("bias", "named"), [(0.046, False), (0.054, True)], ids=str)
def test_skew_is_named_where_a_parabola_is_off_by_five_per_cent_of_n(bias, named):
    def missed(half_width):
        """By how much of N a parabola on exact losses is off at the largest budget."""
        frontier = fit_sweep(*surface_sweep(FIVE, law=SKEWED, half_width=half_width)).frontier
        n_opt = math.log10(frontier.coef_n) + 20 * frontier.exponent_a
        return abs(10 ** (n_opt - SKEWED.optimum(20.0)[0]) - 1)

    low, high = 0.05, 1.0
    for _ in range(20):  # the bias grows with the width
        low, high = ((low + high) / 2, high) if missed((low + high) / 2) < bias else (low, (low + high) / 2)
    fit = fit_sweep(*surface_sweep(FIVE, law=SKEWED, half_width=low))
    assert ("skewed_valley" in codes(fit)) == named


# Noise and its seed by how unsure the ridge is at an end of the sweep, standard error in decades.
UNSURE = {0.469: (0.2, 23), 0.489: (0.15, 59), 0.545: (0.1, 53), 0.617: (0.2, 15), 0.656: (0.1, 22)}


@pytest.mark.parametrize("decades", UNSURE)
def test_a_ridge_less_sure_than_half_a_decade_is_no_estimate(decades):
    sd, seed = UNSURE[decades]
    exact = surface_sweep(np.geomspace(1e18, 1e20, 4), half_width=0.5, n_sizes=6)
    rows = sort_rows(*with_noise(exact, np.random.default_rng(seed), sd))
    joint = fit_joint(rows)
    line = joint.on_params.as_line(joint.valley.line.log_c_mean)
    assert max(math.sqrt(line.at(log_c)[1]) for log_c in (18, 20)) == pytest.approx(decades, abs=0.002)
    assert choose(rows).estimator == ("joint" if decades < 0.5 else "parabola")


def _split(budget, ratios):
    """One valley whose rows have budgets `ratios` times `budget`, each a budget of its own."""
    _, *others = valley(budget, offsets=np.linspace(-0.6, 0.6, len(ratios)))
    return (budget * np.array(ratios), *others)


def test_of_near_budgets_the_widest_group_is_told():
    wide, narrow = np.linspace(1, 1.04, 7), np.linspace(1, 1.01, 7)
    for order in ((wide, narrow), (narrow, wide)):
        fit = fit_sweep(*stack(known_sweep(), _split(1e21, order[0]), _split(1e22, order[1])))
        (finding,) = [finding for finding in fit.findings if finding.code == "near_budgets"]
        assert finding.values == {"n_budgets": 14, "n_groups": 2, "largest_ratio": pytest.approx(1.04)}
        assert "14 budgets would be 2 if budgets that differ by 4 % or less counted as one" in finding.message


@pytest.mark.parametrize(("step", "near"), [(1.049, True), (1.051, False)], ids=str)
def test_budgets_up_to_five_per_cent_apart_may_be_meant_as_one(step, near):
    # runs of two budgets, each with too few
    columns = stack(known_sweep(), _split(1e21, [1, 1, 1, step, step, step]))
    assert ("near_budgets" in codes(fit_sweep(*columns))) == near


@pytest.mark.parametrize(("ratios", "near"), [([1, 1, 1.02, 1.02], True), ([1, 1.01, 1.02], False)], ids=str)
def test_near_budgets_would_be_one_where_they_have_four_runs_together(ratios, near):
    assert ("near_budgets" in codes(fit_sweep(*stack(known_sweep(), _split(1e21, ratios))))) == near


def test_of_rows_that_no_budget_groups_fifty_are_listed():
    lone = known_sweep(budgets=np.geomspace(1e18, 1e21, 60), offsets=[0.0])
    assert len(fit_sweep(*lone).profiles) == 50
    assert len(fit_sweep(*known_sweep(budgets=np.geomspace(1e18, 1e21, 60))).profiles) == 60


def test_a_finding_lists_fifty_budgets_and_counts_the_others():
    lone = known_sweep(budgets=np.geomspace(1e21, 1e22, 60), offsets=[0.0])
    (finding,) = [one for one in fit_sweep(*stack(known_sweep(), lone)).findings if one.code == "too_few_runs"]
    assert (len(finding.values["budgets"]), finding.values["n_budgets"]) == (50, 60)


def test_a_target_without_an_estimate_says_what_to_do():
    def unanswered(columns):
        (finding,) = [one for one in fit_sweep(*columns, targets=[1e300]).findings if one.code == "no_target"]
        return finding

    assert unanswered(known_sweep(budgets=[1e19])).hint == "See the other findings."
    # N grows as C^1.2, and at 1e300 FLOPs past what a float holds
    budget, n_params, _, loss = known_sweep()
    n_params = n_params * (budget / 1e19) ** (1.2 - EXPONENT_A)
    far = unanswered((budget, n_params, budget / (6 * n_params), loss))
    assert "leaves the range of floating-point numbers" in far.message
    assert far.hint == "Ask for a budget nearer to the fitted ones."


@pytest.mark.parametrize("half_width", [0.3, 0.6, 1.0])
def test_a_lack_of_fit_is_never_negative(half_width):
    """Without noise both leave rounding alone, and the surface by chance the less of it."""
    found = fit_sweep(*surface_sweep(FIVE, half_width=half_width)).estimators
    assert found.surface.lack_of_fit_f >= 0
    assert "F -" not in found.recommended.reason
