"""The exponents of the same runs on their losses and on a metric, as a table and as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from isoflop.fit import Columns, Question, fit_exponents
from isoflop.fit.intervals import Interval
from isoflop.report.fit_wording import exponent, interval, percent
from isoflop.sources.remeasure import on_loss
from isoflop.sources.source import Pool, Source
from isoflop.view.table import Column, Table
from isoflop.wording import ABSENT


@dataclass(frozen=True)
class MeasureFit:
    """The exponents of N_opt that one measure of the runs gives, with statistical intervals.

    Attributes:
        on: `loss (nats per token)`, or what of a metric is fitted.
        n_runs: the fitted runs.
        exponent_a, exponent_a_ci: of the parabola by budget.
        recommended_a, recommended_a_ci: of the recommended estimate.
    """

    on: str
    n_runs: int
    exponent_a: float | None
    exponent_a_ci: Interval | None
    recommended_a: float | None
    recommended_a_ci: Interval | None


def fits_on_loss_and_metric(source: Source | Pool, level: float, window: float | None) -> tuple[MeasureFit, ...]:
    """The fit of the runs' losses beside that of their metric; nothing where losses are fitted."""
    if source.fitted.metric is None:
        return ()
    question = Question(level=level, window=window)
    return (
        _fit("loss (nats per token)", replace(source, rows=tuple(on_loss(source.rows))), question),
        _fit(source.fitted.scale.axis, source, question),
    )


def _fit(on: str, source: Source | Pool, question: Question) -> MeasureFit:
    parabola, found = fit_exponents(Columns(**source.columns_of_fit), question)
    return MeasureFit(
        on=on,
        n_runs=len(source.rows),
        exponent_a=parabola.exponent_a,
        exponent_a_ci=parabola.exponent_a_ci,
        recommended_a=found.exponent_a if found else None,
        recommended_a_ci=found.exponent_a_ci if found else None,
    )


def measure_table(fits: Sequence[MeasureFit], level: float) -> Table | None:
    """The exponents side by side; None without a metric."""
    if not fits:
        return None
    wide = f"{percent(level)} interval"
    return Table(
        title="On loss and on the metric",
        columns=(
            Column("fitted", numeric=False),
            Column("runs", spare=1),
            Column("a, parabola"),
            Column(wide, spare=2),
            Column("a, recommended"),
            Column(wide, spare=1),
        ),
        rows=tuple(
            (
                fit.on,
                str(fit.n_runs),
                _exponent(fit.exponent_a),
                interval(fit.exponent_a_ci, exponent),
                _exponent(fit.recommended_a),
                interval(fit.recommended_a_ci, exponent),
            )
            for fit in fits
        ),
        note="The same runs; a: exponent of N_opt ~ C^a. Intervals are statistical only. Of an accuracy, where higher "
        "is better, 1 - accuracy is fitted.",
    )


def measures_document(fits: Sequence[MeasureFit]) -> list[dict[str, object]]:
    """The fits as JSON objects."""
    return [
        {
            "on": fit.on,
            "n_runs": fit.n_runs,
            "exponent_a": fit.exponent_a,
            "exponent_a_ci": _ends(fit.exponent_a_ci),
            "recommended_a": fit.recommended_a,
            "recommended_a_ci": _ends(fit.recommended_a_ci),
        }
        for fit in fits
    ]


def _exponent(value: float | None) -> str:
    return ABSENT if value is None else exponent(value)


def _ends(bounds: Interval | None) -> list[float] | None:
    return list(bounds) if bounds else None
