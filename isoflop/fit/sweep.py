"""From the arrays of a sweep to its fit, in one call."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from isoflop.fit.diagnose import diagnose
from isoflop.fit.frontier import fit_frontier
from isoflop.fit.parabola import Array
from isoflop.fit.profile import budget_floors, describe_valley, find_valleys, pool_noise
from isoflop.fit.rows import sort_rows
from isoflop.fit.target import read_target, unanswered_target
from isoflop.fit.types import SweepFit, Vertex

# Rows that were never grouped by budget make one profile each; nobody reads more of them.
MAX_UNFITTED_PROFILES = 50


def fit_sweep(
    budget_flops: ArrayLike,
    n_params: ArrayLike,
    n_tokens: ArrayLike,
    loss: ArrayLike,
    *,
    level: float = 0.90,
    targets: Sequence[float] = (),
) -> SweepFit:
    """Profiles, frontier, targets and findings of the completed runs of one sweep.

    Args:
        budget_flops: (n,) planned training FLOPs; rows with exactly equal values make a profile.
        n_params: (n,) parameters, under whichever convention the caller chose.
        n_tokens: (n,) training tokens; independent data, FLOPs being only about 6 N D.
        loss: (n,) held-out loss, nats per token; may be zero or negative.
        level: nominal coverage of every interval.
        targets: budgets, FLOPs, at which to read the frontier; answered in this order.

    Raises:
        ValueError: lengths differ; a loss is not finite; another number is not finite and positive; or `level` is
            not between 0 and 1. What the data cannot answer is a finding, never an exception.
    """
    columns = _check_columns(budget_flops=budget_flops, n_params=n_params, n_tokens=n_tokens, loss=loss)
    (targets_flops,) = _check_columns(targets=targets)
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, not between 0 and 1")
    rows = sort_rows(*columns)
    valleys = find_valleys(rows)
    noise = pool_noise(valleys)
    frontier = fit_frontier(budget_floors(valleys), noise, level)
    listed = valleys
    if all(valley.vertex is Vertex.TOO_FEW for valley in valleys):
        listed = valleys[:MAX_UNFITTED_PROFILES]
    profiles = tuple(describe_valley(valley, noise, level) for valley in listed)
    inside = [valley.budget_flops for valley in valleys if valley.floors]
    answers = tuple(
        read_target(frontier, (inside[0], inside[-1]), target, level) if frontier else unanswered_target(target)
        for target in targets_flops.tolist()
    )
    findings = diagnose(
        valleys=valleys, profiles=profiles, noise=noise, frontier=frontier, targets=answers, level=level
    )
    return SweepFit(level=level, profiles=profiles, frontier=frontier, targets=answers, findings=findings)


def _check_columns(**columns: ArrayLike) -> tuple[Array, ...]:
    """The columns as float arrays (n,) of equal length; all but `loss` positive.

    Raises:
        ValueError: see `fit_sweep`.
    """
    arrays = {name: np.asarray(column, dtype=np.float64) for name, column in columns.items()}
    if any(array.ndim != 1 for array in arrays.values()) or len({array.size for array in arrays.values()}) != 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ValueError(f"columns must all be (n,) of one length, not {shapes}")
    for name, array in arrays.items():
        good = np.isfinite(array) & ((array > 0) | (name == "loss"))
        if not good.all():
            row = int(np.argmin(good))
            raise ValueError(
                f"{name}[{row}] is {array[row]}, not {'finite' if name == 'loss' else 'finite and positive'}"
            )
    return tuple(arrays.values())
