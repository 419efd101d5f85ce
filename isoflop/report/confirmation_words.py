"""Confirm runs in sentences and as JSON: what was predicted, what came of it. Loads no scipy."""

from collections.abc import Iterator

from isoflop.decision.confirmation import ChangedResults, Confirmation, Neighbour
from isoflop.report.fit_wording import interval, nats, percent
from isoflop.store import ConfirmPlace, Prediction, RunCell
from isoflop.units import format_flops, plural
from isoflop.wording import count


def planned_sentence(prediction: Prediction) -> str:
    """What is to be trained and what is predicted for it."""
    size = f"{count(prediction.n_params)} parameters on {count(prediction.n_tokens)} tokens"
    which = "confirm run" if prediction.place is ConfirmPlace.OPTIMUM else f"its neighbour {prediction.place.words}"
    return (
        f"{which} at {format_flops(prediction.budget_flops)} FLOPs: {size}, loss {_predicted(prediction)}; stored "
        "before it is trained."
    )


def confirmation_sentences(confirmation: Confirmation) -> tuple[str, ...]:
    """Whether the prediction held, whether the neighbours were worse, and what changed since, one sentence each."""
    neighbours = _neighbours(confirmation.neighbours)
    return (
        _verdict(confirmation),
        *([neighbours] if neighbours else []),
        *([_changed(confirmation.prediction, confirmation.changed)] if confirmation.changed.any else []),
        *([f"A person excluded the confirm run: {confirmation.cell.excluded}."] if confirmation.cell.excluded else []),
    )


def _verdict(confirmation: Confirmation) -> str:
    prediction, cell = confirmation.prediction, confirmation.cell
    head = f"The confirm run at {_place(prediction)}"
    if cell.broken is not None:
        return f"{head} {cell.broken.status.value}: {_clause(cell.broken.reason)}; {_predicted(prediction)}."
    if cell.completed is None:
        return f"{head} has no result yet; {_predicted(prediction)}."
    return (
        f"{head} reached {nats(cell.completed.val_loss)} nats per token; {_predicted(prediction)}: "
        f"{_held(confirmation)}{_off_plan(cell)}."
    )


def _place(prediction: Prediction) -> str:
    size = f"{count(prediction.n_params)} parameters on {count(prediction.n_tokens)} tokens"
    return f"{format_flops(prediction.budget_flops)} FLOPs ({size})"


def _predicted(prediction: Prediction) -> str:
    bounds = interval((prediction.loss_low, prediction.loss_high), nats)
    return f"predicted {nats(prediction.loss)} ({percent(prediction.level)} interval {bounds})"


def _held(confirmation: Confirmation) -> str:
    number, error = confirmation.n_standard_errors, confirmation.error or 0.0
    held = "it held" if confirmation.held else "it did not hold"
    if number is None:
        return held
    side = "off" if confirmation.held else "too low" if error > 0 else "too high"
    return f"{held}, {abs(number):.1f} standard errors {side}"


def _off_plan(cell: RunCell) -> str:
    """A run that spent other FLOPs than it was predicted for says so."""
    return f" (it missed its plan: {cell.plan_miss})" if cell.plan_miss else ""


def _neighbours(neighbours: tuple[Neighbour, ...]) -> str:
    """`N/2 was worse by 0.0120 nats (2.1 standard errors), 2N by 0.0030 (0.5).`"""
    said, verb_before = [], ""
    for one in neighbours:
        verb = _verb(one)
        if one.worse_by is None:
            said.append(f"{one.prediction.place.words} {verb}")
        else:
            again = verb == verb_before
            said.append(f"{one.prediction.place.words}{'' if again else f' {verb}'} by {_by(one, brief=again)}")
        verb_before = verb
    return f"{', '.join(said)}." if said else ""


def _verb(one: Neighbour) -> str:
    if one.cell.broken is not None:
        return one.cell.broken.status.value
    if one.cell.completed is None:
        return "has no result yet"
    if one.worse_by is None:
        return f"reached {nats(one.cell.completed.val_loss)}"
    return "was worse" if one.worse_by >= 0 else "was better"


def _by(one: Neighbour, *, brief: bool) -> str:
    number = one.n_standard_errors
    errors = "" if number is None else f" ({abs(number):.1f}{'' if brief else ' standard errors'})"
    return f"{nats(abs(one.worse_by or 0.0))}{'' if brief else ' nats'}{errors}"


def _changed(prediction: Prediction, changed: ChangedResults) -> str:
    parts = [
        (changed.added, "added"),
        (changed.excluded, "excluded by hand"),
        (changed.gone, "no longer fitted"),
    ]
    known = [f"{number} {what}" for number, what in parts if number]
    what = ", ".join(known) if known else "losses of the same runs are others"
    return (
        f"That prediction was made on {prediction.made_at[:10]} from {plural(prediction.n_rows, 'result')} and stays "
        f"as it was; since then: {what}."
    )


def _clause(reason: str) -> str:
    return reason.rstrip(".")


def confirmations_document(confirmations: tuple[Confirmation, ...]) -> list[dict[str, object]]:
    """The confirm runs as JSON objects; every number is finite, or null where there is none."""
    return [_document(one) for one in confirmations]


def _document(one: Confirmation) -> dict[str, object]:
    prediction, changed = one.prediction, one.changed
    return {
        **_run(prediction, one.cell),
        "predicted_at": prediction.made_at,
        "isoflop_version": prediction.isoflop_version,
        "estimator": prediction.estimator,
        "level": prediction.level,
        "n_opt": prediction.n_opt,
        "n_opt_ci": [prediction.n_opt_low, prediction.n_opt_high],
        "d_opt": prediction.d_opt,
        "d_opt_ci": [prediction.d_opt_low, prediction.d_opt_high],
        "noise": prediction.noise,
        "n_results": prediction.n_rows,
        "results_hash": prediction.rows_hash,
        "results_changed": {
            "added": changed.added,
            "excluded": changed.excluded,
            "gone": changed.gone,
            "altered": changed.altered,
        },
        "error": one.error,
        "standard_error": one.standard_error,
        "n_standard_errors": one.n_standard_errors,
        "held": one.held,
        "neighbours": [_neighbour(beside) for beside in one.neighbours],
        "sentences": list(confirmation_sentences(one)),
    }


def _neighbour(one: Neighbour) -> dict[str, object]:
    return {
        "place": one.prediction.place.value,
        **_run(one.prediction, one.cell),
        "worse_by": one.worse_by,
        "standard_error": one.standard_error,
        "n_standard_errors": one.n_standard_errors,
    }


def _run(prediction: Prediction, cell: RunCell) -> dict[str, object]:
    done = cell.completed
    return {
        "run_id": prediction.run_id,
        "budget_flops": prediction.budget_flops,
        "status": cell.status.value if cell.status else "pending",
        "excluded": cell.excluded,
        "n_params": prediction.n_params,
        "param_count": prediction.param_count,
        "n_tokens": prediction.n_tokens,
        "predicted_loss": prediction.loss,
        "predicted_loss_ci": [prediction.loss_low, prediction.loss_high],
        "loss_unit": prediction.loss_unit,
        "loss": done.val_loss if done else None,
        "loss_se": done.val_loss_se if done else None,
    }


def told(confirmations: tuple[Confirmation, ...]) -> Iterator[str]:
    """The sentences of all confirm runs, by ascending budget."""
    for one in confirmations:
        yield from confirmation_sentences(one)
