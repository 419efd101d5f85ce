"""Simulated sweeps that are trained in the test's own process, and their confirm runs."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from isoflop.plan.types import Cell
from isoflop.store import Prediction, open_store
from isoflop.sweep.confirm import ConfirmRequest
from isoflop.sweep.session import open_session
from tests.report_examples import make_result

SWEEP = """
name = "drawn"
budgets = [1e17, 3e17, 1e18]
trainer = "simulated"
[grid]
center_tokens_per_param = 20
center_seeds = 1
"""
LARGEST = 1e18


def chinchilla(cell: Cell) -> float:
    """Loss of the surface of Besiroglu et al. 2024 (arXiv 2404.10102), with a little noise by seed and size."""
    n_params, n_tokens = cell.run.shape.n_params_total, cell.run.n_tokens
    noise = 0.002 * math.sin(1000 * cell.run.seed + n_params)
    return 1.8172 + 477.83 * float(n_params) ** -0.34731 + 2143.4 * float(n_tokens) ** -0.36717 + noise


def session(folder: Path, confirm: float | None = None, neighbours: bool = False) -> Any:
    request = None if confirm is None else ConfirmRequest(confirm, neighbours, folder / "s.toml")
    return open_session(
        folder / "s.toml", folder / "isoflop.db", folder / "isoflop-artifacts", device="cpu", workers=1, retry=False,
        confirm=request,
    )  # fmt: skip


def train(
    folder: Path,
    confirm: float | None = None,
    neighbours: bool = False,
    *,
    loss: Callable[[Cell], float] = chinchilla,
) -> Any:
    """`isoflop run`, with `loss` as the trainer; the session, closed."""
    with session(folder, confirm, neighbours) as opened:
        pending = set(opened.store.pending(opened.plan.sweep))
        for cell in opened.plan.cells:
            if cell.run.run_id in pending:
                pending.discard(cell.run.run_id)
                opened.store.record(make_result(cell, val_loss=loss(cell), val_loss_se=0.004))
    return opened


def predictions(folder: Path, sweep: str = "drawn") -> tuple[Prediction, ...]:
    with open_store(folder / "isoflop.db", write=False) as store:
        return store.predictions(sweep)
