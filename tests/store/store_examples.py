"""Runs, results and plans small enough to read."""

import dataclasses
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from isoflop.plan.types import Cell, DroppedCell, Plan, Role
from isoflop.result import RunResult
from isoflop.run_spec import RunSpec, ScheduleSpec
from isoflop.shape import ModelShape
from isoflop.spec import SweepSpec
from tests.run_examples import OPTIMIZER, make_curve

SHAPE = ModelShape(n_layers=2, width=16, n_heads=2, head_dim=8, d_ff=48, vocab_size=257, context_length=32)
PROVENANCE = {
    "host": "hal",
    "device": "cpu",
    "isoflop_version": "0.1.0",
    "python_version": "3.11.7",
    "torch_version": "2.6.0",
    "git_commit": "0123abcd",
    "git_dirty": True,
}


def make_run(width: int = 16, seed: int = 0, **changes: Any) -> RunSpec:
    fields = {
        "trainer": "builtin",
        "shape": dataclasses.replace(SHAPE, width=width),
        "n_steps": 250,
        "batch_sequences": 4,
        "schedule": ScheduleSpec(warmup_steps=12, cooldown_steps=125, cooldown_shape="linear"),
        "optimizer": OPTIMIZER,
        "seed": seed,
        "corpus_fingerprint": "c0ffee",
        "tokenizer": "byte",
        "eval_tokens": 4096,
    }
    return RunSpec(**{**fields, **changes})


def make_result(run: RunSpec, status: str = "completed", **changes: Any) -> RunResult:
    fields = {
        "run_id": run.run_id,
        "status": status,
        "reason": None if status == "completed" else "loss was not finite at step 17",
        "attempt": 1,
        "simulated": run.trainer == "simulated",
        "n_steps": run.n_steps,
        "n_tokens": run.n_tokens,
        "achieved_flops": run.planned_flops,
        "spent_flops": run.planned_flops,
        "val_loss": 1.25 if status == "completed" else None,
        "val_loss_se": 0.01 if status == "completed" else None,
        "seconds": 12.5,
        "tokens_per_second": 2560.0,
        "finished_at": "2026-01-02T03:04:05+00:00",
        "execution": {"threads": 1, "dtype": "float32"},
        "provenance": PROVENANCE,
        "curve": make_curve(run),
    }
    return RunResult.model_validate({**fields, **changes})


def make_plan(*runs: RunSpec, budget: float = 1e11, sweep: str = "demo", dropped: tuple[DroppedCell, ...] = ()) -> Plan:
    cells = tuple(Cell(role=Role.GRID, budget_flops=budget, run=run, epochs=0.5) for run in runs)
    return Plan(sweep=sweep, cells=cells, dropped=dropped, findings=())


def make_spec(name: str = "demo", budgets: tuple[float, ...] = (1e11,)) -> SweepSpec:
    return SweepSpec(name=name, budgets=budgets)


def rows_of(path: Path, table: str) -> list[dict[str, Any]]:
    with closing(Database(path)) as db:
        return list(db[table].rows)


def dump(path: Path) -> list[str]:
    """All rows of all tables, as statements."""
    with closing(Database(path)) as db:
        return [line for line in db.iterdump() if "INSERT" in line]
