"""Plans beyond the compute at which batch and rate were compared, with what a published rule would take instead."""

import math
from collections.abc import Callable, Iterator, Sequence

from isoflop.finding import Finding, Severity
from isoflop.plan.recipe import DEFAULT_TUNED_FLOPS
from isoflop.plan.types import Cell
from isoflop.run_spec import RunSpec
from isoflop.spec import RecipeSpec
from isoflop.units import format_count, format_flops, plural

# A rule read farther beyond the compute where it was compared is a guess, as a forecast of a floor is.
FAR_DECADES = 1.0
# So many steps take days on one device, and a larger batch would take fewer.
MOST_STEPS = 1_000_000
_MOST_LISTED = 50


def published_batch_tokens(n_tokens: float) -> float:
    """Best batch of AdamW in tokens by Li et al. 2025 (Step Law, arXiv 2503.04715): 0.58 D^0.571."""
    return 0.58 * math.pow(n_tokens, 0.571)


def published_rate(n_non_embedding: float, n_tokens: float) -> float:
    """Best peak rate of AdamW by the same: 1.79 N^-0.713 D^0.307, N without embedding and head; one for all weights."""
    return 1.79 * math.pow(n_non_embedding, -0.713) * math.pow(n_tokens, 0.307)


def beyond_findings(spec: RecipeSpec, cells: Sequence[Cell]) -> Iterator[Finding]:
    """Runs that the default rule of batch and rate was never compared for, and runs of very many steps."""
    trained = [cell for cell in cells if cell.run.trainer == "builtin"]
    far = [cell for cell in trained if math.log10(cell.budget_flops / DEFAULT_TUNED_FLOPS) > FAR_DECADES]
    if far and _is_default_rule(spec):
        yield _beyond(spec, far)
    steps = {cell.run.run_id: cell.run.n_steps for cell in trained if cell.run.n_steps > MOST_STEPS}
    if steps:
        yield Finding(
            "many_steps",
            Severity.WARNING,
            f"{plural(len(steps), 'run')} would take more than a million optimizer steps, up to "
            f"{format_count(max(steps.values()))}.",
            "A larger batch takes fewer: raise recipe.base_batch_tokens or recipe.batch_exponent, and probe the rate "
            "that goes with it.",
            {"n_runs": len(steps), "most_steps": max(steps.values())},
        )


def _is_default_rule(spec: RecipeSpec) -> bool:
    """Whether the batch grows as by default: a file that anchors the rule elsewhere speaks of batches of its own."""
    default = RecipeSpec()
    return (spec.base_tokens, spec.batch_exponent) == (default.base_tokens, default.batch_exponent)


def _beyond(spec: RecipeSpec, far: Sequence[Cell]) -> Finding:
    budgets = sorted({cell.budget_flops for cell in far})
    at_largest = [cell.run for cell in far if cell.budget_flops == budgets[-1] and isinstance(cell.run, RunSpec)]
    decades = math.log10(budgets[-1] / DEFAULT_TUNED_FLOPS)
    batches = _span(at_largest, lambda run: run.batch_tokens)
    theirs = _span(at_largest, lambda run: published_batch_tokens(run.n_tokens))
    values: dict[str, object] = {
        "budgets": budgets[:_MOST_LISTED],
        "n_budgets": len(budgets),
        "decades_beyond": decades,
        "tuned_flops": DEFAULT_TUNED_FLOPS,
        "batch_tokens": batches,
        "published_batch_tokens": theirs,
    }
    rates = ""
    if spec.optimizer == "adamw":
        ours = _span(at_largest, lambda run: run.optimizer.learning_rate * run.optimizer.hidden_rate_scale)
        published = _span(at_largest, lambda run: published_rate(_n_of_rate(run), run.n_tokens))
        values |= {"hidden_learning_rate": ours, "published_learning_rate": published}
        rates = f", and peak rates of {_said(published, _rate)} where hidden matrices have {_said(ours, _rate)}"
    return Finding(
        "recipe_beyond",
        Severity.WARNING,
        f"Batch and rate follow a rule that was compared up to {format_flops(DEFAULT_TUNED_FLOPS)} FLOPs, here "
        f"{decades:.1f} decades beyond. At {format_flops(budgets[-1])} FLOPs it gives batches of "
        f"{_said(batches, format_count)} tokens; Li et al. 2025 (arXiv 2503.04715) would take "
        f"{_said(theirs, format_count)}{rates}.",
        "Probe batch and rate at the largest budget before you train it, and anchor the rule there: "
        "recipe.base_tokens, base_batch_tokens and learning_rate. In their data too small a batch costs loss, not only "
        "time.",
        values,
    )


def _n_of_rate(run: RunSpec) -> int:
    """N by which the published rate falls: non-embedding, or the total where groups are not known."""
    return run.shape.n_params_non_embedding or run.shape.n_params_total


def _span(runs: Sequence[RunSpec], value: Callable[[RunSpec], float]) -> list[float]:
    found = [value(run) for run in runs]
    return [min(found), max(found)]


def _said(span: Sequence[float], form: Callable[[float], str]) -> str:
    """`4.10k to 10.2k`; one value where both ends read the same."""
    low, high = map(form, span)
    return low if low == high else f"{low} to {high}"


def _rate(value: float) -> str:
    return f"{value:.2g}".replace("e-0", "e-")
