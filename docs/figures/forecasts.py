"""Figures of forecasts: the window, the model error, the loss law and the scorecard."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from drawing import (
    BLUE,
    GREEN,
    GREY,
    LAWS,
    LEVEL,
    RED,
    SWEEPS,
    chosen,
    law_rows,
    panels,
    parabola_curve,
    read,
    rms,
    say,
    sizes_axis,
)
from matplotlib.figure import Figure

from isoflop.fit import fit_sweep
from isoflop.fit.estimators.choice import choose
from isoflop.fit.estimators.loss_floors import read_loss_floors
from isoflop.fit.estimators.parabola import budget_floors, find_valleys, fit_parabola, pool_noise
from isoflop.fit.intervals import model_half_width, student_quantile
from isoflop.fit.laws import SurfaceLaw
from isoflop.fit.lines import PowerLaw, fit_lines
from isoflop.fit.rows import Rows, in_window, reach

WINDOW = 0.6
Law = Callable[[Rows], tuple[PowerLaw, int, float] | None]


def window() -> Figure:
    """A wide grid, and forecasts with and without a window."""
    rows = read("porian_tuned")
    k = int(np.argmax(reach(rows)))
    own = rows.take(rows.budget_flops == rows.budgets[k])
    near = in_window(own, WINDOW)
    best = own.n_params[np.argmin(own.loss)]
    figure, (left, right) = panels(2, ratios=(1, 1.25))
    left.axvspan(best * 10**-WINDOW, best * 10**WINDOW, color=GREY, alpha=0.15, lw=0, label="window, ± 0.6 decades")
    left.plot(own.n_params, own.loss, "o", ms=4, color="black", label="runs")
    for part, colour, style, label in ((own, RED, "--", "all rows"), (own.take(near), BLUE, "-", "in the window")):
        fitted = fit_parabola(np.log10(part.n_params), part.loss)
        assert fitted
        left.plot(*parabola_curve(fitted), style, color=colour, label=label)
    left.set(xscale="log", xlabel="parameters N", ylabel="loss (nats per token)",
             title=f"Porian et al., tuned, {rows.budgets[k]:.1e} FLOPs")  # fmt: skip
    sizes_axis(left)
    left.legend(loc="upper center")
    wide = []
    for number, (name, label) in enumerate(SWEEPS.items()):
        rows = read(name)
        cut = rows.take(in_window(rows, WINDOW))
        errors = [rms([f.error for f in forecasts(part, recommended)]) for part in (rows, cut)]
        right.plot(errors, [-number] * 2, "-", color=GREY, lw=1)
        right.plot(errors[0], -number, "x", color=RED, ms=7, mew=2, label="all rows" if not number else None)
        right.plot(errors[1], -number, "o", color=BLUE, ms=6, label="in the window" if not number else None)
        say("window", sweep=label, all_rows=errors[0], windowed=errors[1], widest=max(reach(rows)))
        if len(cut) < len(rows):
            wide.append(errors)
    say(
        "window",
        wide_sweeps=len(wide),
        mean_all=float(np.mean(wide, axis=0)[0]),
        mean_in=float(np.mean(wide, axis=0)[1]),
    )
    right.set(yticks=-np.arange(len(SWEEPS)), yticklabels=list(SWEEPS.values()), xlim=(0, None),
              ylim=(-7.6, 0.6), xlabel="rms error of forecasts of log10 N_opt (decades)",
              title="Later floors from cheaper budgets")  # fmt: skip
    right.legend(ncols=2, loc="lower center")
    return figure


@dataclass(frozen=True)
class Ahead:
    """A later floor as cheaper budgets predict it, decades: distance, error, half-widths, that of the floor seen."""

    decades: float
    error: float
    statistical: float
    full: float
    seen: float


def recommended(rows: Rows) -> tuple[PowerLaw, int, float] | None:
    """The recommended estimate: law, degrees of freedom, largest fitted budget."""
    choice = choose(rows)
    return (choice.on_params, choice.degrees_of_freedom, choice.fitted_budgets[1]) if choice else None


def plain(rows: Rows) -> tuple[PowerLaw, int, float] | None:
    """The same of the plain parabola."""
    valleys = find_valleys(rows)
    noise, floors = pool_noise(valleys), budget_floors(valleys)
    lines = fit_lines(floors, noise)
    return (lines[0], noise.degrees_of_freedom, floors[-1].budget_flops) if lines and noise else None


def forecasts(rows: Rows, law: Law) -> list[Ahead]:
    """Every later floor from every three or more of the cheapest budgets; all is fitted anew at each cut."""
    return list(_forecasts(rows, law))


def _forecasts(rows: Rows, law: Law) -> Iterator[Ahead]:
    valleys = find_valleys(rows)
    pooled = pool_noise(valleys)
    for cut in range(3, len(valleys)):
        fitted = law(rows.take(rows.budget_flops <= valleys[cut - 1].budget_flops))
        if fitted is None or sum(bool(v.floors) for v in valleys[:cut]) < 3:
            continue
        line, freedom, top = fitted
        for valley in valleys[cut:]:
            if valley.floors:
                log_c = math.log10(valley.budget_flops)
                value, variance = line.at(log_c)
                decades = log_c - math.log10(top)
                half = student_quantile(LEVEL, freedom) * math.sqrt(variance)
                full = math.hypot(half, model_half_width(decades, LEVEL))
                assert pooled
                own = student_quantile(LEVEL, pooled.degrees_of_freedom) * pooled.on_params * valley.floors[0].spread
                yield Ahead(decades, value - valley.floors[0].x, half, full, own)


def model_error() -> Figure:
    """Forecast errors on published sweeps, and what the model error allows."""
    figure, (left, right) = panels(2)
    for axes, law, title in ((left, recommended, "recommended"), (right, plain, "parabola")):
        found = [(name, f) for name in SWEEPS for f in forecasts(read(name), law)]
        every = [f for _, f in found]
        decades, errors = np.array([f.decades for f in every]), np.array([f.error for f in every])
        held = np.abs(errors) <= [f.full for f in every]
        axes.plot(decades[held], errors[held], "o", ms=3, color=BLUE, alpha=0.7, label="in its full interval")
        axes.plot(decades[~held], errors[~held], "x", ms=4, color=RED, label="outside")
        grid = np.linspace(0, 3.3, 100)
        half = np.array([model_half_width(float(far), LEVEL) for far in grid])
        axes.fill_between(grid, -half, half, color=GREY, alpha=0.18, lw=0, label="model error alone, 90 %")
        axes.set(xlabel="decades beyond the fitted budgets", ylabel="predicted - seen log10 N_opt (decades)",
                 title=f"{title}: {len(every)} forecasts, {held.mean():.0%} held",
                 ylim=(-0.95, 1.25), xlim=(0, 3.4))  # fmt: skip
        axes.axhline(0, color="black", lw=0.8)
        statistical = float(np.mean([abs(f.error) <= f.statistical for f in every]))
        both = float(np.mean([abs(f.error) <= math.hypot(f.full, f.seen) for f in every]))
        say("model error", law=title, n=len(every), full=float(held.mean()), statistical=statistical, with_seen=both,
            rms_near=rms(errors[decades <= 1].tolist()), rms_far=rms(errors[decades > 1].tolist()))  # fmt: skip
        for name in SWEEPS:
            own = [f for sweep_name, f in found if sweep_name == name]
            say("  ", sweep=name, n=len(own), full=float(np.mean([abs(f.error) <= f.full for f in own])))
    left.legend(loc="upper left", fontsize=7.5)
    windowed = []
    for name in SWEEPS:
        rows = read(name)
        windowed += forecasts(rows.take(in_window(rows, WINDOW)), recommended)
    say("model error in window", n=len(windowed), full=float(np.mean([abs(f.error) <= f.full for f in windowed])))
    return figure


def loss_law() -> Figure:
    """The law through the floors, the power law that touches it, and what is read half-way between."""
    rows = read("chinchilla_scalefit")
    grid = np.geomspace(float(rows.budget_flops.min()), 1e23, 40)
    fit = fit_sweep(rows.budget_flops, rows.n_params, rows.n_tokens, rows.loss, targets=grid.tolist())
    assert fit.estimators.recommended and fit.estimators.recommended.loss_law
    law = fit.estimators.recommended.loss_law
    found = [(target.loss, target.loss_ci_statistical, target.loss_ci) for target in fit.targets]
    figure, (axes,) = panels(1, width=6.2)
    for which, name in ((2, "with model error"), (1, "statistical")):
        bounds = [one[which] for one in found if one[which]]
        axes.fill_between(grid, [low for low, _ in bounds], [high for _, high in bounds], color=BLUE, alpha=0.2, lw=0,
                          label=f"90 % interval, {name}")  # fmt: skip
    axes.plot(grid, [loss for loss, *_ in found], color=BLUE, label="loss of targets")
    top = float(rows.budget_flops.max())
    bent = law.e + np.exp(law.log_k - law.gamma * np.log(grid))
    at_top = law.e + np.exp(law.log_k - law.gamma * np.log(top))
    straight = at_top * (grid / top) ** (-law.gamma * (1 - law.e / at_top))
    axes.plot(grid, bent, color=GREY, ls=":", lw=1.2, label=f"E + K C^-{law.gamma:.3f}")
    axes.plot(
        grid[grid > top], straight[grid > top], color=GREY, ls="-.", lw=1.2, label="the power law that touches it"
    )
    floors = read_loss_floors(chosen("chinchilla_scalefit").rows)
    assert floors
    axes.plot(floors.budget_flops, floors.loss, "o", ms=4, color="black", label="floors of the runs near the best")
    axes.axhline(law.e, color=GREY, ls="--", lw=1, label=f"E = {law.e:.3f}")
    axes.set(xscale="log", xlabel="budget C (training FLOPs)", ylabel="loss at the optimum (nats per token)",
             title="Chinchilla (ml-scalefit)")  # fmt: skip
    axes.legend()
    say("loss law", E=law.e, gamma=law.gamma, gamma_ci=law.gamma_ci, source=law.source)
    for name, surface in LAWS.items():
        say("loss interval", law=name, wider=loss_widening(surface))
    return figure


def loss_widening(law: SurfaceLaw, sweeps: int = 60) -> float:
    """By what factor the model error widens the interval of a loss at 100 times the largest budget: the median."""
    budgets = 8.1e20 / 3.0 ** np.arange(4, -1, -1)
    factors = []
    for k in range(sweeps):
        rows = law_rows(law, budgets.tolist(), [np.linspace(-0.5, 0.5, 7)] * 5)
        loss = rows.loss * np.exp(np.random.default_rng([17, k]).normal(0, 0.002, len(rows)))
        (target,) = fit_sweep(rows.budget_flops, rows.n_params, rows.n_tokens, loss, targets=[8.1e22]).targets
        assert target.loss_ci and target.loss_ci_statistical
        factors.append(float(np.ptp(target.loss_ci) / np.ptp(target.loss_ci_statistical)))
    return float(np.median(factors))


def scorecard() -> Figure:
    """Forecasts of one sweep by its own cheaper budgets."""
    figure, both = panels(2)
    for axes, name in zip(both, ("porian_short_warmup", "porian_tuned"), strict=True):
        rows = read(name)
        fit = fit_sweep(rows.budget_flops, rows.n_params, rows.n_tokens, rows.loss)
        assert fit.credible_decades is not None
        for forecast in fit.scorecard:
            half = math.log10(forecast.n_opt_ci[1] / forecast.n_opt_ci[0]) / 2
            axes.errorbar(forecast.decades + 0.012 * (forecast.n_fitted - 6), forecast.error_decades, half,
                          fmt="o" if forecast.held else "x", color=BLUE if forecast.held else RED, ms=4, lw=0.8,
                          mew=1.4)  # fmt: skip
        held = sum(forecast.held for forecast in fit.scorecard)
        axes.axvspan(0, fit.credible_decades, color=GREEN, alpha=0.12, lw=0, label="credible extrapolation")
        axes.plot([], [], "o", color=BLUE, label="held")
        axes.plot([], [], "x", color=RED, label="missed")
        axes.axhline(0, color="black", lw=0.8)
        axes.set(xlabel="decades beyond the fitted budgets", ylabel="predicted - seen log10 N_opt (decades)",
                 title=f"{SWEEPS[name]}: {held} of {len(fit.scorecard)} held", xlim=(0, None))  # fmt: skip
        say("scorecard", sweep=name, held=held, n=len(fit.scorecard), credible=fit.credible_decades)
    both[0].legend(loc="lower left")
    for name in SWEEPS:
        rows = read(name)
        cards = fit_sweep(rows.budget_flops, rows.n_params, rows.n_tokens, rows.loss).scorecard
        losses = sum(card.loss_held is True for card in cards)
        say("  ", sweep=name, held=sum(card.held for card in cards), losses_held=losses, n=len(cards))
    return figure
