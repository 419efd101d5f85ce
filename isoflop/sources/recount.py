"""The same runs under other conventions of counting parameters and FLOPs."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from isoflop.counting import FlopCount, flops_per_token
from isoflop.errors import IsoflopError
from isoflop.fit import Columns, Question, fit_exponents
from isoflop.fit.intervals import Interval
from isoflop.shape import ModelShape, ParamCount
from isoflop.sources.findings.mixtures import MIXED_PARAM_COUNTS
from isoflop.sources.source import PARAM_COUNTS, Pool, Row, Source

# Nine fits of more runs would keep a reader waiting.
MOST_RUNS = 1000


@dataclass(frozen=True)
class ConventionFit:
    """The exponents that one pair of conventions gives for the same runs.

    Attributes:
        exponent_a, exponent_a_ci, exponent_b, exponent_b_ci: of the parabola by budget, with statistical intervals.
        recommended_a, recommended_a_ci: of the recommended estimate.
    """

    params: ParamCount
    flops: FlopCount
    exponent_a: float | None
    exponent_a_ci: Interval | None
    exponent_b: float | None
    exponent_b_ci: Interval | None
    recommended_a: float | None
    recommended_a_ci: Interval | None


def under_convention(source: Source | Pool, params: ParamCount | None, flops: FlopCount) -> Source | Pool:
    """`source` with N and C counted otherwise; unchanged for the sweep's own N and exact FLOPs.

    Budgets stay groups. Under another count of FLOPs the runs of a group no longer spend the same, so the group takes
    the count at its floor: the power law between N and the count, through the runs of the group, read at N_opt.

    Raises:
        IsoflopError: the rows come from a table, whose shapes nobody knows, or from models that are not counted so far.
    """
    if params is None and flops is FlopCount.EXACT:
        return source
    if not (has_shapes(source) or (_has_groups(source) and flops is not FlopCount.NO_ATTENTION)):
        raise _not_counted(source)
    counted: dict[float, list[tuple[Row, float]]] = {}
    for row, cell, own in source.runs:
        count = params or own
        recounted = row._replace(n_params=float(cell.shape.n_params(count)))
        per_token = flops_per_token(cell.shape, flops, count)
        counted.setdefault(cell.budget_flops, []).append((recounted, per_token * row.n_tokens))
    budgets = {planned: planned if flops is FlopCount.EXACT else _at_floor(rows) for planned, rows in counted.items()}
    return dataclasses.replace(
        source,
        rows=tuple(
            row._replace(budget_flops=budgets[planned]) for planned, rows in sorted(counted.items()) for row, _ in rows
        ),
        cells=tuple(
            dataclasses.replace(cell, budget_flops=budgets.get(cell.budget_flops, cell.budget_flops))
            for cell in source.cells
        ),
        param_count=params or source.param_count,
        flop_count=flops,
        findings=tuple(found for found in source.findings if params is None or found.code != MIXED_PARAM_COUNTS),
    )


def _not_counted(source: Source | Pool) -> IsoflopError:
    """Why `source` cannot be counted otherwise."""
    if any(row.cell is None for row in source.rows) or len(source.sweeps) != len(source.each):
        return IsoflopError(
            "--params and --flops count the models of sweeps again, and of a model in a table only its N is known.",
            hint="Write n_params and budget_flops into the table as you want them counted.",
        )
    if _has_groups(source):
        return IsoflopError(
            "--flops no-attention needs layers and widths, which only isoflop's own decoder has: of models of a ladder "
            "or a factory the FLOPs of attention are not known.",
            hint="--flops 6nd and --params count these models; the default, exact, is their own count.",
        )
    return IsoflopError(
        "--params and --flops need the parameters of every model by group, and models of this sweep have only a total.",
        hint="Give n_params_embedding and the other groups in every entry of the ladder; of a factory, names of "
        "parameters must tell their group (docs/own-trainer.md).",
    )


def convention_matrix(source: Source | Pool, level: float, window: float | None = None) -> tuple[ConventionFit, ...]:
    """The exponents under every pair of conventions; empty where shapes are unknown, and for very many runs.

    `source` as it was planned and counted; `level` and `window` as of `fit_sweep`.
    """
    if not has_shapes(source) or len(source.rows) > MOST_RUNS:
        return ()
    return tuple(_fit(source, params, flops, level, window) for params in PARAM_COUNTS for flops in FlopCount)


def has_shapes(source: Source | Pool) -> bool:
    """Whether every row is a run whose shape is known: our decoder's, of which everything can be counted."""
    ours = all(row.cell is not None and isinstance(row.cell.shape, ModelShape) for row in source.rows)
    return ours and len(source.sweeps) == len(source.each)


def _has_groups(source: Source | Pool) -> bool:
    """Whether every row is a run whose model is counted by group, if only by its author."""
    shapes = [row.cell.shape if row.cell else None for row in source.rows]
    known = all(isinstance(shape, ModelShape) or (shape is not None and shape.is_grouped) for shape in shapes)
    return known and len(source.sweeps) == len(source.each)


def _fit(
    source: Source | Pool, params: ParamCount, flops: FlopCount, level: float, window: float | None
) -> ConventionFit:
    rows = under_convention(source, params, flops)
    parabola, found = fit_exponents(Columns(**rows.columns_of_fit), Question(level=level, window=window))
    return ConventionFit(
        params=params,
        flops=flops,
        exponent_a=parabola.exponent_a,
        exponent_a_ci=parabola.exponent_a_ci,
        exponent_b=parabola.exponent_b,
        exponent_b_ci=parabola.exponent_b_ci,
        recommended_a=found.exponent_a if found else None,
        recommended_a_ci=found.exponent_a_ci if found else None,
    )


def _at_floor(counted: Sequence[tuple[Row, float]]) -> float:
    """The count of FLOPs at the floor of one budget's runs, or at its best run where there is no floor."""
    rows = [row for row, _ in counted]
    columns = zip(*((row.budget_flops, row.n_params, row.n_tokens, row.loss) for row in rows), strict=True)
    (floor,) = fit_exponents(Columns(*columns))[0].n_opt
    n_opt = floor or min(rows, key=lambda row: row.loss).n_params
    logs = [(math.log(row.n_params), math.log(count)) for row, count in counted]
    mean_n, mean_c = (math.fsum(column) / len(logs) for column in zip(*logs, strict=True))
    spread = math.fsum((n - mean_n) ** 2 for n, _ in logs)
    slope = math.fsum((n - mean_n) * (c - mean_c) for n, c in logs) / spread if spread else 0.0
    return math.exp(mean_c + slope * (math.log(n_opt) - mean_n))
