"""The shapes on either side of N_opt that can be built, and how each would be trained."""

import math
from dataclasses import dataclass, replace

from isoflop.counting import FlopCount, flops_per_token
from isoflop.fit.findings.targets import FAR_DECADES
from isoflop.fit.rows import TokenCost
from isoflop.plan.neighbours import neighbours
from isoflop.plan.recipe import DEFAULT_TUNED_FLOPS, Recipe, make_recipe
from isoflop.plan.shapes import ShapeRule, shape_rule
from isoflop.shape import LadderModel, ParamCount, Shape
from isoflop.spec import ModelSpec, RecipeSpec, SweepSpec
from isoflop.units import format_flops

# Context and vocabulary where no sweep is known: those of Gopher and Chinchilla (Rae et al. 2021, arXiv 2112.11446;
# Hoffmann et al. 2022, arXiv 2203.15556, section 4.1).
DEFAULT_CONTEXT, DEFAULT_VOCABULARY = 2048, 32_000
# That of a sweep whose file says nothing of a tokenizer.
BYTE_VOCABULARY = 257
# A shape this many times larger or smaller than N_opt is no answer to it.
MOST_TIMES_OFF = 10.0


@dataclass(frozen=True)
class Family:
    """What all shapes on offer share, and the recipe that trains them.

    Attributes:
        tuned_flops: largest budget at which the recipe was used or compared.
        flops: how budgets are counted.
        default: whether no sweep is known, so that context, vocabulary and recipe are defaults.
    """

    rule: ShapeRule
    recipe: RecipeSpec
    tuned_flops: float
    default: bool
    flops: FlopCount = FlopCount.EXACT


@dataclass(frozen=True)
class Buildable:
    """A shape trained for the target budget.

    Attributes:
        n_params: N under the fit's convention.
        n_tokens: D that spends the budget, counted as the fit counts FLOPs.
        flops_per_token: by that count.
        relative_to_optimum: n_params / N_opt.
        recipe: steps, batch and rates; None where no whole steps of whole sequences meet the budget within 0.5 %.
    """

    shape: Shape
    n_params: int
    n_tokens: float
    flops_per_token: float
    relative_to_optimum: float
    recipe: Recipe | None

    @property
    def tokens_per_param(self) -> float:
        """D / N."""
        return self.n_tokens / self.n_params

    @property
    def batch_tokens(self) -> int | None:
        """Tokens of a batch."""
        if self.recipe is None or isinstance(self.shape, LadderModel):
            return None
        return self.recipe.batch_sequences * self.shape.context_length

    @property
    def learning_rate(self) -> float | None:
        """Peak rate of embedding and norms."""
        return None if self.recipe is None else self.recipe.optimizer.learning_rate

    @property
    def hidden_learning_rate(self) -> float | None:
        """Peak rate of hidden matrices, which is lower the wider and deeper the model."""
        if self.recipe is None:
            return None
        return self.recipe.optimizer.learning_rate * self.recipe.optimizer.hidden_rate_scale


def family_of(
    spec: SweepSpec | None,
    count: ParamCount,
    flops: FlopCount = FlopCount.EXACT,
    vocab_size: int | None = None,
) -> Family:
    """The family of the sweep, whose models have `vocab_size` rows of embedding, bytes' by default.

    Where no sweep is known, shapes of the default rule with Chinchilla's context and words.
    """
    if spec is None:
        model = ModelSpec(context_length=DEFAULT_CONTEXT)
        return Family(
            ShapeRule(model, DEFAULT_VOCABULARY, count), RecipeSpec(), DEFAULT_TUNED_FLOPS, default=True, flops=flops
        )
    rule = replace(shape_rule(spec, vocab_size or BYTE_VOCABULARY), count=count)
    return Family(rule, spec.recipe, spec.budgets[-1], default=False, flops=flops)


def buildable_around(
    family: Family, budget_flops: float, n_opt: float, cost: TokenCost | None = None
) -> tuple[Buildable, ...]:
    """The nearest shape of at most `n_opt` parameters and the nearest of more, fewer where a side has none near.

    A sweep's shapes cost what the sweep counts. Where no sweep is known, a token costs what the rows say, `cost`, so
    that every table has the same D for a size; without that, what the shape's own matrix products take.
    """
    rows_cost = cost if family.default else None
    built = (
        _trained(family, shape, budget_flops, n_opt, rows_cost) for shape in neighbours(family.rule, n_opt) if shape
    )
    return tuple(one for one in built if 1 / MOST_TIMES_OFF <= one.relative_to_optimum <= MOST_TIMES_OFF)


def family_sentences(family: Family, budget_flops: float) -> tuple[str, ...]:
    """What is assumed about the family, and how far beyond its experience the recipe is read."""
    model, decades = family.rule.model, math.log10(budget_flops / family.tuned_flops)
    assumed = (
        "The rows name no sweep file, so these shapes follow the default rule with a context of "
        f"{model.context_length} tokens and a vocabulary of {family.rule.vocab_size}, as in Chinchilla."
    )
    recipe, known = (
        ("default recipe", "the budgets it was tuned at") if family.default
        else ("sweep's recipe", "its largest budget")
    )  # fmt: skip
    far = (
        f"Batch and peak rate follow the {recipe} {decades:.1f} decades beyond {known} "
        f"({format_flops(family.tuned_flops)} FLOPs): values to begin probes with, not a measured optimum."
    )
    return (*([assumed] if family.default else []), *([far] if decades > FAR_DECADES else []))


def _trained(family: Family, shape: Shape, budget_flops: float, n_opt: float, cost: TokenCost | None) -> Buildable:
    n_params = shape.n_params(family.rule.count)
    per_token = cost.per_token(n_params) if cost else flops_per_token(shape, family.flops, family.rule.count)
    n_tokens = budget_flops / per_token
    return Buildable(
        shape=shape,
        n_params=n_params,
        n_tokens=n_tokens,
        flops_per_token=per_token,
        relative_to_optimum=n_params / n_opt,
        recipe=make_recipe(family.recipe, shape, n_tokens * shape.flops_per_token)
        if not isinstance(shape, LadderModel) and family.recipe is not None
        else None,
    )
