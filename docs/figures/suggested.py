"""The figure of runs to train next."""

import math

import numpy as np
from drawing import BLUE, CHINCHILLA, GREEN, GREY, LEVEL, ORANGE, RED, law_rows, panels, say
from matplotlib.figure import Figure

from isoflop.fit.design.suggest import VALLEY_OFFSETS, suggest_runs
from isoflop.fit.estimators.choice import Choice, choose
from isoflop.fit.intervals import decades_beyond, model_half_width

BUDGETS = np.geomspace(1e18, 1e20, 5)
TARGET = 1e22


def next_runs() -> Figure:
    """What one more run tells by its budget and size, and the interval at the target by how many are asked for."""
    generator = np.random.default_rng(1)
    offsets = [np.linspace(-0.6, 0.6, 7)] * len(BUDGETS)
    choice = choose(law_rows(CHINCHILLA, BUDGETS.tolist(), offsets, generator.normal(0, 0.005, 35)))
    assert choice
    figure, (left, right) = panels(2)
    places = np.linspace(-0.9, 0.9, 37)
    before = statistical_variance(choice, [])
    for budget, colour in zip(BUDGETS[::2], (RED, ORANGE, BLUE), strict=True):
        ridge = choice.on_params.at(math.log10(budget))[0]
        told = [100 * (1 - statistical_variance(choice, [(budget, 10 ** (ridge + u))]) / before) for u in places]
        left.plot(places, told, color=colour, label=f"{budget:.0e} FLOPs".replace("e+", "e"))
        say("one more run", budget=budget, most=max(told), least=min(told))
    left.set(xlabel="size, decades from the ridge", ylabel="fall of the statistical variance (%)", ylim=(0, None),
             title="One more run")  # fmt: skip
    left.legend()
    counts = range(1, 29)
    sets = [suggest_runs(choice, TARGET, count, LEVEL) for count in counts]
    whole, part = ([getattr(runs[-1], name) for runs in sets] for name in ("half_width", "half_width_statistical"))
    right.plot(counts, whole, "o-", ms=3, color=BLUE, label="with model error")
    right.plot(counts, part, "s-", ms=3, color=GREEN, label="statistical")
    right.axhline(sets[0][0].half_width_before, color=GREY, ls="--", label="before, with model error")
    right.set(xlabel="runs asked for", ylabel="half-width of log10 N_opt (decades)", ylim=(0, None),
              title="Target a hundred times the largest budget")  # fmt: skip
    right.legend()
    for count in (6, len(VALLEY_OFFSETS), 16):
        say("asked for", runs=count, before=sets[0][0].half_width_before, after=whole[count - 1])
    return figure


def statistical_variance(choice: Choice, more: list[tuple[float, float]]) -> float:
    """Of log10 N_opt at the target with `more` runs, up to a factor."""
    (one,) = suggest_runs(choice, TARGET, 1, LEVEL, planned=more)
    beyond = decades_beyond(choice.fitted_budgets, math.log10(TARGET))
    return one.half_width_before**2 - model_half_width(beyond, LEVEL) ** 2
