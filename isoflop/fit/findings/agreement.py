"""Findings on whether the estimators, the laws and the runs agree with each other."""

import math
from collections.abc import Iterator

import numpy as np

from isoflop.finding import Finding, Severity
from isoflop.fit.estimators.choice import JOINT
from isoflop.fit.estimators.estimates import lack_of_fit_p
from isoflop.fit.findings.evidence import MAX_LISTED, Evidence
from isoflop.fit.intervals import FIVE_PERCENT, Interval
from isoflop.fit.reading.narrow import NARROW_DECADES
from isoflop.fit.results.estimators import Estimate
from isoflop.fit.rows import in_window

# The law is called rejected where it would fit so badly once in a hundred sweeps.
REJECTED_P_VALUE = 0.01
# Exponents that differ by less than this are the same to two printed digits.
_SAME_EXPONENT = 0.01
# Estimators that differ by more than this make other plans: at ten times the budget another N by a quarter.
FAR_EXPONENT = 0.1
# a + b this near 1 is 1: C = 6 N D to what exponents are known to.
_SUM_TOLERANCE = 0.01
# The mask is made for a few bad runs; where it sets aside more than this share, something else is wrong.
MANY_OUTLIERS = 0.1
# Floors off one power law by more than this are worth a look: 5 % of N.
_SCATTER_DECADES = FIVE_PERCENT
# Rows set aside that a message still names; the values of the finding name more.
_NAMED_ROWS = 3


def on_agreement(seen: Evidence) -> Iterator[Finding]:
    """Estimators that disagree beyond their errors, a rejected surface, scattered floors, outliers, a + b."""
    yield from _on_estimators(seen)
    yield from _on_surface(seen)
    yield from _on_floors(seen)
    yield from _on_outliers(seen)
    yield from _on_sum(seen)


def _on_estimators(seen: Evidence) -> Iterator[Finding]:
    found = seen.estimators
    if found.recommended is None or found.recommended.estimate.exponent_a is None:
        return
    own = found.recommended.estimate
    others = {"parabola": found.parabola, "robust": found.robust, "cubic": found.cubic}
    if found.surface:
        others["surface"] = found.surface.estimate
    apart = {name: other.exponent_a for name, other in others.items() if _differ(own, other)}
    alone = seen.choice.surface if seen.choice else None
    if alone and alone.disagree:
        # the interval of the recommended exponent was grown to reach it
        apart["least squares"] = alone.squares.exponent
    if apart:
        tested, a = found.recommended.estimator == JOINT, found.recommended.estimate.exponent_a
        far = any(abs(value - a) > FAR_EXPONENT for value in apart.values() if value is not None)
        listed = ", ".join(f"{name} {value:.3f}" for name, value in apart.items() if value is not None)
        yield Finding(
            "estimators_disagree",
            Severity.INFO if tested and not far else Severity.WARNING,
            f"Estimators differ from the recommended exponent a = {own.exponent_a:.3f} by more than statistical "
            f"errors: {listed}.",
            "The runs do not obey what at least one estimator assumes: "
            + (
                "look for runs that did not train well"
                if alone
                else "see the findings on skew, lack of fit, outliers and width"
            )
            + (
                ". On published sweeps this foretold no misses of the recommended estimate."
                if tested and not far
                else ", and take the spread of the estimators as part of the uncertainty."
            ),
            {"recommended": own.exponent_a, **apart},
        )


def _differ(own: Estimate, other: Estimate) -> bool:
    if own.exponent_a is None or other.exponent_a is None:
        return False
    half = math.hypot(_half(own.exponent_a_ci), _half(other.exponent_a_ci))
    return abs(own.exponent_a - other.exponent_a) > max(half, _SAME_EXPONENT)


def _half(interval: Interval | None) -> float:
    return (interval[1] - interval[0]) / 2 if interval else math.inf


def _on_surface(seen: Evidence) -> Iterator[Finding]:
    surface, joint = seen.estimators.surface, seen.choice.joint if seen.choice else None
    if surface and surface.at_bound and (seen.frontier or seen.without_valleys):
        yield Finding(
            "surface_at_bound",
            Severity.WARNING,
            f"An exponent of the surface ends at the edge of its search range (alpha {surface.law.alpha:.3g}, beta "
            f"{surface.law.beta:.3g}): the runs do not determine it.",
            "Do not quote the surface; add budgets or sizes that separate the effect of size from the effect of data.",
            {"alpha": surface.law.alpha, "beta": surface.law.beta},
        )
    if joint is None:
        return
    p_value = lack_of_fit_p(joint)
    if p_value < REJECTED_P_VALUE:
        yield Finding(
            "surface_rejected",
            Severity.INFO,
            f"One additive surface does not describe these runs (lack of fit F {joint.lack_of_fit:.1f}, p "
            f"{p_value:.1g}), so its narrow intervals cannot be trusted.",
            "Quote the recommended estimate. Most published sweeps reject the surface; grids wider than a decade and "
            "learning rates that are not tuned for each size are common causes.",
            {"lack_of_fit_f": joint.lack_of_fit, "p_value": p_value},
        )


def _on_floors(seen: Evidence) -> Iterator[Finding]:
    joint = seen.choice.joint if seen.choice else None
    if joint is None:
        return
    scatter = joint.valley.scatter
    if scatter.p_value < REJECTED_P_VALUE and scatter.sd > _SCATTER_DECADES:
        yield Finding(
            "scattered_floors",
            Severity.INFO,
            f"The floors scatter by {scatter.sd:.2f} decades about one power law, more than their own errors explain "
            f"(p {scatter.p_value:.1g}); intervals allow for this scatter.",
            "A straight frontier is an assumption: look for a bend in its figure, and for budgets trained with another "
            "recipe.",
            {"scatter_decades": scatter.sd, "p_value": scatter.p_value},
        )


def _on_outliers(seen: Evidence) -> Iterator[Finding]:
    found = seen.estimators.recommended
    if found is None or not found.outliers:
        return
    joint, alone = seen.estimators.joint, seen.choice.surface if seen.choice else None
    without, with_them = found.estimate.exponent_a, joint.estimate.exponent_a if joint else None
    if alone:
        with_them = alone.exponent_of_all
    both = (
        f" The exponent a is {without:.3f} without these runs and {with_them:.3f} with them."
        if without is not None and with_them is not None
        else ""
    )
    if alone and both == "" and without is not None:
        both = f" The exponent a is {without:.3f} without these runs; with them least squares determine none."
    n = len(found.outliers)
    near = in_window(seen.rows, NARROW_DECADES, wide=0.0)[np.isin(seen.rows.index, found.outliers)]
    yield Finding(
        "outliers",
        Severity.WARNING if alone or n > MANY_OUTLIERS * len(seen.rows) else Severity.INFO,
        f"{n} {'run lies' if n == 1 else 'runs lie'} too far off the {'surface' if alone else 'valley'} to be noise "
        f"and {'is' if n == 1 else 'are'} left out of the recommended estimate{_worst(seen) if alone else ''}.{both}",
        "They are all far from the floors, where sizes obey other laws: compare with --window 0.6."
        if not alone and not near.any()
        else "Look at how these runs trained, and leave bad ones out of every estimator: out of the file, or out of a "
        "sweep with `isoflop exclude RUN`.",
        {
            "rows": list(found.outliers[:MAX_LISTED]),
            "n_rows": n,
            "exponent_a_without": without,
            "exponent_a_with": with_them,
        },
    )


def _worst(seen: Evidence) -> str:
    """Those of the rows set aside with the highest losses, by what the table says of them."""
    outliers = seen.choice.outliers if seen.choice else ()
    rows = seen.rows.take(np.isin(seen.rows.index, outliers))
    order = np.argsort(-rows.loss, kind="stable")[:_NAMED_ROWS]
    named = [
        f"loss {rows.loss[at]:.4g} at N {rows.n_params[at]:.3g}, D {rows.n_tokens[at]:.3g}" for at in order.tolist()
    ]
    more = f" and {len(rows) - _NAMED_ROWS} more" if len(rows) > _NAMED_ROWS else ""
    return f" ({'; '.join(named)}{more})"


def _on_sum(seen: Evidence) -> Iterator[Finding]:
    found = seen.estimators.recommended
    if found is None or found.estimate.exponent_a is None or found.estimate.exponent_b is None:
        return
    total = found.estimate.exponent_a + found.estimate.exponent_b
    if abs(total - 1) > _SUM_TOLERANCE:
        yield Finding(
            "not_6nd",
            Severity.INFO,
            f"a + b is {total:.3f}: a token does not cost 6 N FLOPs at every size of these runs.",
            "Take D_opt from the table, not as C / (6 N_opt); compare exponents only with sweeps that count N and C "
            "alike.",
            {"sum": total},
        )
