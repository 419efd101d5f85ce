"""Several sources side by side: what each says, and by how much they differ from the first."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from isoflop.finding import Severity
from isoflop.fit.compare import Comparison, OptimumRatio, common_budget, compare_fits
from isoflop.report.fit_document import fit_document
from isoflop.report.fit_wording import exponent, interval, nats, percent, power_law_of
from isoflop.report.summary import Summary
from isoflop.sources.measure import IN_NATS
from isoflop.sources.pool import shared_run_ids
from isoflop.units import format_flops
from isoflop.view.document import SCHEMA_VERSION
from isoflop.view.drawing import table_block, text
from isoflop.view.table import Column, Table
from isoflop.wording import ABSENT, SIMULATED_SENTENCE, runs


@dataclass(frozen=True)
class Against:
    """One source against the first; `comparison` is None where either has no recommended estimate.

    `n_shared` runs are in both, which are then not independent.
    """

    label: str
    baseline: str
    comparison: Comparison | None
    n_shared: int = 0


def compare_summaries(summaries: Sequence[Summary], budgets: Sequence[float]) -> tuple[Against, ...]:
    """Every summary but the first against the first, at `budgets` or, without any, where both know most."""
    first = summaries[0]
    found = []
    for summary in summaries[1:]:
        middle = common_budget(summary.fit, first.fit)
        asked = tuple(budgets) or ((middle,) if middle is not None else ())
        found.append(
            Against(
                label=summary.source.label,
                baseline=first.source.label,
                comparison=compare_fits(summary.fit, first.fit, asked),
                n_shared=len(shared_run_ids(summary.source, first.source)),
            )
        )
    return tuple(found)


def comparison_document(summaries: Sequence[Summary], against: Sequence[Against]) -> dict[str, object]:
    """The comparison as a JSON object: `comparisons` against the first source, and every fit whole in `fits`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "simulated": any(summary.simulated for summary in summaries),
        "comparisons": [_document(one) for one in against],
        "fits": [fit_document(summary) for summary in summaries],
    }


def print_comparison(summaries: Sequence[Summary], against: Sequence[Against], console: Console) -> None:
    """Nothing; `console` shows the laws, the differences, and which source has findings of what weight."""
    if any(summary.simulated for summary in summaries):
        console.print(text(SIMULATED_SENTENCE, "bold magenta"))
    for table in (laws_table(summaries), difference_table(against, summaries[0].fit.level)):
        console.print(table_block(table, console))
    for one in against:
        if one.n_shared:
            shared = f"{one.label} shares {runs(one.n_shared)} with {one.baseline}"
            console.print(text(f"{shared}: they are not independent, and the intervals of differences are not valid."))
    for message in dict.fromkeys(_units(summaries)):
        console.print(text(message))
    for summary in summaries:
        if summary.fit.estimators.recommended is None:
            console.print(text(f"{summary.source.label}: {summary.answer.sentences[0]}"))
        codes = [found.code for found in summary.findings if found.severity is not Severity.INFO]
        if codes:
            console.print(
                text(f"{summary.source.label}: {', '.join(codes)} (`isoflop fit` of this source alone explains them)")
            )


def _units(summaries: Sequence[Summary]) -> list[str]:
    """What is fitted where that is not the loss in nats, and why where tokenizers made that choice."""
    fitted = [f"Fitted: {one.source.fitted.scale.axis}." for one in summaries if one.source.fitted != IN_NATS]
    why = [found.message for one in summaries for found in one.findings if found.code == "losses_in_bits_per_byte"]
    return [*fitted, *(why or _per_token(summaries))]


def _per_token(summaries: Sequence[Summary]) -> list[str]:
    """A sentence where the losses of different tokenizers stay per token."""
    names = sorted({name for summary in summaries for part in summary.source.each for name in part.tokenizers})
    if len(names) < 2 or any(summary.source.fitted != IN_NATS for summary in summaries):
        return []
    return [
        f"Losses and token counts do not compare: they are per token, and the tokenizers differ: {', '.join(names)}."
    ]


def laws_table(summaries: Sequence[Summary]) -> Table:
    """The recommended law of every source, and the lowest loss at the largest budget with a floor in all of them."""
    budget = _shared_budget(summaries)
    units = ", ".join(dict.fromkeys(summary.source.fitted.scale.axis for summary in summaries))
    floors = f" At {format_flops(budget)}: the floor of that budget's own parabola, {units}." if budget else ""
    return Table(
        title="Frontiers",
        columns=(
            Column("source", numeric=False),
            Column("N_opt", numeric=False, spare=1),
            Column("a"),
            Column(f"{percent(summaries[0].fit.level)} interval", spare=2),
            Column("b", spare=3),
            Column("runs", spare=4),
            *([Column(f"loss at {format_flops(budget)}", spare=1)] if budget else []),
        ),
        rows=tuple(
            (*_law_row(summary), *([nats(_floors(summary)[budget])] if budget else [])) for summary in summaries
        ),
        note=f"Recommended estimates; intervals of exponents are statistical only.{floors}",
    )


def _floors(summary: Summary) -> dict[float, float]:
    """The loss at the floor of each budget whose floor is inside its sizes."""
    return {
        profile.budget_flops: profile.loss_opt
        for profile in summary.fit.profiles
        if profile.vertex == "inside" and profile.loss_opt is not None
    }


def _shared_budget(summaries: Sequence[Summary]) -> float | None:
    return max(set.intersection(*(set(_floors(summary)) for summary in summaries)), default=None)


def difference_table(against: Sequence[Against], level: float) -> Table:
    """The differences from the first source."""
    wide = f"{percent(level)} interval"
    return Table(
        title=f"Against {against[0].baseline}",
        columns=(
            Column("source", numeric=False),
            Column("a differs by"),
            Column(wide, spare=2),
            Column("b differs by", essential=False),
            Column("at FLOPs", spare=1),
            Column("N_opt ratio", spare=1),
            Column(wide, spare=3),
            Column("statistical", essential=False),
        ),
        rows=tuple(row for one in against for row in _difference_rows(one)),
        note="Intervals of ratios cover statistical and model error of both sources; runs of different sources are "
        "taken to be independent.",
    )


def _law_row(summary: Summary) -> tuple[str, ...]:
    found = summary.fit.estimators.recommended
    if found is None:
        return summary.source.label, ABSENT, ABSENT, ABSENT, ABSENT, str(len(summary.source.rows))
    estimate = found.estimate
    return (
        summary.source.label,
        power_law_of(found.n_line),
        exponent(found.n_line.slope),
        interval(estimate.exponent_a_ci, exponent),
        exponent(found.d_line.slope),
        str(estimate.n_used),
    )


def _difference_rows(one: Against) -> list[tuple[str, ...]]:
    found = one.comparison
    if found is None:
        return [(one.label, *[ABSENT] * 7)]
    exponents = (_signed(found.exponent_a), interval(found.exponent_a_ci, _signed), _signed(found.exponent_b))
    return [(one.label, *exponents, *_ratio_cells(ratio)) for ratio in found.ratios] or [
        (one.label, *exponents, *[ABSENT] * 4)
    ]


def _ratio_cells(ratio: OptimumRatio) -> tuple[str, ...]:
    return (
        format_flops(ratio.budget_flops),
        ABSENT if ratio.ratio is None else f"{ratio.ratio:.2f}",
        interval(ratio.ratio_ci, _plain),
        interval(ratio.ratio_ci_statistical, _plain),
    )


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def _plain(value: float) -> str:
    return f"{value:.2f}"


def _document(one: Against) -> dict[str, object]:
    found = one.comparison
    if found is None:
        return {
            "source": one.label,
            "baseline": one.baseline,
            "n_shared_runs": one.n_shared,
            "exponent_a": None,
            "exponent_b": None,
            "ratios": [],
        }
    return {
        "source": one.label,
        "baseline": one.baseline,
        "n_shared_runs": one.n_shared,
        "exponent_a": found.exponent_a,
        "exponent_a_ci": list(found.exponent_a_ci),
        "exponent_b": found.exponent_b,
        "exponent_b_ci": list(found.exponent_b_ci),
        "ratios": [
            {
                "budget_flops": ratio.budget_flops,
                "n_opt_ratio": ratio.ratio,
                "n_opt_ratio_ci_statistical": list(ratio.ratio_ci_statistical) if ratio.ratio_ci_statistical else None,
                "n_opt_ratio_ci": list(ratio.ratio_ci) if ratio.ratio_ci else None,
            }
            for ratio in found.ratios
        ],
    }
