"""What a fit predicted for a confirm run before that run existed."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any


class ConfirmPlace(StrEnum):
    """Which size of the budget a confirm run has: the predicted optimum, half of it or twice it."""

    OPTIMUM = "optimum"
    HALF = "half"
    DOUBLE = "double"

    @property
    def factor(self) -> float:
        """Of the size at the optimum."""
        return {"optimum": 1.0, "half": 0.5, "double": 2.0}[self.value]

    @property
    def words(self) -> str:
        """`N/2` and `2N`, as people write them."""
        return {"optimum": "optimum", "half": "N/2", "double": "2N"}[self.value]


@dataclass(frozen=True)
class Prediction:
    """One row of `predictions`.

    Attributes:
        sweep, run_id: the run that is predicted.
        place: its size against the predicted optimum.
        budget_flops: planned FLOPs, C.
        made_at: when, UTC, ISO 8601; before the run was trained.
        isoflop_version: of the fit.
        estimator: of the recommended estimate: `joint`, `parabola` or `surface`.
        param_count: what N counts: `total`, `non_embedding` or `matmul`.
        n_opt, d_opt: predicted optimum at C, parameters and tokens, each with the ends of its interval.
        n_params, n_tokens: of the run itself.
        loss: predicted for the run's own size; its interval holds the error of the law, of N_opt, and one run's noise.
        loss_unit: `nats per token`.
        level: nominal coverage of the intervals.
        noise: standard deviation of one run, by the same fit.
        n_rows: results that were fitted.
        rows_hash: hash of their run ids and losses.
        fitted_runs: their run ids.
    """

    sweep: str
    run_id: str
    place: ConfirmPlace
    budget_flops: float
    made_at: str
    isoflop_version: str
    estimator: str
    param_count: str
    n_opt: float
    n_opt_low: float
    n_opt_high: float
    d_opt: float
    d_opt_low: float
    d_opt_high: float
    n_params: int
    n_tokens: int
    loss: float
    loss_low: float
    loss_high: float
    loss_unit: str
    level: float
    noise: float
    n_rows: int
    rows_hash: str
    fitted_runs: tuple[str, ...]

    def as_row(self) -> dict[str, Any]:
        """Its row in the table."""
        row = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**row, "place": self.place.value, "fitted_runs": json.dumps(self.fitted_runs)}


def parse_prediction(row: dict[str, Any]) -> Prediction:
    """The prediction that a row holds."""
    fitted = json.loads(row["fitted_runs"])
    if not isinstance(fitted, list) or len(fitted) != row["n_rows"]:
        raise ValueError("fitted_runs are not n_rows runs")
    return Prediction(**{**row, "place": ConfirmPlace(row["place"]), "fitted_runs": tuple(map(str, fitted))})


def hash_of_rows(rows: Iterable[tuple[str, float]]) -> str:
    """Hash of run ids and losses, whatever their order."""
    listed: Sequence[tuple[str, float]] = sorted(rows)
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:16]
