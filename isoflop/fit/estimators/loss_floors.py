"""The loss at the floor of each budget, read from the runs near its best one."""

from dataclasses import dataclass

import numpy as np

from isoflop.fit.arrays import Array
from isoflop.fit.estimators.parabola import MIN_POINTS, fit_parabola
from isoflop.fit.rows import Rows, in_window

# The loss is close to a parabola no farther from its floor than this, decades: the shape of all budgets, or of the far
# ends of one, decides no floor's loss.
NEAR_DECADES = 0.6


@dataclass(frozen=True)
class LossFloors:
    """Floors of budgets (k,), cheapest first.

    Attributes:
        budget_flops: planned FLOPs.
        loss: nats per token.
        spread: standard error of `loss` per unit of residual standard deviation.
        squares, freedom: of each budget's residuals about its own parabola, nats^2; runs weigh as the fit weighs them.
    """

    budget_flops: Array
    loss: Array
    spread: Array
    squares: Array
    freedom: Array

    def __len__(self) -> int:
        return len(self.loss)

    @property
    def log_c(self) -> Array:
        """(k,) log10 budgets."""
        out: Array = np.log10(self.budget_flops)
        return out

    @property
    def noise(self) -> tuple[float, float]:
        """Residual variance, nats^2, pooled over the budgets, and its degrees of freedom, at least 1."""
        freedom = float(self.freedom.sum())
        return float(self.squares.sum()) / freedom, freedom

    def up_to(self, budget_flops: float) -> "LossFloors | None":
        """Those of budgets up to that one; None without any."""
        keep = self.budget_flops <= budget_flops
        columns = (self.budget_flops, self.loss, self.spread, self.squares, self.freedom)
        return LossFloors(*(column[keep] for column in columns)) if keep.any() else None

    def at(self, budget_flops: float) -> tuple[float, float] | None:
        """The floor seen at a budget, nats, and its spread; None where there is none."""
        (found,) = np.nonzero(self.budget_flops == budget_flops)
        return (float(self.loss[found[0]]), float(self.spread[found[0]])) if len(found) else None


def read_loss_floors(rows: Rows, weights: Array | None = None) -> LossFloors | None:
    """The floors of parabolas in log10 N, one for each budget whose floor lies between its near runs; None without any.

    `weights` (n,) are inverse variances of the rows about 1; those of a budget count as alike.
    """
    near = in_window(rows, NEAR_DECADES, wide=0.0)
    log_n = np.log10(rows.n_params)
    found = []
    for part in rows.slices:
        keep = near[part]
        x, loss = log_n[part][keep], rows.loss[part][keep]
        parabola = fit_parabola(x, loss) if len(x) >= MIN_POINTS else None
        if parabola is None or parabola.floor is None or not parabola.low < parabola.floor.x < parabola.high:
            continue
        weight = 1.0 if weights is None else float(weights[part][keep].mean())
        floor = parabola.floor
        spread = floor.loss_spread / weight**0.5
        found.append((rows.budget_flops[part.start], floor.loss, spread, weight * parabola.sse, len(x) - 3))
    return LossFloors(*np.array(found, dtype=np.float64).T) if found else None
