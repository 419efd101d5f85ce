"""From the rows of sources to their fit."""

from collections.abc import Sequence

import numpy as np

from isoflop.counting import flops_per_token
from isoflop.fit import fit_sweep
from isoflop.fit.design.suggest import Trainable
from isoflop.fit.envelope import Curves
from isoflop.fit.results.sweep_fit import SweepFit
from isoflop.sources.source import Pool, Source


def fit_input(
    source: Source | Pool,
    *,
    targets: Sequence[float],
    level: float = 0.90,
    window: float | None = None,
    residuals: str = "huber",
    suggest: int = 0,
    planned: Sequence[tuple[float, float]] = (),
    trainable: Trainable | None = None,
    bootstrap: int = 0,
) -> SweepFit:
    """The fit of all that `source` knows of its rows; options as of `fit_sweep`."""
    return fit_sweep(
        **source.columns_of_fit,
        level=level,
        targets=targets,
        window=window,
        residuals=residuals,
        suggest=suggest,
        planned=planned,
        trainable=trainable,
        curves=_curves(source),
        bootstrap=bootstrap,
    )


def _curves(source: Source | Pool) -> Curves | None:
    """Where the fitted runs were on the way, counted as the fit counts; the last point of each is the run itself."""
    points: list[tuple[float, float, float, float]] = []
    curves = {run_id: curve for part in source.sweeps for run_id, curve in part.curves.items()}
    for _, cell, count in source.runs:
        n_params, per_token = float(cell.shape.n_params(count)), flops_per_token(cell.shape, source.flop_count, count)
        on_the_way = curves.get(cell.run_id, ())[:-1]
        points += [(per_token * at.n_tokens, n_params, float(at.n_tokens), at.loss) for at in on_the_way]
    return Curves(*np.array(points).T) if points else None
