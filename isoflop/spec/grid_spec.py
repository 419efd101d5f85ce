"""[grid] and [model]: which sizes each budget trains, and what they have in common."""

import re
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from isoflop.shape import CountedShape
from isoflop.spec.section import Positive, Section, Size

_FACTORY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


class GridSpec(Section):
    """Which sizes each budget trains."""

    sizes: int = Field(7, ge=1, le=1000)
    """Sizes per budget, evenly spaced in log N."""
    half_width: float = Field(0.65, ge=0, le=3)
    """Half-width of the grid in decades of N."""
    center_tokens_per_param: Positive | None = None
    """First guess of the optimum as D/N; centres every budget's grid. Default: 20 where no centre is given."""
    center_n_params: Annotated[tuple[Size, ...], Field(min_length=1)] | None = None
    """Or the centre as explicit sizes: one per budget, or one for the smallest budget, growing as C^0.5 from there."""
    lattice: bool | tuple[Size, ...] = False
    """One list of sizes for all budgets: `true` = evenly spaced, each budget takes its window of it;
    a list = these sizes at every budget."""
    seeds: int = Field(1, ge=1, le=100)
    """Runs per cell, each with a seed of its own."""
    center_seeds: int = Field(0, ge=0, le=100)
    """Further seeds at the size nearest each centre, which measure the noise."""
    first_seed: int = Field(0, ge=0, le=2**32)
    """The smallest seed used."""

    @field_validator("lattice", mode="before")
    @classmethod
    def _sizes_or_a_switch(cls, value: object) -> object:
        sizes = value if isinstance(value, list | tuple) else ()
        numbers = [size for size in sizes if isinstance(size, int | float) and not isinstance(size, bool)]
        if isinstance(value, bool) or (numbers and len(numbers) == len(sizes) and min(numbers) > 0):
            return value
        raise ValueError("give true, false or a list of positive sizes")

    @field_validator("center_n_params", mode="before")
    @classmethod
    def _one_is_a_list_of_one(cls, value: object) -> object:
        return (value,) if isinstance(value, int | float) else value

    @model_validator(mode="after")
    def _one_kind_of_centre(self) -> "GridSpec":
        if self.center_tokens_per_param is not None and self.center_n_params is not None:
            raise ValueError("give center_tokens_per_param or center_n_params, not both")
        return self


class ModelSpec(Section):
    """What every model of the sweep has in common."""

    context_length: int = Field(256, ge=2, le=1 << 20)
    """Tokens per training sequence."""
    head_dim: int | None = Field(None, ge=2, le=512, multiple_of=2)
    """Size of an attention head in every shape. Default: by the shape rule, growing with width."""
    aspect_ratio: float | None = Field(None, ge=0.25, le=1e5)
    """Width per layer that the shape rule aims at. Default: the rule's own curve (docs/decisions.md)."""
    factory: str | None = None
    """`package.module:function` that builds an nn.Module of your own, which is trained in place of isoflop's decoder
    (docs/own-trainer.md)."""
    factory_hash: str = ""
    """Hash of the factory's source file; isoflop fills it in."""
    counted: tuple[CountedShape, ...] = ()
    """The sizes that the factory was found to build; isoflop fills them in."""

    @field_validator("factory")
    @classmethod
    def _a_module_and_a_function(cls, factory: str | None) -> str | None:
        if factory is not None and not _FACTORY.fullmatch(factory):
            raise ValueError('give "package.module:function", a module that can be imported and a function in it')
        if factory is not None and ".py:" in factory:
            raise ValueError(f'give the module, not its file: "{factory.replace(".py:", ":")}"')
        return factory
