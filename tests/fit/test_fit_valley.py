"""The one formula of the skewed valley, against exact arithmetic, finite differences and its own inverse."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest

from isoflop.fit.estimators.joint_objective import Axis, JointObjective
from isoflop.fit.laws import SurfaceLaw
from isoflop.fit.lines import NO_ERRORS, Line
from isoflop.fit.rows import SIX
from isoflop.fit.valley import BENDS, Heights, ValleyShape, height

SKEWED = ValleyShape(below=0.5, above=0.2, log_depth=-1.3, decay=0.4, log_c_mean=20.0)
V = np.array([-3.0, -0.4, -1e-3, -1e-7, 0.0, 1e-9, 1e-4, 0.7, 2.5])


def exact(v: float, below: float, above: float) -> float:
    with localcontext(prec=60):
        v, below, above = (Decimal(value) for value in (v, below, above))
        return float(((-below * v).exp() - 1) / below + ((above * v).exp() - 1) / above)


def test_every_evaluation_gives_the_formula_in_sixty_digits():
    expected = np.array([exact(v, 0.5, 0.2) for v in V])
    batch = Heights(V[None], np.array([[0.5]]), np.array([[0.2]])).value[0]
    # near v = 0 both sides are v to first order, and what is left is their difference
    lost = np.where(np.abs(V) < 1e-5, 1e-20, 1e-15)
    for found in (height(V, 0.5, 0.2, np.expm1), [height(v, 0.5, 0.2, math.expm1) for v in V.tolist()], batch):
        assert (np.abs(found - expected) <= 1e-12 * expected + lost).all()


def test_derivatives_are_those_of_the_formula():
    below, above, s, step = 0.5, 0.2, -0.7, 1e-4

    def value(v, s, log_below, log_above):
        return np.exp(s) * height(v, math.exp(log_below), math.exp(log_above), np.expm1)

    at = {"v": V, "s": s, "a": math.log(below), "b": math.log(above)}

    def moved(**by):
        return value(*(at[name] + by.get(name, 0.0) for name in "vsab"))

    heights = Heights(V[None], np.array([[below]]), np.array([[above]]))
    first = dict(zip("vab", (heights.slope, *heights.by_exponents), strict=True))
    for name, found in first.items():
        difference = (moved(**{name: step}) - moved(**{name: -step})) / (2 * step)
        np.testing.assert_allclose(math.exp(s) * found[0], difference, atol=1e-7)
    for (one, other), found in zip(BENDS, heights.bends()[0], strict=True):
        if one == other:
            second = (moved(**{one: step}) - 2 * moved() + moved(**{one: -step})) / step**2
        else:
            corners = [(i, j) for i in (step, -step) for j in (step, -step)]
            second = sum(math.copysign(1, i * j) * moved(**{one: i, other: j}) for i, j in corners) / (4 * step**2)
        np.testing.assert_allclose(math.exp(s) * found, second, atol=1e-6)


@pytest.mark.parametrize("shape", [SKEWED, ValleyShape.of_parabola(0.4)], ids=["skewed", "parabola"])
@pytest.mark.parametrize("nats", [1e-9, 1e-3, 0.05])
def test_the_ends_of_a_band_lie_above_the_floor_by_its_margin(shape, nats):
    below, above = shape.within(nats, 21.0)
    ends = np.log(10) * np.array([-below, above])
    np.testing.assert_allclose(shape.above_floor(ends, np.full(2, 21.0)), nats, rtol=1e-6)
    if shape is SKEWED and nats > 1e-3:
        assert above > below  # the loss rises more slowly on the side of the smaller exponent


def test_a_parabola_of_that_curvature_is_what_its_shape_says():
    off = np.linspace(-0.5, 0.5, 11)
    found = ValleyShape.of_parabola(0.4).above_floor(np.log(10) * off, np.full(11, 19.0))
    np.testing.assert_allclose(found, 0.4 * off**2, rtol=1e-4, atol=1e-12)


def test_the_valley_of_a_surface_is_the_surface_along_a_line_of_equal_cost():
    law, log_c = SurfaceLaw.of(1.69, 406.4, 410.7, 0.5, 0.2), 21.3
    at_mean, at = law.optimum(20.0)[0], law.optimum(log_c)[0]
    shape = law.valley(SIX, Line(at_mean, law.exponent_a, NO_ERRORS, 20.0))
    v = np.linspace(-2, 2, 9)
    log_n = np.log(10) * at + v
    loss = np.exp(law.log_loss(log_n, np.log(10) * log_c - np.log(6) - log_n))
    floor = np.exp(law.log_loss(np.log(10) * at, np.log(10) * (log_c - at) - np.log(6)))
    np.testing.assert_allclose(shape.above_floor(v, np.full(9, log_c)), loss - floor, atol=1e-9)


def test_the_objective_of_the_joint_fit_has_the_same_valley():
    x, t = np.linspace(7, 9, 7), np.repeat([-1.0, 0.0, 1.0], [2, 3, 2])
    theta = np.array([8.1, 0.47, -1.3, 0.4, math.log(0.5), math.log(0.2)])
    axis = Axis(x, t, np.zeros(7), np.ones(7), np.repeat([0, 1, 2], [2, 3, 2]), 20.0)
    found = JointObjective(axis, theta[4:], 0.0).valley(theta[None])[0]
    v = np.log(10) * (x - 8.1 - 0.47 * t)
    np.testing.assert_allclose(found, SKEWED.above_floor(v, 20.0 + t), rtol=1e-12)
