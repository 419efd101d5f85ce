"""The figure of grids that lie off their floors."""

import math

import numpy as np
from drawing import BLUE, GREY, LAWS, RED, centred_bias, law_rows, panels, say
from matplotlib.figure import Figure

from isoflop.fit.estimators.parabola import budget_floors, find_valleys
from isoflop.fit.intervals import Noise
from isoflop.fit.laws import SurfaceLaw
from isoflop.fit.lines import fit_lines


def off_centre() -> Figure:
    """What an off-centre and a drifting grid do to the parabola."""
    figure, (left, right) = panels(2)
    half = 0.5
    for (name, law), colour, style in zip(LAWS.items(), (BLUE, RED), ("-", "--"), strict=True):
        places = np.linspace(-0.95, 0.95, 39)
        bias = np.array([centred_bias(law, half, centre=-place * half) for place in places])
        left.plot(places, bias, style, color=colour, label=name)
        drifts = np.linspace(-0.2, 0.2, 17)
        for off, mark in ((0.0, ""), (0.3, "o")):
            shifts = np.array([drift_bias(law, float(drift), off) for drift in drifts])
            right.plot(drifts, shifts, style, color=colour, marker=mark, markevery=4, ms=4)
            say("drift", law=name, centre=off, at_tenth=float(np.interp(0.1, drifts, shifts)))
        for place in (0.0, -0.6, 0.6, -0.9, 0.9):
            say("off centre", law=name, place=place, bias=float(np.interp(place, places, bias)))
    left.axvspan(-0.6, 0.6, color=GREY, alpha=0.12, lw=0)
    left.set(xlabel="true optimum in the grid (-1: smallest size, 1: largest)", ylabel="bias of log10 N_opt (decades)",
             title="Grid of ± 0.5 decades (grey: middle 60 %)")  # fmt: skip
    right.axvspan(-0.1, 0.1, color=GREY, alpha=0.12, lw=0)
    right.set(xlabel="drift of the grid's centre (decades per decade)", ylabel="bias of the exponent a",
              title="Five budgets, two decades (grey: no finding)")  # fmt: skip
    right.plot([], [], color=GREY, label="centred on average")
    right.plot([], [], color=GREY, marker="o", ms=4, label="0.3 decades too high on average")
    for axes in (left, right):
        axes.axhline(0, color="black", lw=0.8)
        axes.legend()
    return figure


def drift_bias(law: SurfaceLaw, drift: float, centre: float) -> float:
    """What parabolas on noise-free losses miss of the exponent a where the grid drifts."""
    budgets = np.geomspace(1e18, 1e20, 5)
    offsets = [np.linspace(-0.5, 0.5, 9) + centre + drift * (math.log10(c) - 19) for c in budgets]
    floors = budget_floors(find_valleys(law_rows(law, budgets.tolist(), offsets)))
    lines = fit_lines(floors, Noise(1.0, 1.0, 1))
    assert lines
    return lines[0].slope - law.exponent_a
