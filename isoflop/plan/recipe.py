"""The recipe: steps, batch, rates and decay of a run as functions of its shape and its D."""

import math
from dataclasses import dataclass

from isoflop.run_spec import OptimizerSpec, ScheduleSpec
from isoflop.shape import TrainableShape
from isoflop.spec import RecipeSpec

# Planned FLOPs may miss the budget by this share at most.
BUDGET_TOLERANCE = 0.005
# To meet it, the batch may leave its rule by this share.
BATCH_SLACK = 0.1
# The largest budget at which batch and rate of the default recipe were compared (docs/decisions.md, GPU sweeps).
DEFAULT_TUNED_FLOPS = 2e12
# Depth at which the width alone scales the rate of hidden matrices: the shallowest that is built.
BASE_DEPTH = 2


@dataclass(frozen=True)
class Recipe:
    """What the rule gives for one cell."""

    n_steps: int
    batch_sequences: int
    schedule: ScheduleSpec
    optimizer: OptimizerSpec


def make_recipe(spec: RecipeSpec, shape: TrainableShape, budget_flops: float) -> Recipe | None:
    """The recipe that spends `budget_flops` on `shape`; None if no number of whole steps meets the budget.

    Batch ~ D^batch_exponent; rate ~ sqrt(batch), by kind of weight as in `_rates`; rate x weight decay x steps
    constant (Wang & Aitchison 2024, arXiv 2405.13698).
    """
    size = _steps_and_batch(spec, shape, budget_flops)
    if size is None:
        return None
    n_steps, batch_sequences = size
    batch_scale = math.sqrt(batch_sequences * shape.context_length / spec.base_batch_tokens)
    schedule = ScheduleSpec(
        warmup_steps=round(spec.warmup_fraction * n_steps),
        cooldown_steps=round(spec.cooldown_fraction * n_steps),
        cooldown_shape=spec.cooldown_shape,
    )
    optimizer = OptimizerSpec(
        kind=spec.optimizer,
        **_rates(spec, shape, batch_scale),
        decay_per_step=spec.decay_per_run / n_steps,
        beta1=spec.beta1,
        beta2=spec.beta2,
        epsilon=spec.epsilon,
        momentum=spec.momentum or 0.0,
    )
    return Recipe(n_steps, batch_sequences, schedule, optimizer)


def _rates(spec: RecipeSpec, shape: TrainableShape, batch_scale: float) -> dict[str, float]:
    """The fields of `OptimizerSpec` that grow or fall with width W and depth L, and with the batch's `batch_scale`.

    Ratios to the base width and the base depth, by Yang et al. 2022, arXiv 2203.03466, table 8, and for depth Yang et
    al. 2023, arXiv 2310.02244:

    |       | embedding, gains | hidden       | hidden, writing to the residual stream | head  | gradient clipped to |
    | adamw | 1                | W^-1 L^-0.5  | W^-1 L^-0.5                            | W^-1  | 1                   |
    | sgd   | W                | 1            | L^-1                                   | W^-1  | W^0.5               |
    | muon  | 1                | L^-0.5       | L^-1                                   | W^-1  | 1                   |

    Muon's update has the spectral norm of its rate whatever the width. What writes falls as L^-1 because it is divided
    by L^0.5 at the start and not in the model; AdamW's row leaves that out, and losses of older runs rest on it. Under
    SGD the norm is led by the head's gradient, as long as W^0.5.
    """
    narrower, shallower = spec.base_width / shape.width, BASE_DEPTH / shape.n_layers
    rate = spec.learning_rate * batch_scale
    if spec.optimizer == "sgd":
        return {
            "learning_rate": rate / narrower,
            "hidden_rate_scale": narrower,
            "writing_rate_scale": shallower,
            "head_rate_scale": narrower**2,
            "grad_clip": spec.grad_clip / math.sqrt(narrower),
        }
    hidden = narrower if spec.matrix_learning_rate is None else spec.matrix_learning_rate / spec.learning_rate
    return {
        "learning_rate": rate,
        "hidden_rate_scale": hidden * math.sqrt(shallower),
        "writing_rate_scale": math.sqrt(shallower) if spec.optimizer == "muon" else 1.0,
        "head_rate_scale": narrower,
        "grad_clip": spec.grad_clip,
    }


def batch_tokens_rule(spec: RecipeSpec, n_tokens: float) -> float:
    """Batch in tokens for a run of `n_tokens`, before rounding to whole sequences."""
    return spec.base_batch_tokens * math.pow(n_tokens / spec.base_tokens, spec.batch_exponent)


def _steps_and_batch(spec: RecipeSpec, shape: TrainableShape, budget_flops: float) -> tuple[int, int] | None:
    """Whole steps of whole sequences within the tolerance, the batch as near its rule as possible."""
    n_tokens = budget_flops / shape.flops_per_token
    ruled = max(1, round(batch_tokens_rule(spec, n_tokens) / shape.context_length))
    slack = max(1, math.ceil(ruled * BATCH_SLACK))
    if (ruled - slack) * shape.context_length > n_tokens * (1 + BUDGET_TOLERANCE):
        return None  # not one step
    for offset in range(2 * slack + 1):
        sequences = ruled + (offset + 1) // 2 * (-1 if offset % 2 else 1)  # nearest first: 0, -1, 1, -2, 2, ...
        if sequences < 1:
            continue
        step_flops = sequences * shape.context_length * shape.flops_per_token
        n_steps = round(budget_flops / step_flops)
        if n_steps and abs(n_steps * step_flops / budget_flops - 1) <= BUDGET_TOLERANCE:
            return n_steps, sequences
    return None
