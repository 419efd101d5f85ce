"""SweepSpec: the question a sweep asks, read from a TOML file. Parse once, use the type."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from isoflop.run_spec import Trainer, as_program
from isoflop.shape import ParamCount
from isoflop.spec.command_spec import CommandSpec, LadderEntry, ladder_problem, unknown_placeholder
from isoflop.spec.corpus_spec import LATER_CORPUS_KEYS, CorpusSpec, TokenizerSpec
from isoflop.spec.engine_spec import EngineSpec
from isoflop.spec.goal_spec import GoalSpec
from isoflop.spec.grid_spec import GridSpec, ModelSpec
from isoflop.spec.ladder_file import read_ladder
from isoflop.spec.problems import OF_OUR_TRAINER, OF_OWN_TRAINERS, first_problem
from isoflop.spec.recipe_spec import RecipeSpec
from isoflop.spec.section import Budget, Section, at_default
from isoflop.spec.toml_file import read_toml
from isoflop.spec.track_spec import TrackSpec

Keep = Literal["best-per-budget", "all", "none"]

# Keys of a table that were added after the first sweeps were recorded: see `SweepSpec.to_json`.
_LATER_KEYS: Mapping[str, tuple[str, ...]] = {
    "model": ("factory", "factory_hash", "counted"),
    "corpus": LATER_CORPUS_KEYS,
    "recipe": ("optimizer", "momentum", "matrix_learning_rate"),
    "tokenizer": ("vocab_size", "path", "separator"),
    "evaluation": ("probes",),
    "run": ("devices_per_run",),
}


# Likewise of whole tables.
_LATER_PARTS = ("command", "ladder", "goal", "track")


class EvaluationSpec(Section):
    """The held-out loss, and what else is measured of a trained model."""

    tokens: int = Field(131_072, ge=1)
    """Held-out tokens, the same for every cell."""
    probes: bool = False
    """Whether every run is asked the built-in probes once it is trained; no run is another for it."""


class RunPolicy(Section):
    """How the runs are looked after; nothing here changes what is trained, `devices_per_run` its rounding alone."""

    keep: Keep = "best-per-budget"
    """Runs whose final weights stay on disk: the best run of each budget and confirm runs, every run, or none."""
    stall_seconds: float = Field(300, ge=5, le=1e6)
    """A worker that finishes no step for this many seconds, or for 20 times its usual step if that is longer, counts as
    hung: it is killed and tried again."""
    devices_per_run: int = Field(1, ge=1, le=1024)
    """GPUs, or CPU cores, that train one run together, each a share of every batch. For models that one GPU trains too
    slowly; the simulated trainer needs none."""


class FitSpec(Section):
    """How the results are read."""

    params: ParamCount = "total"
    """Which parameter count is N, in the grid and in the fit."""


class SweepSpec(Section):
    """One sweep file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """Name of the sweep: at most 64 letters, digits, `.`, `_`, `-`, the first a letter or a digit."""
    budgets: tuple[Budget, ...] = Field(min_length=1)
    """Training FLOPs per run, each an IsoFLOP profile, such as budgets = [1e11, 3e11, 1e12]."""
    trainer: Trainer = "builtin"
    """`builtin` trains; `command` has a program of your own train (docs/own-trainer.md); `simulated` draws losses from
    a known surface and is labelled so everywhere."""
    grid: GridSpec = GridSpec()
    model: ModelSpec = ModelSpec()
    corpus: CorpusSpec = CorpusSpec()
    tokenizer: TokenizerSpec = TokenizerSpec()
    recipe: RecipeSpec = RecipeSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    run: RunPolicy = RunPolicy()
    fit: FitSpec = FitSpec()
    track: TrackSpec = TrackSpec()
    command: CommandSpec | None = None
    ladder: tuple[LadderEntry, ...] = ()
    """Sizes that the program of [command] can train, [[ladder]] tables or the name of a TOML or CSV file of them."""
    goal: GoalSpec | None = None
    engine: EngineSpec = EngineSpec()

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

    @model_validator(mode="after")
    def _a_goal_beyond_the_budgets(self) -> "SweepSpec":
        if self.goal is not None:
            self.goal.refuse_target(self.budgets[-1])
        return self

    @model_validator(mode="after")
    def _ready_tokens_are_no_text(self) -> "SweepSpec":
        if self.corpus.sources[0].source != "tokens":
            return self
        if self.tokenizer != TokenizerSpec():
            raise ValueError('corpus.source = "tokens" is read as it is: leave [tokenizer] out')
        if self.evaluation.probes:
            raise ValueError('evaluation.probes ask about text, and corpus.source = "tokens" has none: leave them out')
        return self

    @model_validator(mode="after")
    def _a_factory_and_what_it_bears(self) -> "SweepSpec":
        if self.model.factory is None:
            if self.model.factory_hash or self.model.counted:
                raise ValueError("model.factory_hash and model.counted are for isoflop to fill in: leave them out")
            return self
        if self.trainer != "builtin":
            raise ValueError(f'model.factory belongs to trainer = "builtin", and this one is "{self.trainer}"')
        decoder_only = {
            f'recipe.optimizer = "{self.recipe.optimizer}"': self.recipe.optimizer != "adamw",
            f"run.devices_per_run = {self.run.devices_per_run}": self.run.devices_per_run != 1,
            "evaluation.probes": self.evaluation.probes,
        }
        idle = next((key for key, is_asked in decoder_only.items() if is_asked), None)
        if idle is not None:
            raise ValueError(f"{idle} knows isoflop's own decoder alone: leave it out, or leave out model.factory")
        return self

    @model_validator(mode="after")
    def _a_command_and_what_belongs_to_it(self) -> "SweepSpec":
        if self.trainer != "command":
            if self.command is not None or self.ladder:
                key = "[command]" if self.command is not None else "[[ladder]]"
                raise ValueError(f'{key} belongs to trainer = "command", and this one is "{self.trainer}"')
            return self
        if self.command is None:
            raise ValueError('trainer = "command" needs a table [command] with argv')
        self._refuse_what_a_command_ignores()
        problem = ladder_problem(self.ladder, probed=self.command.probe is not None) if self.ladder else None
        if problem is not None:
            raise ValueError(f"ladder: {problem}")
        if self.fit.params != "total" and any(entry.model and not entry.model.is_grouped for entry in self.ladder):
            raise ValueError(
                f'fit.params = "{self.fit.params}" needs the groups n_params_... in every entry of the ladder'
            )
        if (unknown := unknown_placeholder(self.command, self.ladder)) is not None:
            raise ValueError(f"command: {unknown}")
        return self

    def _refuse_what_a_command_ignores(self) -> None:
        """Nothing, where every key has a meaning for a program that reads its own text by its own recipe.

        Raises:
            ValueError: a key says nothing.
        """
        corpus = self.corpus.model_copy(update={"tokens": None})
        recipe = self.recipe.model_copy(update={"max_epochs": RecipeSpec().max_epochs})
        has_ladder, probes = bool(self.ladder), self.command is not None and self.command.probe is not None
        is_idle = {
            "[corpus] but for tokens": corpus != CorpusSpec(),
            "[recipe] but for max_epochs": recipe != RecipeSpec(),
            "[evaluation]": self.evaluation != EvaluationSpec(),
            "run.devices_per_run (command.devices_per_run has)": self.run.devices_per_run != 1,
            "[model]": has_ladder and self.model != ModelSpec(),
            "[tokenizer]": has_ladder and self.tokenizer != TokenizerSpec(),
            "command.probe without a [[ladder]]": probes and not has_ladder,
        }
        idle = next((key for key, is_asked in is_idle.items() if is_asked), None)
        if idle is not None:
            raise ValueError(f'trainer = "command" has no use for {idle}: the program decides')

    @property
    def program(self) -> str | None:
        """What tells the program that trains the runs from others, its arguments as JSON; None where isoflop trains."""
        return None if self.command is None else as_program(self.command.argv)

    @property
    def devices_per_run(self) -> int:
        """GPUs, or CPU cores, that train one run together."""
        if self.trainer == "simulated":
            return 1
        return self.run.devices_per_run if self.command is None else self.command.devices_per_run

    def to_json(self) -> str:
        """The sweep as a database keeps it. Keys that came later are left out where they say "as before".

        Where it is trained is no part of it.
        """
        unsaid: dict[str, Any] = {part: self._unsaid(part) for part in _LATER_KEYS}
        parts = dict.fromkeys((*filter(self._is_unsaid, _LATER_PARTS), "engine"), True)
        return self.model_dump_json(exclude={**unsaid, **parts})

    def to_show(self) -> str:
        """The sweep as JSON for a reader, without the sizes that a factory was found to build: runs tell theirs."""
        found = {"counted"} if self.model.factory is not None else set(_LATER_KEYS["model"])
        return self.model_dump_json(indent=2, exclude={"model": found})

    def _is_unsaid(self, part: str) -> bool:
        return bool(getattr(self, part) == type(self).model_fields[part].default)

    def _unsaid(self, part: str) -> set[str]:
        section: Section = getattr(self, part)
        return {key for key in _LATER_KEYS[part] if at_default(section, key)}

    def asks_the_same_as(self, other: "SweepSpec") -> bool:
        """Whether both ask for the same runs and read them alike; care, probes, goal, trackers, place may differ."""
        evaluation = self.evaluation.model_copy(update={"probes": other.evaluation.probes})
        beside = {name: getattr(other, name) for name in ("run", "goal", "track", "engine")}
        update = {**beside, "evaluation": evaluation}
        return self._as_written().model_copy(update=update) == other._as_written()

    def _as_written(self) -> "SweepSpec":
        """The sweep without what isoflop found out about the program or the factory."""
        if self.model.factory is not None:
            return self.model_copy(update={"model": self.model.model_copy(update={"factory_hash": "", "counted": ()})})
        if self.command is None:
            return self
        update: dict[str, object] = {"command": self.command.model_copy(update={"code_hash": ""})}
        if self.command.probe is not None:
            update["ladder"] = tuple(LadderEntry(**entry.arguments) for entry in self.ladder)
        return self.model_copy(update=update)

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
    content = dict(read_toml(path))
    if isinstance(content.get("ladder"), str):
        content["ladder"] = read_ladder(path.parent / content["ladder"])
    return parse_spec(content, source=str(path))


def parse_spec(content: Mapping[str, Any], *, source: str) -> SweepSpec:
    """The sweep that parsed TOML asks for; `source` names it in errors.

    Raises:
        IsoflopError: unknown key or impossible value (the first one).
    """
    try:
        return SweepSpec.model_validate(content)
    except ValidationError as error:
        example = OF_OWN_TRAINERS if _has_own_trainer(content) else OF_OUR_TRAINER
        raise first_problem(error, SweepSpec, source=source, example=example) from None


def _has_own_trainer(content: Mapping[str, Any]) -> bool:
    """Whether what may be no sweep asks for a program or a factory of the user's own."""
    model = content.get("model")
    factory = isinstance(model, Mapping) and "factory" in model
    return factory or content.get("trainer") == "command" or not content.keys().isdisjoint(("command", "ladder"))
