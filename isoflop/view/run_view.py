"""How a sweep stands before and after `isoflop run`, as data, text and JSON."""

from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console

from isoflop.plan.types import Cell
from isoflop.result import Status
from isoflop.units import format_flops, format_seconds
from isoflop.view.document import SCHEMA_VERSION
from isoflop.view.drawing import text
from isoflop.view.wording import SIMULATED_SENTENCE, excluded_sentence


@dataclass(frozen=True)
class Outline:
    """What is to be done: the cells, those done already, and the workers' devices."""

    sweep: str
    simulated: bool
    cells: tuple[Cell, ...]
    done: frozenset[str]
    devices: tuple[str, ...]


@dataclass(frozen=True)
class Incomplete:
    """A run that ended without a loss."""

    run_id: str
    status: Status
    reason: str
    log_path: str | None


@dataclass(frozen=True)
class RunOutcome:
    """What `isoflop run` came to.

    Attributes:
        counts: the sweep's runs by status; "pending" for those without a result.
        excluded: reasons of the runs that a person left out of the fit, by run id.
        seconds: wall time of this command.
        flops_spent: by this command.
        busy_share: worker seconds from start of training to result, over workers x sweep seconds; process start
            excluded; None where nothing was trained.
    """

    sweep: str
    simulated: bool
    counts: Mapping[str, int]
    excluded: Mapping[str, str]
    incomplete: tuple[Incomplete, ...]
    seconds: float
    flops_spent: float
    busy_share: float | None

    @property
    def n_planned(self) -> int:
        """Distinct runs of the sweep."""
        return sum(self.counts.values())

    @property
    def n_completed(self) -> int:
        """Runs with a loss."""
        return self.counts[Status.COMPLETED.value]


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
        "busy_share": outcome.busy_share,
    }


def print_run(outcome: RunOutcome, console: Console) -> None:
    """Nothing; `console` shows the outcome and, for each run without a loss, why and where its log is."""
    counts = ", ".join(f"{number} {status}" for status, number in outcome.counts.items() if number)
    console.print(text(f"{outcome.sweep}: {counts or 'nothing planned'}", "bold"))
    if outcome.simulated:
        console.print(text(SIMULATED_SENTENCE, "bold magenta"))
    spent = f"{format_flops(outcome.flops_spent)} FLOPs in {format_seconds(outcome.seconds)}"
    busy = f", workers busy {outcome.busy_share:.0%}" if outcome.busy_share is not None else ""
    console.print(text(spent + busy))
    if outcome.excluded:
        console.print(text(excluded_sentence(outcome.excluded)))
    for run in outcome.incomplete:
        reason = run.reason.removesuffix(f"; log: {run.log_path}")
        console.print(text(f"{run.status} {run.run_id}: {reason}", "yellow"))
        if run.log_path:
            console.print(text(f"  log: {run.log_path}", "dim"))
    if outcome.counts["pending"]:
        console.print(text("The same command goes on with what is pending.", "dim"))
    if outcome.incomplete:
        console.print(text("See the logs; `isoflop run --retry` tries these again.", "dim"))
