"""Findings on the losses that the sweep's earlier budgets predicted for its later ones."""

from collections.abc import Iterator, Sequence

from isoflop.finding import Finding, Severity
from isoflop.fit.findings.evidence import Evidence


def on_loss_forecasts(seen: Evidence) -> Iterator[Finding]:
    """How far ahead, and how far off, the sweep's earlier budgets saw the losses of its later ones."""
    judged = [(one, one.loss_seen - one.loss) for one in seen.scorecard if one.loss is not None]
    reached = seen.loss_credible_decades
    if not judged or reached is None:
        return
    errors = [error for _, error in judged]
    held = sum(bool(one.loss_held) for one, _ in judged)
    farthest = max(one.decades for one, _ in judged)
    values = {
        "credible_decades": reached,
        "n_forecasts": len(judged),
        "n_held": held,
        "farthest_decades": farthest,
        "least_error": min(errors),
        "most_error": max(errors),
        "mean_error": sum(errors) / len(errors),
    }
    numbers = (
        f"Losses of later budgets were {_apart(errors)} than forecast from cheaper ones, {len(judged) - held} of "
        f"{len(judged)} outside their interval"
    )
    if reached < farthest:
        yield Finding(
            "loss_scorecard_missed",
            Severity.WARNING,
            f"{numbers}; forecasts were right up to {reached:.1f} decades ahead (a factor of {10**reached:.1f}).",
            "Believe no predicted loss farther out than that; the intervals of losses beyond the budgets are wider for "
            "it. Add a budget nearer to the target, and look for budgets of another recipe.",
            values,
        )
    else:
        yield Finding(
            "credible_loss",
            Severity.INFO,
            f"{numbers}, up to {farthest:.1f} decades ahead (a factor of {10**farthest:.1f}).",
            "This sweep gives no evidence for losses farther out than that.",
            values,
        )


def _apart(errors: Sequence[float]) -> str:
    """`0.02 to 0.05 lower`, or `0.02 lower to 0.01 higher`: from the lowest of `errors`, seen less forecast, nats."""
    low, high = min(errors), max(errors)
    if low < 0 < high:
        return f"{-low:.2g} lower to {high:.2g} higher"
    near, far = sorted((abs(low), abs(high)))
    side = "lower" if low < 0 else "higher"
    return f"{far:.2g} {side}" if f"{near:.2g}" == f"{far:.2g}" else f"{near:.2g} to {far:.2g} {side}"
