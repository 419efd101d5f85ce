"""From the rows of sources to their fit."""

from collections.abc import Sequence

from isoflop.fit import fit_sweep
from isoflop.fit.results.sweep_fit import SweepFit
from isoflop.report.source import FitInput


def fit_input(
    source: FitInput,
    *,
    targets: Sequence[float],
    level: float = 0.90,
    window: float | None = None,
    residuals: str = "huber",
    suggest: int = 0,
    planned: Sequence[tuple[float, float]] = (),
) -> SweepFit:
    """The fit of all that `source` knows of its rows; options as of `fit_sweep`."""
    return fit_sweep(
        source.budget_flops,
        source.n_params,
        source.n_tokens,
        source.loss,
        loss_se=source.loss_se,
        trunk=source.trunk,
        level=level,
        targets=targets,
        window=window,
        residuals=residuals,
        suggest=suggest,
        planned=planned,
    )
