"""A decision as plain data for JSON."""

import math
from dataclasses import asdict

from isoflop.decision.buildable import Buildable
from isoflop.decision.decide import Decision


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
        "flops_per_token": built.shape.flops_per_token,
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
