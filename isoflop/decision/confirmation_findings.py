"""Findings on confirm runs: a prediction that did not hold, a neighbour that was better."""

from collections.abc import Iterator, Sequence

from isoflop.decision.confirmation import Confirmation
from isoflop.finding import Finding, Severity
from isoflop.units import format_flops

# A neighbour that is better by more is not better by chance: once in forty, where it is equally good.
NOTABLE_STANDARD_ERRORS = 2.0


def confirmation_findings(confirmations: Sequence[Confirmation]) -> Iterator[Finding]:
    """What a reader of the frontier should know of its confirm runs."""
    for one in confirmations:
        if one.held is False:
            yield _missed(one)
        yield from _better(one)


def _missed(one: Confirmation) -> Finding:
    prediction, number = one.prediction, one.n_standard_errors
    errors = "" if number is None else f", {abs(number):.1f} standard errors"
    side = "above" if (one.error or 0.0) > 0 else "below"
    return Finding(
        "prediction_missed",
        Severity.WARNING,
        f"The loss of the confirm run at {format_flops(prediction.budget_flops)} FLOPs lies {side} the interval that "
        f"was predicted for it{errors}.",
        "Do not rely on this sweep's losses that far out: add budgets nearer to C, or look for what differs there, "
        "such as repeated data or a recipe that is not tuned at that size.",
        {
            "budget_flops": prediction.budget_flops,
            "run_id": prediction.run_id,
            "loss": one.observed.val_loss if one.observed else None,
            "predicted_loss": prediction.loss,
            "n_standard_errors": number,
        },
    )


def _better(one: Confirmation) -> Iterator[Finding]:
    for beside in one.neighbours:
        number = beside.n_standard_errors
        if number is not None and number <= -NOTABLE_STANDARD_ERRORS:
            budget = one.prediction.budget_flops
            yield Finding(
                "confirm_neighbour_better",
                Severity.WARNING,
                f"At {format_flops(budget)} FLOPs {beside.prediction.place.words} reached a lower loss than the "
                f"predicted optimum, by {-number:.1f} standard errors.",
                "The optimum lies on that side of the predicted one: add a budget near C with sizes on both sides.",
                {
                    "budget_flops": budget,
                    "run_id": beside.prediction.run_id,
                    "place": beside.prediction.place.value,
                    "n_standard_errors": number,
                },
            )
