"""From the rows of sources to their fit."""

import dataclasses

import numpy as np

from isoflop.counting import flops_per_token
from isoflop.fit import Columns, Curves, Question, SweepFit, fit_sweep
from isoflop.sources.source import Pool, Source


def fit_input(source: Source | Pool, question: Question) -> SweepFit:
    """The fit of all that `source` knows of its rows, its training curves among them."""
    return fit_sweep(Columns(**source.columns_of_fit), dataclasses.replace(question, curves=_curves(source)))


def _curves(source: Source | Pool) -> Curves | None:
    """Where the fitted runs were on the way, counted as the fit counts; the last point of each is the run itself."""
    points: list[tuple[float, float, float, float]] = []
    curves = {run_id: curve for part in source.sweeps for run_id, curve in part.curves.items()}
    for _, cell, count in source.runs:
        n_params, per_token = float(cell.shape.n_params(count)), flops_per_token(cell.shape, source.flop_count, count)
        on_the_way = curves.get(cell.run_id, ())[:-1]
        points += [(per_token * at.n_tokens, n_params, float(at.n_tokens), at.loss) for at in on_the_way]
    return Curves(*np.array(points).T) if points else None
