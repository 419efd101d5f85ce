"""Sweeps in a real database, and fits of them, small enough to read."""

import dataclasses
import math
from pathlib import Path

from isoflop.fit.sweep import fit_sweep
from isoflop.plan.types import Cell, DroppedCell, Plan, Role
from isoflop.report.summary import Summary, summarize
from isoflop.result import RunResult
from isoflop.run_spec import RunSpec, ScheduleSpec
from isoflop.shape import ModelShape
from isoflop.sources.columns.header import TableColumns
from isoflop.sources.recount import convention_matrix
from isoflop.sources.source import Origin, Pool, Row, Source, TableSource
from isoflop.spec import SweepSpec
from isoflop.store.store import open_store
from isoflop.view.table import Table
from tests.run_examples import OPTIMIZER

DATA = Path(__file__).parent / "data"
LLAMA3 = DATA / "llama3.csv"
GENERATED_AT = "2026-01-02T03:04:05+00:00"
WIDTHS = (16, 32, 48, 64, 96, 128, 192)


def make_cell(budget: float, width: int, *, role=Role.GRID, seed=0, trainer="builtin") -> Cell:
    shape = ModelShape(2, width, 2, 8, 3 * width, 257, 64)
    run = RunSpec(
        trainer=trainer,
        shape=shape,
        n_steps=round(budget / (shape.flops_per_token * 256)),
        batch_sequences=4,
        schedule=ScheduleSpec(warmup_steps=10, cooldown_steps=100, cooldown_shape="linear"),
        optimizer=OPTIMIZER,
        seed=seed,
        corpus_fingerprint="c0ffee",
        tokenizer="byte",
        eval_tokens=4096,
    )
    return Cell(role, budget, run, epochs=0.5)


def planned_otherwise(cell: Cell, *, learning_rate: float, **changes) -> Cell:
    """The same place with another peak rate, and with `changes` of its run."""
    optimizer = {**cell.run.optimizer.model_dump(), "learning_rate": learning_rate}
    run = RunSpec.model_validate({**cell.run.model_dump(), "optimizer": optimizer, **changes})
    return dataclasses.replace(cell, run=run)


def make_result(cell: Cell, **changes) -> RunResult:
    """A completed result on an exact valley: its floor at log10 N = 0.5 log10 C - 1.25."""
    run = cell.run
    off_centre = math.log10(run.shape.n_params_total) - (0.5 * math.log10(cell.budget_flops) - 1.25)
    fields = {
        "run_id": run.run_id,
        "status": "completed",
        "attempt": 1,
        "simulated": run.trainer == "simulated",
        "n_steps": run.n_steps,
        "n_tokens": run.n_tokens,
        "achieved_flops": run.planned_flops,
        "spent_flops": run.planned_flops,
        "val_loss": 2.5 - 0.1 * math.log10(cell.budget_flops / 1e12) + 0.4 * off_centre**2,
        "val_loss_se": 0.01,
        "seconds": 12.5,
        "tokens_per_second": 2560.0,
        "finished_at": "2026-01-02T03:04:05+00:00",
        "provenance": {
            "host": "hal",
            "device": "Some CPU",
            "isoflop_version": "0.1.0",
            "python_version": "3.11.7",
            "torch_version": "2.6.0",
            "git_commit": "0123abcd",
            "git_dirty": True,
        },
    }
    return RunResult.model_validate({**fields, **changes})


def unfinished(cell: Cell, status: str, reason: str) -> RunResult:
    return make_result(cell, status=status, reason=reason, val_loss=None, val_loss_se=None)


def grid(*budgets: float, trainer="builtin") -> list[Cell]:
    return [make_cell(budget, width, trainer=trainer) for budget in budgets for width in WIDTHS]


def save_sweep(path: Path, cells, results, *, spec=None, dropped=(), excluded=None) -> SweepSpec:
    """The sweep, now planned in the database at `path` with these results; `excluded`: reasons by run id."""
    budgets = tuple(sorted({cell.budget_flops for cell in (*cells, *dropped)}))
    spec = spec.model_copy(update={"budgets": budgets}) if spec else SweepSpec(name="demo", budgets=budgets)
    with open_store(path, write=True) as store:
        store.save_plan(spec, Plan(spec.name, tuple(cells), tuple(dropped), ()))
        for result in results:
            store.record(result)
        for run_id, reason in (excluded or {}).items():
            store.exclude(run_id, reason=reason)
    return spec


def save_troubled_sweep(path: Path) -> list[Cell]:
    """The cells of a sweep in which everything has happened: the first six are not fitted, the rest are."""
    cells = grid(1e12, 3e12, 1e13)
    diverged, failed, mismatched, excluded, _pending, check = *cells[:14:3], cells[20]
    cells[20] = check = dataclasses.replace(check, role=Role.PROBE)
    ends_otherwise = {
        diverged.run.run_id: unfinished(diverged, "diverged", "loss was not finite at step 17"),
        failed.run.run_id: unfinished(failed, "failed", "exit code 137 </td><script>alert(1)</script>"),
        mismatched.run.run_id: make_result(mismatched, achieved_flops=1.02 * mismatched.run.planned_flops),
    }
    results = [ends_otherwise.get(cell.run.run_id) or make_result(cell) for cell in cells if cell is not _pending]
    dropped = DroppedCell(1e12, cells[-1].run.shape, "12 optimizer steps, fewer than 200")
    save_sweep(path, cells, results, dropped=[dropped], excluded={excluded.run.run_id: "wrong corpus [red]mounted"})
    return cells


def points_of(*budgets: float, floors=(), n_sizes=7, simulated=False, label="made-up") -> TableSource:
    """Rows of exact valleys, whose floors lie off the middle of their sizes by `floors` decades (default 0)."""
    rows = []
    for budget, floor in zip(budgets, floors or [0.0] * len(budgets), strict=True):
        for index in range(n_sizes):
            offset = -0.6 + 1.2 * index / max(n_sizes - 1, 1)
            n_params = 10 ** (0.5 * math.log10(budget) - 1.25 + offset)
            loss = 3 - 0.1 * math.log10(budget / 1e12) + 0.4 * (offset - floor) ** 2
            rows.append(Row(budget, n_params, budget / (6 * n_params), loss))
    path, columns = Path(f"{label}.csv"), TableColumns((), {})
    return TableSource(
        label=label, origin=Origin.CSV, path=path, rows=tuple(rows), simulated=simulated, columns=columns
    )


def summary_of(source: Source | Pool, *, targets=(), commands=()) -> Summary:
    columns = source.columns_of_fit
    fit = fit_sweep(*(columns[name] for name in ("budget_flops", "n_params", "n_tokens", "loss")), targets=targets)
    matrix = convention_matrix(source, fit.level)
    return summarize(source, fit, generated_at=GENERATED_AT, commands=commands, convention_fits=matrix)


def column(table: Table, heading: str) -> list[str]:
    index = [column.heading for column in table.columns].index(heading)
    return [row[index] for row in table.rows]
