"""Findings on runs that left the fit before it began, and on the surface that answers alone."""

import math
from collections.abc import Iterator

import numpy as np

from isoflop.finding import Finding, Severity
from isoflop.fit.estimators.cells import FEWEST_CELLS, number_of_cells
from isoflop.fit.estimators.fitted_rows import MOST_EPOCHS
from isoflop.fit.estimators.screened_surface import screen
from isoflop.fit.estimators.surface import HUBER, find_surface, has_logarithms
from isoflop.fit.estimators.surface_answer import FEWEST_FOR_SURFACE, vary_apart
from isoflop.fit.estimators.surface_objective import HIGHEST_EXPONENT, LOWEST_EXPONENT
from isoflop.fit.findings.evidence import MAX_LISTED, Evidence
from isoflop.fit.rows import Rows, read_cost

# An irreducible loss below this share of the lowest loss seen is none: published ones are half of it and more.
NEGLIGIBLE_SHARE = 0.01


def crossed_grid(seen: Evidence) -> Finding:
    """What is said of a grid whose diagonals look like budgets."""
    n_sizes, n_budgets = len(np.unique(seen.rows.n_params)), len(seen.valleys)
    return Finding(
        "crossed_grid",
        Severity.INFO,
        f"The runs are a grid of {n_sizes} sizes, each on the same token counts or ratios: that some of them share one "
        f"of {n_budgets} budgets makes no profiles, so the surface answers.",
        "Nothing needs to be done; profiles of an IsoFLOP sweep have at least four sizes at every budget.",
        {"n_sizes": n_sizes, "n_budgets": n_budgets},
    )


def on_left_out(seen: Evidence) -> Iterator[Finding]:
    """Runs that repeat their tokens, and all but the best of a sweep of rates."""
    if seen.selected is None:
        return
    repeating, best = seen.selected.repeating, seen.selected.best
    if len(repeating):
        most = float(repeating.epochs.max())
        yield Finding(
            "epochs_left_out",
            Severity.WARNING,
            f"{len(repeating)} of {len(repeating) + seen.selected.n_runs} runs read their tokens more than "
            f"{MOST_EPOCHS:g} times, up to {most:.3g} times, and are left out of the fit.",
            "Repeated tokens are worth less than fresh ones, so these runs obey another law in D; runs of up to "
            f"{MOST_EPOCHS:g} epochs are fitted.",
            {"n_rows": len(repeating), "most_epochs": most, "rows": sorted(repeating.index.tolist())[:MAX_LISTED]},
        )
    if best:
        yield Finding(
            "best_of_cells",
            Severity.WARNING,
            f"Runs of one size on as many tokens differ by up to {best.widest:.2g} nats, far more than seeds do, as in "
            f"a sweep of learning rates: the best run of each is fitted, {len(best.rows)} of {seen.selected.n_runs}.",
            "If these runs differ in something else, such as corpus or tokenizer, fit each kind alone.",
            {
                "n_fitted": len(best.rows),
                "n_rows": len(best.set_aside),
                "rows": list(best.set_aside[:MAX_LISTED]),
                "n_repeated": best.n_repeated,
                "widest": best.widest,
                "spread": best.spread,
                "noise": best.noise,
            },
        )


def on_surface_alone(seen: Evidence) -> Iterator[Finding]:
    """Why the surface does not answer either, or what to know of the one that does."""
    if seen.choice is None:
        yield from _on_refusal(seen)
    if _is_exhausted(seen):
        yield Finding(
            "no_one_surface",
            Severity.WARNING,
            f"More than a third of {len(seen.rows)} runs lie too far off the surface through the others, so none is "
            "set aside.",
            "Look for runs that diverged, differ in corpus or recipe, or stopped early, and fit the others alone.",
            {"n_rows": len(seen.rows)},
        )


def _is_exhausted(seen: Evidence) -> bool:
    """Whether more runs lie off the surface than can be set aside."""
    if seen.choice is not None:
        return seen.choice.surface is not None and seen.choice.surface.screened.exhausted
    robust = find_surface(seen.rows, HUBER) if has_logarithms(seen.rows) else None
    return robust is not None and screen(seen.rows, robust).exhausted


def on_irreducible_loss(seen: Evidence) -> Iterator[Finding]:
    """An irreducible loss at its bound: of the surface that answers, or of the one beside valleys."""
    beside = seen.estimators.surface
    if seen.choice is None or beside is None:
        return
    law = seen.choice.surface.chosen.solution.law if seen.choice.surface else beside.law
    e = math.exp(law.log_e)
    share = e / float(seen.rows.loss.min())
    if share < NEGLIGIBLE_SHARE:
        yield Finding(
            "no_irreducible_loss",
            Severity.WARNING,
            f"E, the loss that no size and no data remove, ends at its bound 0 ({share:.2g} of the lowest loss).",
            "The runs are too far from it to tell: losses that a surface predicts beyond them are too low, and alpha "
            "and beta come out too small. Add larger runs, or look for runs that did not train well.",
            {"e": e, "share_of_lowest_loss": share},
        )


def _on_refusal(seen: Evidence) -> Iterator[Finding]:
    n_runs = seen.selected.n_runs if seen.selected else len(seen.rows)
    n_places = number_of_cells(seen.rows)
    reason, why, hint = _refusal(seen.rows, n_runs, n_places)
    yield Finding(
        "no_surface",
        Severity.ERROR,
        f"The surface does not answer either: {why}",
        hint,
        {
            "reason": reason,
            "n_runs": n_runs,
            "fewest_runs": FEWEST_FOR_SURFACE,
            "n_places": n_places,
            "fewest_places": FEWEST_CELLS,
        },
    )


def _refusal(rows: Rows, n_runs: int, n_places: int) -> tuple[str, str, str]:
    """A name of the reason, the reason, and what to do."""
    if n_runs < FEWEST_FOR_SURFACE:
        missing = FEWEST_FOR_SURFACE - n_runs
        return (
            "few_runs",
            f"it needs {FEWEST_FOR_SURFACE} runs, and there {'is' if n_runs == 1 else 'are'} {n_runs}.",
            f"Train {missing} more run{'s' if missing > 1 else ''}: other sizes, or other token counts.",
        )
    if n_places < FEWEST_CELLS:
        return (
            "few_places",
            f"it needs runs at {FEWEST_CELLS} different pairs of size and token count, and there are {n_places}.",
            "Train other sizes, or on other token counts.",
        )
    if not has_logarithms(rows):
        return "no_logarithms", "it takes logarithms of losses, and some have none.", "Give losses in nats per token."
    if not vary_apart(rows):
        return (
            "size_with_tokens",
            "size and tokens vary together in these runs, so that their effects cannot be told apart.",
            "Train each of several sizes on several token counts.",
        )
    return _refusal_of_fit(rows)


def _refusal_of_fit(rows: Rows) -> tuple[str, str, str]:
    """The same where a surface could be fitted, and is no answer."""
    robust = find_surface(rows, HUBER)
    assert robust
    alpha, beta = screen(rows, robust).solution.theta[3:].tolist()
    bound = [f"{name} ends at {value:.3g}" for name, value in (("alpha", alpha), ("beta", beta)) if _at_bound(value)]
    if bound:
        return (
            "exponent_at_bound",
            f"its exponent {' and '.join(bound)}, the edge of what is searched, so the runs do not determine it.",
            "Add sizes and token counts that separate the effect of size from the effect of data.",
        )
    if read_cost(rows).slope <= 0:
        return (
            "cost_falls_with_size",
            "FLOPs per token do not rise with size in these runs, so that no size is optimal.",
            "Check the columns: budget_flops must be the training FLOPs of the run, near 6 n_params n_tokens.",
        )
    return (
        "not_determined",
        "the runs leave its exponent a open, with an interval as wide as all from 0 to 1.",
        "Train more sizes, each on several token counts, and look for runs that did not train well.",
    )


def _at_bound(exponent: float) -> bool:
    return not LOWEST_EXPONENT < exponent < HIGHEST_EXPONENT
