"""Which sizes lose no more than a margin: valleys made by hand, and surfaces read along their lines of equal cost."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq

from isoflop.fit import fit_sweep
from isoflop.fit.reading.target_reader import flat_bands
from isoflop.fit.valley import ValleyShape
from tests.fit.known_sweeps import CHINCHILLA, SKEWED, known_sweep, rows_of, stack, surface_sweep, with_noise

# With exponents 1 below and 2 above, the loss at u = N / N_opt is depth (1/u + u^2/2 - 3/2). It is one depth above the
# floor where u^3 - 5 u + 2 = (u - 2)(u^2 + 2 u - 1) = 0: at twice the optimum and at sqrt 2 - 1 of it.
LARGEST, SMALLEST = 2.0, math.sqrt(2) - 1


def made_by_hand(depth=0.05, decay=0.0):
    return ValleyShape(below=1.0, above=2.0, log_depth=math.log(depth), decay=decay, log_c_mean=19.0)


def test_a_steeper_side_is_the_nearer_one():
    below, above = made_by_hand().within(0.05, 19.0)
    assert (10**-below, 10**above) == pytest.approx((SMALLEST, LARGEST), rel=1e-12)


def test_a_valley_mirrored_has_its_sides_exchanged():
    below, above = ValleyShape(2.0, 1.0, math.log(0.05), 0.0, 19.0).within(0.05, 19.0)
    assert (10**-below, 10**above) == pytest.approx((1 / LARGEST, 1 / SMALLEST), rel=1e-12)


@pytest.mark.parametrize("log_c", [17.5, 19.0, 22.0])
def test_deeper_budgets_are_less_deep_by_the_decay_per_decade(log_c):
    shape = made_by_hand(decay=0.3)
    below, above = shape.within(0.05 * math.exp(-0.3 * (log_c - 19.0)), log_c)
    assert (10**-below, 10**above) == pytest.approx((SMALLEST, LARGEST), rel=1e-12)


@pytest.mark.parametrize("exponents", [(1.0, 2.0), (0.03, 0.9), (1.5, 0.05), (0.3, 0.3)], ids=str)
@pytest.mark.parametrize("nats", [1e-13, 1e-9, 1e-4, 0.02, 3.0])
def test_the_loss_at_both_ends_is_the_margin(exponents, nats):
    below, above = exponents
    ends = ValleyShape(below, above, math.log(0.1), 0.0, 19.0).within(nats, 19.0)
    if nats < 1e-6:  # a parabola: half of (below + above) v^2, to first order in the skew
        expected = [math.sqrt(2 * nats / 0.1 / (below + above)) / math.log(10)] * 2
        assert ends == pytest.approx(expected, rel=1e-3)
        return
    for decades, sign in zip(ends, (-1, 1), strict=True):
        v = sign * decades * math.log(10)
        loss = 0.1 * ((math.exp(-below * v) - 1) / below + (math.exp(above * v) - 1) / above)
        assert loss == pytest.approx(nats, rel=1e-8)


def test_bands_are_the_noise_and_three_shares_of_the_loss():
    noise, *shares = flat_bands(made_by_hand(depth=0.025), log_n=8.0, log_c=19.0, loss=2.5, noise_sd=0.025)
    assert noise.n_params == pytest.approx((SMALLEST * 1e8, LARGEST * 1e8))
    assert [band.margin for band in (noise, *shares)] == ["noise", "0.1 %", "0.5 %", "1 %"]
    assert [band.nats for band in shares] == pytest.approx([0.0025, 0.0125, 0.025])
    assert shares[-1].n_params == pytest.approx((SMALLEST * 1e8, LARGEST * 1e8))
    assert shares[0].n_params[0] > shares[1].n_params[0] > shares[2].n_params[0]


def test_without_noise_or_without_a_loss_its_bands_are_missing():
    shape = made_by_hand()
    assert [band.margin for band in flat_bands(shape, 8.0, 19.0, 2.5, noise_sd=0.0)] == ["0.1 %", "0.5 %", "1 %"]
    assert [band.margin for band in flat_bands(shape, 8.0, 19.0, None, noise_sd=0.1)] == ["noise"]
    assert flat_bands(shape, 8.0, 19.0, 0.0, noise_sd=0.0) == ()


@pytest.mark.parametrize("log_n", [-307.0, 307.99])
def test_a_band_beyond_the_range_of_a_float_is_none(log_n):
    assert flat_bands(made_by_hand(), log_n, 19.0, None, noise_sd=0.05)[0].n_params is None


def ends_on_surface(law, budget, nats):
    """Smallest and largest N that lose `nats` at C = 6 N D, by bisection of the law itself."""
    log_n, _ = law.optimum(math.log10(budget))

    def loss(decades):
        return rows_of(law, budget, [10 ** (log_n + decades)])[3][0]

    floor = loss(0.0)
    return tuple(10 ** (log_n + brentq(lambda x: loss(x) - floor - nats, *side)) for side in ((-6, 0), (0, 6)))


@pytest.mark.parametrize("law", [CHINCHILLA, SKEWED], ids=["chinchilla", "skewed"])
@pytest.mark.parametrize("target", [1e19, 1e22])
def test_bands_of_the_recommended_estimate_end_where_the_surface_itself_loses_their_margin(law, target):
    noisy = with_noise(surface_sweep(law=law), np.random.default_rng(3), 1e-6)
    fit = fit_sweep(*noisy, targets=[target])
    assert fit.estimators.recommended.estimator == "joint"
    for band in fit.targets[0].bands:
        assert band.n_params == pytest.approx(ends_on_surface(law, target, band.nats), rel=0.02)


def test_bands_of_a_surface_alone_end_where_it_loses_their_margin():
    # one run per budget: no valley, only the surface
    log_budgets, off = np.linspace(18, 20, 14), [-0.5, 0.5] * 7
    sizes = [10 ** (SKEWED.optimum(log_c)[0] + decades) for log_c, decades in zip(log_budgets, off, strict=True)]
    rows = stack(*(rows_of(SKEWED, 10**log_c, [size]) for log_c, size in zip(log_budgets, sizes, strict=True)))
    fit = fit_sweep(*with_noise(rows, np.random.default_rng(4), 1e-7), targets=[1e23])
    assert fit.estimators.recommended.estimator == "surface"
    assert len(fit.targets[0].bands) == 4
    for band in fit.targets[0].bands:
        assert band.n_params == pytest.approx(ends_on_surface(SKEWED, 1e23, band.nats), rel=0.01)


def test_bands_of_parabolas_are_those_of_their_median_curvature():
    rows = with_noise(known_sweep(offsets=(-0.4, 0.0, 0.2, 0.4)), np.random.default_rng(5), 5e-3)
    budget, n_params, _, loss = rows = tuple(column[:8] for column in rows)
    curvatures = [np.polyfit(np.log10(n_params[budget == one]), loss[budget == one], 2)[0] for one in np.unique(budget)]
    [target] = fit_sweep(*rows, targets=[1e19]).targets
    assert target.estimator == "parabola"
    [noise] = target.bands
    half = math.sqrt(noise.nats / np.median(curvatures))
    assert half > 0.05
    assert noise.n_params == pytest.approx((target.n_opt / 10**half, target.n_opt * 10**half), rel=1e-4)
