"""A plan as a page of text and as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console

from isoflop.corpus_facts import CorpusFacts
from isoflop.finding import Finding
from isoflop.plan.estimate import Estimate
from isoflop.plan.types import Cell, Plan, Role
from isoflop.result import Status
from isoflop.run_spec import RunSpec
from isoflop.store import PlanChanges
from isoflop.units import format_bytes, format_flops, format_seconds, plural
from isoflop.view.document import SCHEMA_VERSION
from isoflop.view.drawing import findings_block, table_block, text
from isoflop.view.plan_changes import changes_document, print_changes
from isoflop.view.plan_corpus import corpus_document, corpus_lines
from isoflop.view.plan_costs import Price, basis_words, cost_document, cost_lines, cost_table
from isoflop.view.plan_tables import plan_tables
from isoflop.view.table import Table
from isoflop.wording import SIMULATED_SENTENCE, excluded_sentence, runs


@dataclass(frozen=True)
class NextRuns:
    """What a fit says of the runs that it suggested for the plan.

    Attributes:
        table: what each is to gain.
        suggested: the same for the document.
        findings: on what they gain together.
    """

    table: Table
    suggested: Sequence[Mapping[str, object]]
    findings: Sequence[Finding]


@dataclass(frozen=True)
class PlanView:
    """What `isoflop plan` has to say.

    Attributes:
        corpus: what the plan rests on; None where no model is trained.
        estimate: time of the runs without a result.
        seconds: time of every run on one worker, by id; empty where none is trained.
        disk_bytes: room that the sweep needs at most.
        done: how the runs with a result ended, by id.
        changes: against what the database had; None where it did not have the sweep.
        next_runs: None where the plan was not extended.
        excluded: a person's reasons for leaving runs of the plan out of every fit, by run id.
        dropped_suggestions: how many suggested runs the plan no longer has; None where nobody asked for that.
        price: of a device-hour; None where nobody asked for money.
        costs_in_full: whether the page has device-hours and budgets' costs.
        not_measured: sentences on shapes whose trial found nothing.
    """

    plan: Plan
    corpus: CorpusFacts | None
    estimate: Estimate
    seconds: Mapping[str, float]
    disk_bytes: float
    done: Mapping[str, Status]
    changes: PlanChanges | None
    next_runs: NextRuns | None
    excluded: Mapping[str, str]
    dropped_suggestions: int | None = None
    price: Price | None = None
    costs_in_full: bool = False
    not_measured: Sequence[str] = ()

    @property
    def findings(self) -> Sequence[Finding]:
        """On the plan and on what was added to it."""
        return (*self.plan.findings, *(self.next_runs.findings if self.next_runs else ()))


def plan_document(view: PlanView) -> dict[str, object]:
    """The plan as the JSON document of `isoflop plan --json`.

    `estimate.seconds` is wall time of the `n_pending` runs that have no result yet, 0 for a simulated sweep;
    `n_done` runs have one, whatever it is. `disk_bytes` is room for the whole sweep.
    """
    plan, estimate = view.plan, view.estimate
    return {
        "schema_version": SCHEMA_VERSION,
        "sweep": plan.sweep,
        "simulated": plan.simulated,
        "corpus": corpus_document(view.corpus) if view.corpus else None,
        "budgets": list(plan.budgets),
        "runs": [
            _run(cell, view.excluded.get(cell.run.run_id), view.seconds.get(cell.run.run_id)) for cell in plan.cells
        ],
        "dropped": [
            {"budget_flops": cell.budget_flops, "shape": cell.shape.as_dict(), "reason": cell.reason}
            for cell in plan.dropped
        ],
        "total_flops": plan.total_flops,
        "estimate": {
            "seconds": estimate.seconds,
            "measured": estimate.measured,
            "devices": list(estimate.devices),
            "disk_bytes": view.disk_bytes,
            "n_done": len(view.done),
            "n_pending": len(plan.runs) - len(view.done),
            **cost_document(estimate, view.price),
            "not_measured": list(view.not_measured),
        },
        "changes": changes_document(view.changes) if view.changes else None,
        "suggested": list(view.next_runs.suggested) if view.next_runs else [],
        "dropped_suggestions": view.dropped_suggestions,
        "findings": [finding.as_json() for finding in view.findings],
    }


def _run(cell: Cell, excluded: str | None, seconds: float | None) -> dict[str, object]:
    run, shape = cell.run, cell.run.shape
    ours = run if isinstance(run, RunSpec) else None
    return {
        "run_id": run.run_id,
        "role": cell.role.value,
        "budget_flops": cell.budget_flops,
        "shape": shape.as_dict(),
        "n_params_total": shape.n_params_total,
        "n_params_non_embedding": shape.n_params_non_embedding,
        "n_params_matmul": shape.n_params_matmul,
        "n_tokens": run.n_tokens,
        "steps": ours and ours.n_steps,
        "batch_tokens": ours and ours.batch_tokens,
        "optimizer": ours and ours.optimizer.kind,
        "learning_rate": ours and ours.optimizer.learning_rate,
        "flops_per_token": shape.flops_per_token,
        "planned_flops": run.planned_flops,
        "tokens_per_param": run.n_tokens / shape.n_params_total,
        "epochs": cell.epochs,
        "seed": run.seed,
        "excluded": excluded,
        "seconds": seconds,
    }


def print_plan(view: PlanView, console: Console) -> None:
    """Nothing; `console` shows changes, totals, corpus, cells, dropped ones, what new runs are to gain, findings."""
    plan = view.plan
    console.print(text(f"Plan of {plan.sweep}", "bold"))
    if plan.simulated:
        console.print(text(SIMULATED_SENTENCE, "bold magenta"))
    if view.changes is not None and view.changes.differ:
        print_changes(view.changes, console)
    for line in (*_totals(view), *_excluded(view), *_dropped_suggestions(view)):
        console.print(text(line))
    if view.costs_in_full and view.estimate.by_budget:
        console.print(table_block(cost_table(view.estimate, view.price), console))
    for table in plan_tables(plan, view.seconds):
        console.print(table_block(table, console))
    if view.next_runs:
        console.print(table_block(view.next_runs.table, console))
    if view.findings:
        console.print(findings_block(view.findings))


def _totals(view: PlanView) -> Iterator[str]:
    plan = view.plan
    size = f"{runs(len(plan.runs))} at {plural(len(plan.budgets), 'budget')}, {format_flops(plan.total_flops)} FLOPs"
    yield f"{size} in all" + (f"; {_done(view)}" if view.done else "")
    if not plan.simulated:
        disk = f"{format_bytes(view.disk_bytes)} of disk"
        yield f"about {_time(view)}, {disk}" if len(view.done) < len(plan.runs) else disk
        if view.costs_in_full:
            yield from cost_lines(view.estimate, view.price)
    if view.corpus:
        yield from corpus_lines(view.corpus)


def _done(view: PlanView) -> str:
    badly = [status.value for status in view.done.values() if status is not Status.COMPLETED]
    not_completed = f" ({len(badly)} {' or '.join(sorted(set(badly)))})" if badly else ""
    return f"{len(view.done)} of {runs(len(view.plan.runs))} done{not_completed}"


def _time(view: PlanView) -> str:
    estimate = view.estimate
    left = " for the remaining runs" if view.done else ""
    workers = f"{len(estimate.devices)} x {estimate.devices[0]}"
    return f"{format_seconds(estimate.seconds)}{left} on {workers} ({basis_words(estimate)})"


def _dropped_suggestions(view: PlanView) -> Iterator[str]:
    if view.dropped_suggestions is None:
        return
    left = sum(cell.role is Role.SUGGESTED for cell in view.plan.cells)
    stay = f"; {runs(left)} of its suggestions with a result {'stays' if left == 1 else 'stay'}" if left else ""
    yield f"{plural(view.dropped_suggestions, 'suggested run')} without a result taken out of the plan{stay}"


def _excluded(view: PlanView) -> Sequence[str]:
    return (excluded_sentence(view.excluded),) if view.excluded else ()
