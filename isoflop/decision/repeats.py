"""What it costs to read a corpus more than once.

Muennighoff et al. 2023, arXiv 2305.16264, section 3.1: tokens read again count less and less. Of their law only the
half about data is used; their other half discounts parameters in excess of the corpus (R*_N = 5.31).
"""

import math
from dataclasses import dataclass

from isoflop.fit.laws import SurfaceLaw
from isoflop.units import require_positive
from isoflop.wording import count, ratio, two_digits

# R*_D: epochs beyond the first after which a repeated token has lost most of its worth. Fitted by Muennighoff et al.
# 2023 (appendix A: 15.387756) to models of up to 9B parameters.
REPEAT_DECAY_EPOCHS = 15.387756
# Up to 4 epochs repeated tokens are almost as good as new ones (ibid., abstract).
NEARLY_FREE_EPOCHS = 4


@dataclass(frozen=True)
class Repeats:
    """A training that reads a corpus more than once, or not quite once.

    Attributes:
        corpus_tokens, n_tokens: unique tokens, and tokens read.
        effective_tokens: fresh tokens that would be worth as much, D'.
        loss_fresh, loss_repeated: nats per token with all tokens fresh, and with D' in their place; None without a
            surface.
        corpus_for_nearly_free: unique tokens with which this training takes 4 epochs.
    """

    corpus_tokens: float
    n_tokens: float
    effective_tokens: float
    loss_fresh: float | None
    loss_repeated: float | None
    corpus_for_nearly_free: float

    @property
    def epochs(self) -> float:
        """Passes over the corpus."""
        return self.n_tokens / self.corpus_tokens

    @property
    def cost_nats(self) -> float | None:
        """Nats per token that repetition costs; None without a surface."""
        if self.loss_fresh is None or self.loss_repeated is None:
            return None
        return self.loss_repeated - self.loss_fresh


def effective_tokens(n_tokens: float, unique_tokens: float) -> float:
    """D' = U + U R* (1 - exp(-R / R*)), R = D / U - 1: fresh tokens worth as much as D tokens of U unique ones."""
    if n_tokens <= unique_tokens:
        return n_tokens
    repeats = n_tokens / unique_tokens - 1
    return unique_tokens * (1 - REPEAT_DECAY_EPOCHS * math.expm1(-repeats / REPEAT_DECAY_EPOCHS))


def repeats_of(corpus_tokens: float, n_params: float, n_tokens: float, surface: SurfaceLaw | None) -> Repeats:
    """What training `n_params` on `n_tokens` of a corpus of `corpus_tokens` costs.

    Raises:
        IsoflopError: the corpus has no positive number of tokens.
    """
    require_positive(corpus_tokens, "The corpus in tokens")
    worth = effective_tokens(n_tokens, corpus_tokens)
    return Repeats(
        corpus_tokens=corpus_tokens,
        n_tokens=n_tokens,
        effective_tokens=worth,
        loss_fresh=None if surface is None else surface.loss(n_params, n_tokens),
        loss_repeated=None if surface is None else surface.loss(n_params, worth),
        corpus_for_nearly_free=n_tokens / NEARLY_FREE_EPOCHS,
    )


def repeats_sentence(repeats: Repeats) -> str:
    """What repetition costs, and the corpus with which it costs next to nothing."""
    if repeats.epochs <= 1:
        return f"No token is repeated: {ratio(repeats.epochs)} epochs of your corpus."
    cost = repeats.cost_nats
    price = (
        f"are worth {count(repeats.effective_tokens)} fresh tokens" if cost is None
        else f"cost about {two_digits(cost)} nats and are worth {count(repeats.effective_tokens)} fresh tokens"
    )  # fmt: skip
    enough = f"up to {NEARLY_FREE_EPOCHS} epochs are nearly free"
    if repeats.epochs > NEARLY_FREE_EPOCHS:
        unique = count(repeats.corpus_for_nearly_free)
        enough = f"{unique} unique tokens would need {NEARLY_FREE_EPOCHS} epochs, which are nearly free"
    return f"{ratio(repeats.epochs)} epochs of your corpus {price}; {enough}."
