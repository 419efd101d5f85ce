"""What models can do, as a table and as JSON: accuracies beside bits per byte, each with its standard error."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from isoflop.result import Metric
from isoflop.store import RunCell
from isoflop.units import format_flops
from isoflop.view.table import Column, Table
from isoflop.wording import ABSENT, count

_ACCURACY, _BITS = "_accuracy", "_bits_per_byte"


def metrics_table(cells: Iterable[RunCell]) -> Table | None:
    """A row per run that has metrics, with a column for each of them; None where no run has any."""
    runs = list({cell.run_id: cell for cell in cells if cell.metrics}.values())
    names = list(dict.fromkeys(name for cell in runs for name in _in_order(cell.metrics)))
    if not runs:
        return None
    return Table(
        title="What the models can do",
        columns=(
            Column("FLOPs"),
            Column("run", numeric=False, whole=True),
            Column("N"),
            Column("loss"),
            *(Column(heading(name), spare=_spare(name)) for name in names),
        ),
        rows=tuple(_row(cell, names) for cell in runs),
        note=_note([cell.metrics for cell in runs]),
    )


def with_metrics(cell: RunCell, metrics: Mapping[str, Metric]) -> RunCell:
    """The cell with what was measured since it was read."""
    return replace(cell, metrics=metrics)


def heading(name: str) -> str:
    """`continuation` of its accuracy, `continuation bits/byte`."""
    if name.endswith(_BITS):
        return f"{name.removesuffix(_BITS).replace('_', ' ')} bits/byte"
    return name.removesuffix(_ACCURACY).replace("_", " ")


def metric_as_json(metric: Metric) -> dict[str, object]:
    """The metric as a JSON object."""
    return metric.model_dump(mode="json")


def _in_order(metrics: Mapping[str, Metric]) -> list[str]:
    """Names as they were measured: probe by probe, then texts."""
    return sorted(metrics, key=lambda name: (name.startswith("text_"), name))


def _spare(name: str) -> int:
    """Accuracies saturate and differ least between models: on a narrow screen they go first."""
    return 2 if name.endswith(_ACCURACY) else 1


def _row(cell: RunCell, names: Sequence[str]) -> tuple[str, ...]:
    return (
        format_flops(cell.budget_flops),
        cell.run_id,
        count(cell.n_params_total),
        f"{cell.completed.val_loss:.4f}" if cell.completed else ABSENT,
        *(shown(cell.metrics[name]) if name in cell.metrics else ABSENT for name in names),
    )


def shown(metric: Metric) -> str:
    """`0.512 ±0.016`: the value with its standard error."""
    return f"{metric.value:.3f} ±{metric.standard_error:.3f}"


def _note(of_runs: Sequence[Mapping[str, Metric]]) -> str:
    known = {name: metric for metrics in of_runs for name, metric in metrics.items()}
    levels = [
        f"{heading(name)} {metric.chance:.2f}"
        + (f" (always the most frequent: {metric.majority:.2f})" if _is_higher(metric) else "")
        for name, metric in known.items()
        if metric.chance is not None
    ]
    guessing = f" A guess reaches: {', '.join(levels)}." if levels else ""
    return (
        "Accuracy: share of questions whose right choice is likelier than each other one. Bits/byte: of the right "
        "answer, or of the named text. ±: standard error over questions; the noise of training is not in "
        f"it.{guessing}"
    )


def _is_higher(metric: Metric) -> bool:
    return metric.majority is not None and metric.chance is not None and metric.majority > metric.chance
