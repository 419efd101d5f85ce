"""Everything that follows from the optimum of one target budget."""

import math
from dataclasses import dataclass

import numpy as np

from isoflop.counting import Convention, FlopCount
from isoflop.decision.buildable import Buildable, buildable_around, family_of, family_sentences
from isoflop.decision.cost import CostRates, TrainingCost, training_cost
from isoflop.decision.overtraining import InferenceOptimum, SmallerModel, inference_optimum, smaller_models
from isoflop.decision.repeats import Repeats, repeats_of, repeats_sentence
from isoflop.fit.laws import SurfaceLaw
from isoflop.fit.rows import SIX, TokenCost
from isoflop.shape import ParamCount
from isoflop.spec import SweepSpec

# No loss is e^100 nats; from there on other sizes' losses would leave the range of a float.
_LARGEST_LOG_LOSS = 100.0
# What the shapes count where a table does not say, or sources differ: every parameter.
_COUNTED: dict[Convention, ParamCount] = {"total": "total", "non_embedding": "non_embedding", "matmul": "matmul"}
_ROUGH = (
    "Losses and tokens of other sizes, and of repeated tokens, are rough: they are read from the surface, which these "
    "runs reject."
)
_NO_SHAPE = "No shape of the family is within a factor of ten of N_opt."
_AS_GIVEN = "N_opt counts parameters as the file does, N of the shapes counts every parameter: compare with care."


@dataclass(frozen=True)
class Decision:
    """What an engineer chooses from at one budget.

    Attributes:
        n_opt, d_opt: compute-optimal parameters and tokens, as the fit reads them.
        param_count: which parameters `buildable` counts.
        buildable: shapes on either side of N_opt, by ascending N.
        rates, cost: None where no rates were given.
        smaller: N_opt and smaller models to train longer; empty without a surface.
        inference: the size for the expected use; None without a surface or without a use.
        repeats: None where no corpus was given.
        notes: what to know before using any of it, one sentence each.
    """

    budget_flops: float
    n_opt: float
    d_opt: float
    param_count: ParamCount
    buildable: tuple[Buildable, ...]
    rates: CostRates | None
    cost: TrainingCost | None
    smaller: tuple[SmallerModel, ...]
    inference: InferenceOptimum | None
    repeats: Repeats | None
    notes: tuple[str, ...]


def decide(
    *,
    budget_flops: float,
    n_opt: float,
    d_opt: float,
    cost: TokenCost | None = None,
    loss: float | None = None,
    surface: SurfaceLaw | None = None,
    surface_rejected: bool = False,
    spec: SweepSpec | None = None,
    vocab_size: int | None = None,
    param_count: Convention = "total",
    flop_count: FlopCount = FlopCount.EXACT,
    corpus_tokens: float | None = None,
    rates: CostRates | None = None,
    inference_tokens: float | None = None,
) -> Decision:
    """The decision at `budget_flops`: what can be built there, what it costs, and what else could be done.

    `n_opt` parameters, counted as `param_count` says, and `d_opt` tokens are the fit's, `flop_count` its way of
    counting FLOPs, `cost` what a token costs by its rows (6 N where that is not known), `loss` its prediction at the
    optimum; `surface` is its law of the loss, which is moved so that its optimum and the loss there are these, and
    `surface_rejected` whether its runs reject that; `spec` the sweep it is of and `vocab_size` the vocabulary of its
    runs; `corpus_tokens` are unique tokens at hand; `inference_tokens` those the model will read and write in use.

    Raises:
        IsoflopError: a corpus or a use of no positive number of tokens.
    """
    count = _COUNTED.get(param_count, "total")
    family = family_of(spec, count, flop_count, vocab_size)
    own = (cost or SIX).through(budget_flops, n_opt, d_opt) if math.isfinite(d_opt) else SIX
    usable = surface is not None and own.slope > 0 and _usable(surface, n_opt, d_opt)
    law = surface.through(n_opt, budget_flops / own.per_token(n_opt), own, loss) if surface and usable else None
    shapes = buildable_around(family, budget_flops, n_opt, None if cost is None else own)
    repeats = None if corpus_tokens is None else repeats_of(corpus_tokens, n_opt, d_opt, law)
    return Decision(
        budget_flops=budget_flops,
        n_opt=n_opt,
        d_opt=d_opt,
        param_count=count,
        buildable=shapes,
        rates=rates,
        cost=None if rates is None else training_cost(budget_flops, rates),
        smaller=() if law is None else smaller_models(law, budget_flops, n_opt, own),
        inference=_inference(law, budget_flops, inference_tokens, own),
        repeats=repeats,
        notes=(
            *family_sentences(family, budget_flops),
            *([_NO_SHAPE] if not shapes else []),
            *([_AS_GIVEN] if param_count not in _COUNTED else []),
            *([_ROUGH] if surface_rejected and law is not None else []),
            *([] if repeats is None else [repeats_sentence(repeats)]),
        ),
    )


def _usable(surface: SurfaceLaw, n_opt: float, d_opt: float) -> bool:
    """Whether loss falls with size and with data, and is a number at the optimum."""
    if min(surface.alpha, surface.beta) <= 0:
        return False
    return float(surface.log_loss(np.log(n_opt), np.log(d_opt))) < _LARGEST_LOG_LOSS


def _inference(
    law: SurfaceLaw | None, budget_flops: float, inference_tokens: float | None, cost: TokenCost
) -> InferenceOptimum | None:
    if law is None or inference_tokens is None:
        return None
    return inference_optimum(law, budget_flops, inference_tokens, cost)
