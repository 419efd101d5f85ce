"""What `isoflop evaluate` came to, as one JSON document."""

from collections.abc import Sequence

from isoflop.sweep.run_metrics import Measured
from isoflop.view.document import SCHEMA_VERSION
from isoflop.view.metrics_view import metric_as_json


def evaluation_document(found: Sequence[Measured]) -> dict[str, object]:
    """The runs with all their metrics, and what could not be measured."""
    left_out = dict.fromkeys((left.name, left.reason) for one in found for left in one.left_out)
    return {
        "schema_version": SCHEMA_VERSION,
        "sweep": found[0].run.sweep.name,
        "runs": [_run(one) for one in found],
        "left_out": [{"probe": name, "reason": reason} for name, reason in left_out],
    }


def _run(one: Measured) -> dict[str, object]:
    return {
        "run_id": one.run.run.run_id,
        "budget_flops": one.run.cell.budget_flops,
        "n_params_total": one.run.cell.n_params_total,
        "val_loss": one.run.result.val_loss,
        "metrics": [metric_as_json(metric) for metric in one.metrics.values()],
        "new": list(one.new),
        "hint": one.hint,
    }
