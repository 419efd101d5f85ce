"""[recipe]: hyper-parameters as functions of width and tokens, the same rule for every cell."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, model_validator

from isoflop.run_spec import CooldownShape, OptimizerKind
from isoflop.spec.section import Fraction, Positive, Section, at_default

# What each optimizer starts from where the sweep file says nothing (measured: docs/benchmarks.md, Optimizers).
RECIPES: Mapping[OptimizerKind, Mapping[str, float]] = {
    "adamw": {},
    "sgd": {"learning_rate": 0.2, "momentum": 0.9},
    "muon": {"learning_rate": 0.02, "momentum": 0.95, "matrix_learning_rate": 0.02},
}
# Keys of [recipe] that only some optimizers have.
_OF_OPTIMIZERS: Mapping[str, tuple[OptimizerKind, ...]] = {
    "momentum": ("sgd", "muon"),
    "matrix_learning_rate": ("muon",),
    "beta1": ("adamw", "muon"),
    "beta2": ("adamw", "muon"),
    "epsilon": ("adamw", "muon"),
}


class RecipeSpec(Section):
    """Hyper-parameters as functions of width and D, the same rule for every cell."""

    optimizer: OptimizerKind = "adamw"
    """`adamw`; `sgd` with momentum; or `muon` for hidden matrices with AdamW for the rest."""
    learning_rate: float = Field(0.007, ge=1e-12, le=1e40)
    """Peak rate at `base_width` and `base_batch_tokens`; grows with the square root of the batch. Default
    of `sgd`: 0.2, of `muon`, where it is the rate of what AdamW trains: 0.02."""
    base_width: int = Field(32, ge=1, le=1 << 20)
    """Width at which all weights of models of 2 layers have the rate `learning_rate`; elsewhere each kind of weight its
    own (docs/sweep-file.md)."""
    base_batch_tokens: float = Field(192, ge=1, le=1e12)
    """Batch in tokens of a run of `base_tokens`."""
    base_tokens: float = Field(1e6, ge=1, le=1e18)
    """D at which the batch is `base_batch_tokens`."""
    batch_exponent: Fraction = 0.4
    """Batch grows as D to this power."""
    momentum: float | None = Field(None, ge=0, lt=1)
    """Share of the last update that stays in the next, for `sgd` and `muon`. Default: 0.9, of `muon` 0.95."""
    matrix_learning_rate: Annotated[float, Field(ge=1e-12, le=1e40)] | None = None
    """Peak rate of `muon` for hidden matrices of 2 layers, of any width, at `base_batch_tokens`; grows with the square
    root of the batch. Default: 0.02."""
    warmup_fraction: float = Field(0.05, ge=0, le=1 / 3)
    """Share of the steps that warm up."""
    cooldown_fraction: Fraction = 0.5
    """Share of the steps that cool down to zero."""
    cooldown_shape: CooldownShape = "linear"
    """Shape of the cooldown."""
    decay_per_run: float = Field(0.5, ge=0, allow_inf_nan=False)
    """Learning rate x weight decay x steps, equal in every cell (Wang & Aitchison 2024, arXiv 2405.13698)."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """AdamW's first moment."""
    beta2: float = Field(0.98, ge=0, lt=1)
    """AdamW's second moment."""
    epsilon: Positive = 1e-8
    """AdamW's epsilon."""
    grad_clip: Positive = 1.0
    """Largest global gradient norm."""
    min_steps: int = Field(200, ge=1, le=10**12)
    """Cells with fewer optimizer steps are dropped: their loss would measure the optimizer."""
    max_epochs: Positive = 4
    """Cells that repeat the corpus more often are dropped (Muennighoff et al. 2023, arXiv 2305.16264)."""

    @model_validator(mode="before")
    @classmethod
    def _what_the_optimizer_starts_from(cls, content: object) -> object:
        if not isinstance(content, Mapping):
            return content
        kind = content.get("optimizer")
        return {**next((start for name, start in RECIPES.items() if name == kind), {}), **content}

    @model_validator(mode="after")
    def _keys_belong_to_the_optimizer(self) -> "RecipeSpec":
        for key, kinds in _OF_OPTIMIZERS.items():
            if self.optimizer not in kinds and not at_default(self, key):
                owners = " and ".join(f'"{kind}"' for kind in kinds)
                raise ValueError(f'{key} belongs to optimizer = {owners}, and this one is "{self.optimizer}"')
        return self

    @model_validator(mode="after")
    def _schedule_fits(self) -> "RecipeSpec":
        if self.warmup_fraction + self.cooldown_fraction > 1:
            raise ValueError("warmup_fraction + cooldown_fraction exceed 1")
        return self
