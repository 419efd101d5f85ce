"""What models can do, as tables and as JSON: accuracies beside bits per byte, each with its standard error."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from isoflop.result import TEXT_METRIC, Metric
from isoflop.store import RunCell
from isoflop.units import format_flops
from isoflop.view.table import Column, Table
from isoflop.wording import ABSENT, count

_ACCURACY, _BITS = "_accuracy", "_bits_per_byte"


def metrics_tables(cells: Iterable[RunCell]) -> tuple[Table, ...]:
    """A table of accuracies and one of bits per byte, a row per run that has any; none where no run has."""
    runs = list({cell.run_id: cell for cell in cells if cell.metrics}.values())
    found = {name: metric for cell in runs for name, metric in cell.metrics.items()}
    # Texts first: somebody named them, and a narrow screen leaves out what comes last.
    known = {name: found[name] for name in sorted(found, key=lambda name: (not name.startswith(TEXT_METRIC), name))}
    tables = (
        (
            "What the models can do: accuracy",
            [name for name in known if name.endswith(_ACCURACY)],
            _accuracy_note(known),
        ),
        (
            "What the models can do: bits per byte",
            [name for name in known if name.endswith(_BITS)],
            "Of the right answers, or of the text that was named, with the standard error over questions or windows. "
            "Tells models apart where accuracies do not.",
        ),
    )
    return tuple(_table(title, runs, names, note) for title, names, note in tables if names)


def _table(title: str, runs: list[RunCell], names: list[str], note: str) -> Table:
    return Table(
        title=title,
        columns=(
            Column("FLOPs", essential=False),
            Column("run", numeric=False, whole=True),
            Column("N", essential=False),
            Column("loss", essential=False),
            *(Column(heading(name), spare=place) for place, name in enumerate(names)),
        ),
        rows=tuple(
            (
                format_flops(cell.budget_flops),
                cell.run_id,
                count(cell.n_params_total),
                f"{cell.completed.val_loss:.4f}" if cell.completed else ABSENT,
                *(shown(cell.metrics[name]) if name in cell.metrics else ABSENT for name in names),
            )
            for cell in runs
        ),
        note=note,
    )


def with_metrics(cell: RunCell, metrics: Mapping[str, Metric]) -> RunCell:
    """The cell with what was measured since it was read."""
    return replace(cell, metrics=metrics)


def heading(name: str) -> str:
    """`continuation` of `continuation_accuracy` and of `continuation_bits_per_byte`."""
    return name.removesuffix(_BITS).removesuffix(_ACCURACY).replace("_", " ")


def metric_as_json(metric: Metric) -> dict[str, object]:
    """The metric as a JSON object."""
    return metric.model_dump(mode="json")


def shown(metric: Metric) -> str:
    """`0.512±0.016`: the value with its standard error."""
    return f"{metric.value:.3f}±{metric.standard_error:.3f}"


def _accuracy_note(known: Mapping[str, Metric]) -> str:
    levels = [f"{heading(name)} {_guessed(metric)}" for name, metric in known.items() if metric.chance is not None]
    return (
        "Share of questions whose right choice is likelier than each other one (choices of a question have equal "
        "bytes), with the standard error over questions; the noise of training is not in it. A guess reaches: "
        f"{', '.join(levels)}."
    )


def _guessed(metric: Metric) -> str:
    """Chance, and where naming always the most frequent answer does better, that."""
    chance, majority = metric.chance or 0.0, metric.majority or 0.0
    return f"{chance:.2f}" + (f" ({majority:.2f} by the most frequent answer)" if majority > chance + 0.005 else "")
