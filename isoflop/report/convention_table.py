"""The exponents of the same runs under other conventions, as a table and as JSON."""

from collections.abc import Sequence

from isoflop.fit.intervals import Interval
from isoflop.report.fit_wording import exponent, interval, percent
from isoflop.sources.recount import ConventionFit
from isoflop.view.table import Column, Table
from isoflop.wording import ABSENT


def convention_table(matrix: Sequence[ConventionFit], level: float) -> Table | None:
    """The exponents of the same runs by convention; None without any."""
    if not matrix:
        return None
    wide = f"{percent(level)} interval"
    return Table(
        title="Conventions",
        columns=(
            Column("N counts", numeric=False),
            Column("C counts", numeric=False),
            Column("a, parabola", spare=1),
            Column(wide, spare=2),
            Column("b", essential=False),
            Column("a, recommended"),
            Column(wide, essential=False),
        ),
        rows=tuple(_row(fit) for fit in matrix),
        note="The same runs with N and C counted in other ways: compare exponents only with sweeps that count N and C "
        "alike. exact: all matrix products; 6nd: 6 N D with N as counted. --params and --flops refit everything with "
        "one count.",
    )


def conventions_document(matrix: Sequence[ConventionFit]) -> list[dict[str, object]]:
    """The matrix as JSON objects."""
    return [
        {
            "params": fit.params,
            "flops": fit.flops.value,
            "exponent_a": fit.exponent_a,
            "exponent_a_ci": _ends(fit.exponent_a_ci),
            "exponent_b": fit.exponent_b,
            "exponent_b_ci": _ends(fit.exponent_b_ci),
            "recommended_a": fit.recommended_a,
            "recommended_a_ci": _ends(fit.recommended_a_ci),
        }
        for fit in matrix
    ]


def _row(fit: ConventionFit) -> tuple[str, ...]:
    return (
        fit.params.replace("_", "-"),
        fit.flops.value,
        _exponent(fit.exponent_a),
        interval(fit.exponent_a_ci, exponent),
        _exponent(fit.exponent_b),
        _exponent(fit.recommended_a),
        interval(fit.recommended_a_ci, exponent),
    )


def _exponent(value: float | None) -> str:
    return ABSENT if value is None else exponent(value)


def _ends(bounds: Interval | None) -> list[float] | None:
    return list(bounds) if bounds else None
