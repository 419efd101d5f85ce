"""All that a fit returns."""

from dataclasses import dataclass

from isoflop.finding import Finding
from isoflop.fit.lines import Line
from isoflop.fit.results.estimators import Estimators
from isoflop.fit.results.profile import Frontier, Profile
from isoflop.fit.results.target import Forecast, Suggestion, Target
from isoflop.fit.rows import SIX, TokenCost
from isoflop.fit.valley import ValleyShape


@dataclass(frozen=True)
class Cloud:
    """Frontiers of the surface, each refitted to as many runs drawn with replacement.

    Attributes:
        n_lines, d_lines: log10 N_opt and log10 D_opt over log10 C, one per resample, without errors.
    """

    n_lines: tuple[Line, ...]
    d_lines: tuple[Line, ...]


@dataclass(frozen=True)
class SweepFit:
    """Profiles, frontier, every estimator, targets and what to make of them.

    Attributes:
        level: nominal coverage of every interval.
        outlook: the recommended estimate at its largest budget and at ten times that, asked for or not.
        suggested: runs worth training next, in this order.
        n_budgets: of the rows; `profiles` lists the first of them where the rows were never grouped.
        cost: what a token costs, by the rows of the recommended estimate.
        valley: how the loss rises off the optimum of the recommended estimate; None without one.
        noise_sd: standard deviation of a run, nats: of replicates, else of the residuals of the recommended estimate; 0
            where the rows do not say.
        cloud: frontiers of resampled runs, to look at; None unless asked for.
        credible_decades: how far beyond its budgets the scorecard shows the sweep to see; None without forecasts.
        loss_credible_decades: the same of its losses.
    """

    level: float
    profiles: tuple[Profile, ...]
    frontier: Frontier | None
    estimators: Estimators
    targets: tuple[Target, ...]
    outlook: tuple[Target, ...]
    scorecard: tuple[Forecast, ...]
    credible_decades: float | None
    suggested: tuple[Suggestion, ...]
    findings: tuple[Finding, ...]
    cloud: Cloud | None = None
    loss_credible_decades: float | None = None
    n_budgets: int = 0
    cost: TokenCost = SIX
    valley: ValleyShape | None = None
    noise_sd: float = 0.0
