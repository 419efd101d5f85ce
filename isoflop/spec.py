"""SweepSpec: the question a sweep asks, read from a TOML file. Parse once, use the type."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic.fields import FieldInfo

from isoflop.run_spec import CooldownShape, OptimizerKind, Trainer
from isoflop.shape import ParamCount
from isoflop.spec_problems import first_problem
from isoflop.toml_file import read_toml

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# Far beyond what anyone trains, and far from where floating point ends.
Budget = Annotated[float, Field(ge=1, le=1e40, allow_inf_nan=False)]
Size = Annotated[float, Field(ge=1, le=1e20, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Keep = Literal["best-per-budget", "all", "none"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_numbers(cls, value: object, info: ValidationInfo) -> object:
        """Neither text nor true or false, which pydantic would read as numbers."""
        field = cls.model_fields.get(info.field_name or "")
        kinds = _kinds(field.annotation) if field is not None else set()
        entries = value if isinstance(value, list | tuple) else (value,)
        if kinds and kinds <= {int, float} and any(isinstance(entry, bool | str) for entry in entries):
            raise ValueError(f"it takes {'whole numbers' if kinds == {int} else 'numbers'} only, without quotes")
        return value


def _kinds(annotation: object) -> set[object]:
    """What a value of that type is made of: {float} for `tuple[float, ...] | None`."""
    parts = [part for part in get_args(annotation) if not isinstance(part, FieldInfo)]
    kinds = set[object]().union(*map(_kinds, parts)) if parts else {annotation}
    return kinds - {type(None), Ellipsis}


def _at_default(section: _Section, key: str) -> bool:
    return bool(getattr(section, key) == type(section).model_fields[key].default)


class GridSpec(_Section):
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


class ModelSpec(_Section):
    """What every model of the sweep has in common."""

    context_length: int = Field(256, ge=2, le=1 << 20)
    """Tokens per training sequence."""
    head_dim: int | None = Field(None, ge=2, le=512, multiple_of=2)
    """Size of an attention head in every shape. Default: by the shape rule, growing with width."""
    aspect_ratio: float | None = Field(None, ge=0.25, le=1e5)
    """Width per layer that the shape rule aims at. Default: the rule's own curve (docs/decisions.md)."""


class CorpusSpec(_Section):
    """What is read."""

    source: Literal["python-stdlib", "files"] = "python-stdlib"
    """`python-stdlib`: the running interpreter's own library sources. `files`: local text, see `paths`."""
    paths: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Files and folders (searched for `pattern`), relative to the sweep file."""
    pattern: str | tuple[str, ...] = "**/*.txt"
    """Which files of a folder are documents: a pattern or a list of patterns; `{a,b}` stands for a and b in turn."""
    heldout_fraction: float = Field(0.02, gt=0, lt=0.5)
    """Share of the documents held out for the final loss."""
    tokens: Annotated[int, Field(ge=1, le=10**18)] | None = None
    """Number of tokens of the text, for plans on a machine without the text; elsewhere the text is counted."""

    @field_validator("pattern", mode="before")
    @classmethod
    def _one_pattern_or_several(cls, value: object) -> object:
        patterns = value if isinstance(value, list | tuple) else (value,)
        if not patterns or not all(isinstance(pattern, str) for pattern in patterns):
            raise ValueError('give a pattern such as "**/*.txt" or a list of patterns')
        return value

    @model_validator(mode="after")
    def _paths_belong_to_files(self) -> "CorpusSpec":
        if (self.source == "files") != bool(self.paths):
            raise ValueError('paths are needed with source = "files", and allowed with no other source')
        return self


class TokenizerSpec(_Section):
    """How text becomes tokens."""

    kind: Literal["byte"] = "byte"
    """`byte`: 256 byte values and a document separator."""


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
# Keys of [recipe] added after the first sweeps were recorded: see `SweepSpec.to_json`.
_LATER_RECIPE_KEYS = ("optimizer", "momentum", "matrix_learning_rate")


class RecipeSpec(_Section):
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
            if self.optimizer not in kinds and not _at_default(self, key):
                owners = " and ".join(f'"{kind}"' for kind in kinds)
                raise ValueError(f'{key} belongs to optimizer = {owners}, and this one is "{self.optimizer}"')
        return self

    @model_validator(mode="after")
    def _schedule_fits(self) -> "RecipeSpec":
        if self.warmup_fraction + self.cooldown_fraction > 1:
            raise ValueError("warmup_fraction + cooldown_fraction exceed 1")
        return self


class EvaluationSpec(_Section):
    """The held-out loss."""

    tokens: int = Field(131_072, ge=1)
    """Held-out tokens, the same for every cell."""


class RunPolicy(_Section):
    """How the runs are looked after; nothing here changes a result."""

    keep: Keep = "best-per-budget"
    """Runs whose final weights stay on disk: the run with the lowest loss of each budget, every run, or none."""
    stall_seconds: float = Field(300, ge=5, le=1e6)
    """A worker that finishes no step for this many seconds, or for 20 times its usual step if that is longer, counts as
    hung: it is killed and tried again."""


class FitSpec(_Section):
    """How the results are read."""

    params: ParamCount = "total"
    """Which parameter count is N, in the grid and in the fit."""


class SweepSpec(_Section):
    """One sweep file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """Name of the sweep: at most 64 letters, digits, `.`, `_`, `-`, the first a letter or a digit."""
    budgets: tuple[Budget, ...] = Field(min_length=1)
    """Training FLOPs per run, each an IsoFLOP profile, such as budgets = [1e11, 3e11, 1e12]."""
    trainer: Trainer = "builtin"
    """`builtin` trains; `simulated` draws losses from a known surface and is labelled so everywhere."""
    grid: GridSpec = GridSpec()
    model: ModelSpec = ModelSpec()
    corpus: CorpusSpec = CorpusSpec()
    tokenizer: TokenizerSpec = TokenizerSpec()
    recipe: RecipeSpec = RecipeSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    run: RunPolicy = RunPolicy()
    fit: FitSpec = FitSpec()

    @field_validator("budgets")
    @classmethod
    def _ascending(cls, budgets: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(budgets)) < len(budgets):
            raise ValueError("a budget is listed twice")
        return tuple(sorted(budgets))

    @model_validator(mode="after")
    def _a_centre_per_budget(self) -> "SweepSpec":
        centres = self.grid.center_n_params
        if centres is not None and len(centres) not in (1, len(self.budgets)):
            budgets = "1 budget" if len(self.budgets) == 1 else f"{len(self.budgets)} budgets"
            raise ValueError(f"grid.center_n_params lists {len(centres)} sizes for {budgets}")
        return self

    def to_json(self) -> str:
        """The sweep as a database keeps it. Keys that came later are left out where they say "as before"."""
        unsaid = {name for name in _LATER_RECIPE_KEYS if _at_default(self.recipe, name)}
        return self.model_dump_json(exclude={"recipe": unsaid})

    def asks_the_same_as(self, other: "SweepSpec") -> bool:
        """Whether both ask for the same runs and read them alike; how runs are looked after may differ."""
        return self.model_copy(update={"run": other.run}) == other

    @property
    def spec_hash(self) -> str:
        """Hash of `to_json`: tells a changed file from an unchanged one."""
        canonical = json.dumps(json.loads(self.to_json()), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def load_spec(path: Path) -> SweepSpec:
    """The sweep that the TOML file at `path` asks for.

    Raises:
        IsoflopError: missing, unreadable or malformed file; unknown key; impossible value.
    """
    return parse_spec(read_toml(path), source=str(path))


def parse_spec(content: Mapping[str, Any], *, source: str) -> SweepSpec:
    """The sweep that parsed TOML asks for; `source` names it in errors.

    Raises:
        IsoflopError: unknown key or impossible value (the first one).
    """
    try:
        return SweepSpec.model_validate(content)
    except ValidationError as error:
        raise first_problem(error, SweepSpec, source=source) from None
