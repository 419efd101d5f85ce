"""Each finding appears when its cause is there, and only then."""

import numpy as np
import pytest

from isoflop.finding import Severity
from isoflop.fit import Vertex, fit_sweep
from tests.fit.known_sweeps import BUDGETS, codes, known_sweep, stack, valley, with_noise

WELL = stack(*(valley(budget, offsets=np.linspace(-0.6, 0.6, 7)) for budget in BUDGETS))


def _with(offsets, **options):
    """The well-made sweep and a fourth budget, 1e21, that is not."""
    return stack(WELL, valley(1e21, offsets=offsets, **options))


def _only(fit, code):
    (finding,) = [finding for finding in fit.findings if finding.code == code]
    return finding


def test_a_well_made_sweep_has_no_findings():
    assert fit_sweep(*with_noise(WELL, np.random.default_rng(7), 0.002)).findings == ()


@pytest.mark.parametrize(
    ("offsets", "options", "code", "vertex"),
    [
        ([-0.2, 0.0, 0.2], {}, "too_few_runs", Vertex.TOO_FEW),
        ([-0.2, -0.2, 0.2, 0.2], {}, "too_few_runs", Vertex.TOO_FEW),
        ([-0.6, -0.2, 0.2, 0.6], {}, "few_sizes", Vertex.INSIDE),
        ([-0.6, -0.3, 0.0, 0.3, 0.6, 0.6], {}, "few_sizes", Vertex.INSIDE),
        (np.linspace(0.1, 1, 7), {}, "unbracketed", Vertex.BELOW),
        (np.linspace(-1, -0.1, 7), {}, "unbracketed", Vertex.ABOVE),
        (np.linspace(-0.6, 0.6, 7), {"curvature": -0.4}, "concave", Vertex.CONCAVE),
        (np.linspace(-1.0, 0.1, 7), {}, "off_centre", Vertex.INSIDE),
    ],
    ids=["three runs", "two sizes", "four sizes", "five sizes", "below", "above", "concave", "off centre"],
)
def test_a_budget_that_needs_attention_is_named(offsets, options, code, vertex):
    fit = fit_sweep(*_with(offsets, **options))
    assert fit.profiles[3].vertex is vertex
    assert codes(fit) == {code}
    finding = _only(fit, code)
    assert finding.values["budgets"] == [1e21]
    assert "1.00e21 FLOPs" in finding.message
    assert fit.frontier.n_profiles == 3 + (vertex is Vertex.INSIDE)


def test_three_sizes_with_a_replicate_make_a_profile():
    fit = fit_sweep(*_with([-0.6, 0.0, 0.0, 0.6]))
    assert fit.profiles[3].vertex is Vertex.INSIDE
    assert codes(fit) == {"few_sizes"}


@pytest.mark.parametrize(("side", "sign"), [("below", 1), ("above", -1)], ids=["below", "above"])
def test_an_unbracketed_valley_says_on_which_side(side, sign):
    finding = _only(fit_sweep(*_with(sign * np.linspace(0.1, 1, 7))), "unbracketed")
    assert finding.values["side"] == side
    assert ("smaller" if side == "below" else "larger") in finding.hint


def test_budgets_with_the_same_trouble_share_a_finding():
    fit = fit_sweep(*stack(WELL, *(valley(budget, offsets=[0.0]) for budget in np.geomspace(1e21, 1e22, 8))))
    finding = _only(fit, "too_few_runs")
    assert finding.values["n_budgets"] == 8
    assert "and 2 more" in finding.message


@pytest.mark.parametrize(
    ("tokens_offset", "vertex"), [(0.7, Vertex.BELOW), (-0.7, Vertex.ABOVE)], ids=["too few tokens", "too many tokens"]
)
def test_a_floor_inside_the_sizes_but_outside_the_tokens_takes_the_verdict_of_the_tokens(tokens_offset, vertex):
    budgets, n_params, n_tokens, loss = _with([-0.5, -0.3, -0.1, 0.1, 0.3, 0.5])
    last = slice(-6, None)
    # Quadratic in log D about a floor beyond the last token count; in log N the losses still rise on both sides.
    x = np.array([-0.5, -0.3, -0.1, 0.1, 0.3, 0.5])
    loss[last] = 2.5 + 0.4 * x**2
    n_tokens[last] = 10 ** (9 - np.sign(tokens_offset) * np.sqrt(loss[last] - 2.4))
    fit = fit_sweep(budgets, n_params, n_tokens, loss)
    assert fit.profiles[3].vertex is vertex
    assert fit.profiles[3].n_opt is fit.profiles[3].d_opt is None
    assert fit.frontier.n_profiles == 3


@pytest.mark.parametrize(
    ("n_budgets", "severity"), [(1, Severity.ERROR), (2, Severity.WARNING), (3, None)], ids=["one", "two", "three"]
)
def test_fewer_than_three_floors_are_few_budgets(n_budgets, severity):
    fit = fit_sweep(*known_sweep(budgets=BUDGETS[:n_budgets]))
    assert [finding.severity for finding in fit.findings if finding.code == "few_budgets"] == (
        [severity] * (severity is not None)
    )
    assert (fit.frontier is None) == (n_budgets == 1)


def test_two_budgets_make_a_frontier_with_intervals():
    fit = fit_sweep(*with_noise(known_sweep(budgets=BUDGETS[:2]), np.random.default_rng(8), 0.002))
    low, high = fit.frontier.exponent_a_ci
    assert low < 0.47 < high


def test_a_valley_drowned_in_the_noise_of_the_sweep_is_called_flat():
    noisy = with_noise(WELL, np.random.default_rng(9), 0.01)
    fit = fit_sweep(*stack(noisy, valley(1e21, np.linspace(-0.6, 0.6, 7), curvature=0.005)))
    assert _only(fit, "flat_valley").values["budgets"] == [1e21]


def test_an_interval_wider_than_a_float_is_left_empty():
    flat = valley(1e18, offsets=[-1e-3, 0.0, 1e-3, 1.5e-3], curvature=1e-3)
    fit = fit_sweep(*flat[:3], flat[3] + [1e-3, 0.0, 0.0, 1e-3], level=1 - 1e-12)
    assert fit.profiles[0].n_opt is not None
    assert fit.profiles[0].n_opt_ci is None
    assert _only(fit, "no_interval").values["budgets"] == [1e18]


@pytest.mark.parametrize(("target", "far"), [(9.9e20, False), (1.2e21, True), (1.1e17, False), (0.9e17, True)], ids=str)
def test_a_target_more_than_a_decade_away_is_far(target, far):
    fit = fit_sweep(*WELL, targets=[target])
    assert codes(fit) == {"loss_not_fitted"} | ({"far_extrapolation"} if far else set())


def test_targets_are_answered_in_the_order_asked():
    fit = fit_sweep(*WELL, targets=[1e20, 1e18, 1e20])
    assert [target.budget_flops for target in fit.targets] == [1e20, 1e18, 1e20]
    assert all(target.loss is None and target.estimator == "parabola" for target in fit.targets)
