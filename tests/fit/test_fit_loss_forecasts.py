"""Losses beyond the budgets: what is forecast, how it is judged, and what is said of it."""

import dataclasses
import math

import numpy as np
import pytest

from isoflop.fit import fit_sweep
from isoflop.fit.laws import SurfaceLaw
from isoflop.fit.reading.scorecard import loss_credible_decades, loss_widening
from isoflop.fit.reading.target_reader import Reach
from tests.fit.known_sweeps import CHINCHILLA, DATA, SKEWED, codes, published, surface_sweep, with_noise

# The authors' run at 1e21 FLOPs, near the forecast optimum (KempnerInstitute/loss-to-loss-notebooks), nats.
CONFIRMED = 2.4411
LLAMA = SurfaceLaw.of(0.6114, 62.8, 192.9, 0.3137, 0.3254)
LAWS = {"chinchilla": CHINCHILLA, "llama": LLAMA, "skewed": SKEWED}


def case(name):
    return tuple(np.loadtxt(DATA / "cases" / name / "input.csv", delimiter=",", skiprows=1).T)


def the(fit, code):
    (finding,) = (one for one in fit.findings if one.code == code)
    return finding


@pytest.fixture(scope="module")
def real():
    return fit_sweep(*case("21-losses-below-forecast"), targets=[1e21])


@pytest.fixture(scope="module")
def exact():
    return fit_sweep(*surface_sweep(np.geomspace(1e18, 1e20, 5)), targets=[1e18, 1e20, 1e21, 1e22])


def test_a_measured_run_beyond_a_published_sweep_lies_in_the_interval_of_its_loss(real):
    (target,) = real.targets
    low, high = target.loss_ci
    assert low <= CONFIRMED <= high
    # 1.4 % off for 3.8 % before, of an interval that was 1.4 % to either side
    assert abs(target.loss / CONFIRMED - 1) < 0.02
    assert (high - low) / 2 / CONFIRMED < 2.5 * 0.0142
    assert target.loss_credible is True


def test_the_scorecard_of_a_published_sweep_judges_its_losses_in_numbers(real):
    finding = the(real, "credible_loss")
    errors = [one.loss_seen - one.loss for one in real.scorecard]
    assert len(errors) == finding.values["n_forecasts"] == finding.values["n_held"] == 15
    assert (finding.values["least_error"], finding.values["most_error"]) == (min(errors), max(errors))
    assert finding.values["mean_error"] == pytest.approx(np.mean(errors))
    numbers = f"{-min(errors):.2g} lower to {max(errors):.2g} higher than forecast from cheaper ones"
    assert f"Losses of later budgets were {numbers}, 0 of 15 outside their interval" in finding.message
    assert real.loss_credible_decades == max(one.decades for one in real.scorecard)


def test_the_losses_seen_are_floors_of_the_runs_near_the_best(real):
    """By numpy's own parabola through the runs within 0.6 decades of the best."""
    budgets, n_params, _, loss = case("21-losses-below-forecast")
    kept = np.delete(np.arange(len(loss)), real.estimators.recommended.outliers)
    for forecast in real.scorecard:
        rows = kept[budgets[kept] == forecast.budget_flops]
        x = np.log10(n_params[rows])
        near = np.abs(x - x[np.argmin(loss[rows])]) <= 0.6
        assert near.sum() >= 5
        c2, c1, c0 = np.polyfit(x[near] - x.mean(), loss[rows][near], 2)
        assert forecast.loss_seen == pytest.approx(c0 - c1**2 / (4 * c2), rel=1e-9)


def test_a_loss_beyond_lies_half_way_between_its_law_and_the_power_law_that_touches_it(exact):
    law = exact.estimators.recommended.loss_law

    def bent(budget):
        return law.e + math.exp(law.log_k) * budget**-law.gamma

    step = 1e-5
    slope = (math.log(bent(1e20 * math.exp(step))) - math.log(bent(1e20 * math.exp(-step)))) / (2 * step)
    for target in exact.targets:
        beyond = max(target.budget_flops / 1e20, 1.0)
        straight = bent(1e20) * beyond**slope if beyond > 1 else bent(target.budget_flops)
        assert target.loss == pytest.approx((bent(target.budget_flops) + straight) / 2, rel=1e-7)
        apart, per_decade = bent(target.budget_flops) - straight, 0.004 * math.log10(beyond) * target.loss
        assert target.loss_model_error == pytest.approx(math.hypot(apart / 2, 1.6449 * per_decade), rel=1e-4)


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("budgets", [np.geomspace(1e18, 1e20, 5), 1e18 * np.array([1, 2.1, 4.4, 9.5, 20, 43])], ids=len)
def test_a_sweep_of_one_law_is_told_that_its_losses_proved_right(name, budgets):
    fit = fit_sweep(*with_noise(surface_sweep(budgets, law=LAWS[name]), np.random.default_rng(3), 1e-4))
    assert all(forecast.loss_held for forecast in fit.scorecard)
    assert "credible_loss" in codes(fit)
    assert "loss_scorecard_missed" not in codes(fit)


@pytest.mark.parametrize("shift", [-0.3, -0.15, 0.15, 0.3])
@pytest.mark.parametrize("name", LAWS)
def test_a_sweep_whose_later_budgets_had_another_recipe_is_told_how_far_its_losses_were_missed(name, shift):
    """The last two of six budgets end `shift` lower or higher, at the same sizes."""
    budgets, *others, loss = surface_sweep(np.geomspace(1e18, 1e20, 6), law=LAWS[name])
    loss = loss + shift * (budgets > 3e19)
    fit = fit_sweep(*with_noise((budgets, *others, loss), np.random.default_rng(4), 1e-3))
    finding = the(fit, "loss_scorecard_missed")
    missed = [one for one in fit.scorecard if not one.loss_held]
    assert len(missed) == finding.values["n_forecasts"] - finding.values["n_held"] > 0
    assert ("lower" if shift < 0 else "higher") in finding.message
    assert "credible_loss" not in codes(fit)
    assert fit.loss_credible_decades < max(one.decades for one in fit.scorecard)


def test_losses_that_cannot_be_forecast_are_judged_by_no_finding():
    """Three budgets have none to forecast; losses below zero have no law that falls as a power."""
    short = fit_sweep(*surface_sweep([1e18, 1e19, 1e20]))
    budgets, *others, loss = surface_sweep(np.geomspace(1e18, 1e20, 5))
    for fit in (short, fit_sweep(budgets, *others, loss - 9.0)):
        assert not codes(fit) & {"credible_loss", "loss_scorecard_missed"}
        assert fit.loss_credible_decades is None or not fit.scorecard


def test_an_interval_is_widened_by_as_much_as_the_scorecard_missed():
    """So that no more of its own forecasts would have missed than the level allows."""
    fit = fit_sweep(*published("marin_comma"))
    card = [dataclasses.replace(one, loss=3.0, loss_ci=(2.95, 3.05), loss_model_error=0.03) for one in fit.scorecard]
    held = [dataclasses.replace(one, loss_seen=3.01, loss_held=True) for one in card]
    missed = [dataclasses.replace(one, loss_seen=2.9, loss_held=False) for one in card]
    assert loss_widening(held, 0.9) == loss_widening([], 0.9) == 1.0
    assert loss_credible_decades(held, 0.9) == max(one.decades for one in card)
    # one of five may miss
    assert loss_widening([*held[:4], missed[4]], 0.9) == 1.0
    widening = loss_widening([*held[:3], *missed[3:5]], 0.9)
    # the half-width that just holds 0.1: the rest of it, 0.04, stays
    assert math.hypot(0.04, widening * 0.03) == pytest.approx(0.1)


def test_what_the_scorecard_missed_widens_the_losses_of_targets():
    budgets, *others, loss = surface_sweep(np.geomspace(1e18, 1e20, 6))
    shifted = loss + 0.2 * (budgets > 3e19)
    fit = fit_sweep(budgets, *others, shifted, targets=[1e21])
    assert loss_widening(fit.scorecard, 0.9) > 2
    (target,) = fit.targets
    statistical = np.ptp(target.loss_ci_statistical) / 2
    assert np.ptp(target.loss_ci) / 2 == pytest.approx(math.hypot(statistical, target.loss_model_error))
    assert target.loss_credible is False
    plain = fit_sweep(budgets, *others, loss, targets=[1e21]).targets[0]
    assert target.loss_model_error > 2 * plain.loss_model_error


def test_a_scorecard_that_held_all_is_said_to_have_and_reaches_its_farthest_forecast():
    columns = case("20-scorecard-that-held-all")
    fit = fit_sweep(*columns)
    assert all(one.held for one in fit.scorecard)
    assert "scorecard_missed" not in codes(fit)
    assert "credible_extrapolation" in codes(fit)
    largest, reach = math.log10(columns[0].max()), fit.credible_decades
    at, beyond = fit_sweep(*columns, targets=[10 ** (largest + reach), 10 ** (largest + reach + 1e-3)]).targets
    assert at.credible is True
    assert beyond.credible is False


def test_a_distance_is_reached_whatever_the_rounding_of_its_logarithm():
    """10 ** (log10 C + distance) has another distance by a last digit now and then."""
    reach = Reach(decades=0.6575773, loss_decades=0.3)
    assert reach.holds(0.6575773 + 1e-12) and not reach.holds(0.6576)
    assert reach.holds_loss(0.3 + 1e-12) and not reach.holds_loss(0.301)
    assert Reach().holds(0.1) is Reach().holds_loss(0.1) is None


@pytest.mark.parametrize("seed", range(8))
def test_no_scorecard_that_held_all_is_called_missed(seed):
    """Whatever the steps between budgets."""
    generator = np.random.default_rng(seed)
    budgets = 1e18 * np.cumprod(generator.uniform(1.7, 3.0, 5))
    fit = fit_sweep(*with_noise(surface_sweep(budgets), generator, 0.002))
    assert ("scorecard_missed" in codes(fit)) <= (not all(one.held for one in fit.scorecard))
    assert ("loss_scorecard_missed" in codes(fit)) <= (not all(one.loss_held for one in fit.scorecard))


@pytest.mark.slow
def test_intervals_of_losses_hold_what_is_true_on_simulated_sweeps():
    budgets = np.geomspace(1e18, 1e20, 5)
    held = []
    for seed in range(40):
        name = list(LAWS)[seed % 3]
        columns = with_noise(surface_sweep(budgets, law=LAWS[name]), np.random.default_rng([5, seed]), 0.004)
        for target in fit_sweep(*columns, targets=[1e20, 1e21, 1e22]).targets:
            log_n, log_d = (log * math.log(10) for log in LAWS[name].optimum(math.log10(target.budget_flops)))
            low, high = target.loss_ci
            held.append(low <= float(np.exp(LAWS[name].log_loss(log_n, log_d))) <= high)
    # 120 readings of nominal 90 %, three of a sweep together: a standard error of 4 %
    assert 0.82 <= np.mean(held) <= 1.0
