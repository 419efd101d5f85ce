"""A fit and what follows from it as one JSON document, the same for `fit --json` and for a report's report.json."""

import math
from dataclasses import asdict

from isoflop.decision.buildable import Buildable
from isoflop.decision.decide import Decision
from isoflop.fit.as_json import fit_as_json
from isoflop.report.confirmation_words import confirmations_document
from isoflop.report.convention_table import conventions_document
from isoflop.report.growth_words import rounds_document
from isoflop.report.law_table import laws_document
from isoflop.report.loss_words import in_unit, scale_of_losses
from isoflop.report.metric_table import measures_document
from isoflop.report.summary import Summary
from isoflop.sources.columns.loss_scale import LossScale
from isoflop.sources.source import Pool, Source, TableSource
from isoflop.store import RunCell, run_cells
from isoflop.view.document import SCHEMA_VERSION
from isoflop.view.metrics_view import metric_as_json


def fit_document(summary: Summary) -> dict[str, object]:
    """The fit of `summary` with where its rows come from, as a JSON object.

    `sweep` is null for rows from a table, and from sources of several sweeps; `source` joins the paths of several;
    `findings` are those of the sources, then those of the fit.
    """
    source = summary.source
    return {
        "schema_version": SCHEMA_VERSION,
        "sweep": source.sweep,
        "source": ", ".join(str(part.path) for part in source.each),
        "sources": [_source(part) for part in source.each],
        "simulated": summary.simulated,
        "param_count": source.param_count,
        "flop_count": source.flop_count,
        **fit_as_json(summary.fit),
        "conventions": conventions_document(summary.convention_fits),
        "decisions": [_decision(decision, scale_of_losses(source)) for decision in summary.decisions],
        "laws": laws_document(summary.laws, summary.targets),
        "confirmations": confirmations_document(summary.confirmations),
        "rounds": rounds_document(summary.rounds),
        "metric": source.fitted.metric,
        "measures": measures_document(summary.measure_fits),
        "run_metrics": [_metrics(cell) for cell in _evaluated(source)],
        "findings": [finding.as_json() for finding in summary.findings],
    }


def _evaluated(source: Source | Pool) -> list[RunCell]:
    """The runs whose models were measured, each once."""
    return list({cell.run_id: cell for cell in run_cells(source.cells) if cell.metrics}.values())


def _metrics(cell: RunCell) -> dict[str, object]:
    return {"run_id": cell.run_id, "metrics": [metric_as_json(metric) for metric in cell.metrics.values()]}


def _source(part: Source) -> dict[str, object]:
    scale = scale_of_losses(part)
    return {
        "label": part.label,
        "path": str(part.path),
        "kind": part.origin,
        "n_rows": len(part.rows),
        "param_count": part.param_count,
        "columns": dict(part.columns.chosen) if isinstance(part, TableSource) else None,
        "loss": scale.what,
        "loss_unit": scale.unit,
    }


def _decision(decision: Decision, scale: LossScale) -> dict[str, object]:
    return {**decision_as_json(decision), "notes": [in_unit(note, scale) for note in decision.notes]}


def decision_as_json(decision: Decision) -> dict[str, object]:
    """The decision as a JSON object; every number is finite, or null where there is none."""
    inference, repeats = decision.inference, decision.repeats
    document = {
        "budget_flops": decision.budget_flops,
        "n_opt": decision.n_opt,
        "d_opt": decision.d_opt,
        "param_count": decision.param_count,
        "buildable": [_buildable(built) for built in decision.buildable],
        "rates": decision.rates and asdict(decision.rates),
        "cost": decision.cost and asdict(decision.cost),
        "smaller": [asdict(model) for model in decision.smaller],
        "inference": inference and {**asdict(inference), "saved_share": inference.saved_share},
        "repeats": repeats and {**asdict(repeats), "epochs": repeats.epochs, "cost_nats": repeats.cost_nats},
        "notes": list(decision.notes),
    }
    return {key: _finite(value) for key, value in document.items()}


def _buildable(built: Buildable) -> dict[str, object]:
    return {
        "shape": built.shape.as_dict(),
        "n_params": built.n_params,
        "n_tokens": built.n_tokens,
        "flops_per_token": built.flops_per_token,
        "tokens_per_param": built.tokens_per_param,
        "relative_to_optimum": built.relative_to_optimum,
        "n_steps": None if built.recipe is None else built.recipe.n_steps,
        "batch_tokens": built.batch_tokens,
        "learning_rate": built.learning_rate,
        "hidden_learning_rate": built.hidden_learning_rate,
    }


def _finite(value: object) -> object:
    """`value` with None in place of every number that JSON has no word for."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
