"""One run as a fit sees it."""

from typing import NamedTuple

from isoflop.store import RunCell


class Row(NamedTuple):
    """Planned FLOPs (the grouping key), parameters, training tokens, loss; then what more is known of the run.

    Attributes:
        loss_se: standard error of the loss over the evaluation set, in the loss's unit.
        trunk: rows that share a trunk are ends of one training, so not independent.
        seed: initial weights and order of the data.
        source: label of the source that the row comes from.
        cell: the cell of a sweep that it is the result of; None in a table.
    """

    budget_flops: float
    n_params: float
    n_tokens: float
    loss: float
    loss_se: float | None = None
    trunk: str | None = None
    seed: str | None = None
    source: str = ""
    cell: RunCell | None = None
