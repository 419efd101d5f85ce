"""How a sweep stands after `isoflop run`, as text and JSON."""

from rich.console import Console

from isoflop.sweep.run_outcome import RunOutcome
from isoflop.units import format_flops, format_seconds
from isoflop.view.document import SCHEMA_VERSION
from isoflop.view.drawing import text
from isoflop.wording import SIMULATED_SENTENCE, excluded_sentence, read_sentence


def run_document(outcome: RunOutcome) -> dict[str, object]:
    """The outcome as the JSON document of `isoflop run --json`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "sweep": outcome.sweep,
        "simulated": outcome.simulated,
        "runs": dict(outcome.counts),
        "excluded": dict(outcome.excluded),
        "incomplete": [
            {"run_id": run.run_id, "status": run.status.value, "reason": run.reason, "log_path": run.log_path}
            for run in outcome.incomplete
        ],
        "seconds": outcome.seconds,
        "flops_spent": outcome.flops_spent,
        "results_read": outcome.n_read,
        "busy_share": outcome.busy_share,
    }


def print_run(outcome: RunOutcome, console: Console) -> None:
    """Nothing; `console` shows the outcome and, for each run without a loss, why and where its log is."""
    counts = ", ".join(f"{number} {status}" for status, number in outcome.counts.items() if number)
    console.print(text(f"{outcome.sweep}: {counts or 'nothing planned'}", "bold"))
    if outcome.simulated:
        console.print(text(SIMULATED_SENTENCE, "bold magenta"))
    if outcome.n_read:
        console.print(text(read_sentence(outcome.n_read)))
    if not outcome.simulated:
        console.print(text(_trained(outcome)))
    if outcome.excluded:
        console.print(text(excluded_sentence(outcome.excluded)))
    for run in outcome.incomplete:
        console.print(text(f"{run.status} {run.run_id}: {run.reason}", "yellow"))
        if run.log_path:
            console.print(text(f"  log: {run.log_path}", "dim"))
    if n_pending := outcome.counts["pending"]:
        kept = (
            f"; {outcome.n_kept} of {n_pending} {'goes' if outcome.n_kept == 1 else 'go'} on from a checkpoint"
            if outcome.n_kept
            else ""
        )
        console.print(text(f"The same command continues with the pending runs{kept}.", "dim"))
    if outcome.incomplete:
        console.print(text("See the logs; `isoflop run --retry` tries these runs again.", "dim"))


def _trained(outcome: RunOutcome) -> str:
    """What this command trained, in results and in what checkpoints keep."""
    if not outcome.flops_spent:
        idle = outcome.busy_share is None and not outcome.counts["pending"]
        return "Nothing was left to train." if idle else f"Nothing was trained in {format_seconds(outcome.seconds)}."
    busy = f", workers busy {outcome.busy_share:.0%}" if outcome.busy_share is not None else ""
    return f"{format_flops(outcome.flops_spent)} FLOPs in {format_seconds(outcome.seconds)}{busy}"
