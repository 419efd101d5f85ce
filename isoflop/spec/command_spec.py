"""[command] and [[ladder]]: a program of the user's own that trains the runs, and the sizes of its models."""

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from isoflop.run_spec import LARGEST_COUNT
from isoflop.shape import GROUPS, Argument, LadderModel
from isoflop.spec.section import Positive, Section

# What every program may be handed; a ladder's arguments, or the sizes of our own shape, come on top.
PLACEHOLDERS = (
    "run_id", "n_params", "n_tokens", "seed", "flops_per_token", "planned_flops", "attempt", "n_devices", "result_path",
    "checkpoint_dir", "run_dir", "events_path", "heartbeat_path",
)  # fmt: skip
OF_OUR_SHAPES = ("n_layers", "width", "n_heads", "head_dim", "d_ff", "vocab_size", "context_length")
# `{{name}}` stands for the text `{name}`; braces around anything but a name are braces.
_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}|\{([A-Za-z_]\w*)\}")
_NAME = re.compile(r"[A-Za-z_]\w*")

# A valley needs as many sizes (isoflop/fit/estimators/parabola.py).
FEWEST_SIZES = 4
# Training a token takes 6 FLOPs per weight in a product. 2 is a forward pass alone; and attention over a long text adds
# some hundreds per parameter of the smallest models.
LEAST_FLOPS_PER_PARAM, MOST_FLOPS_PER_PARAM = 2, 6000

Word = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]
Size = Annotated[int, Field(ge=1, le=LARGEST_COUNT)]


class CommandSpec(Section):
    """The program that trains a run."""

    argv: Annotated[tuple[Word, ...], Field(min_length=1)]
    """The program and its arguments, a list; no shell reads it. `{n_tokens}` and the like are filled in for each run
    (docs/own-trainer.md)."""
    env: dict[str, str] = Field(default_factory=dict)
    """Variables beside those of `isoflop run`, with placeholders too. They are recorded: no secrets here."""
    cwd: Word | None = None
    """Folder the program starts in, relative to the sweep file; by default the folder of the sweep file."""
    seconds: Positive | None = None
    """A run that takes longer is stopped and has failed. By default none is."""
    grace_seconds: Positive = 30
    """Time for a checkpoint when the sweep is stopped, after which the program is killed."""
    devices_per_run: int = Field(1, ge=1, le=1024)
    """GPUs, or CPU cores, that one run of the program gets."""
    probe: tuple[Word, ...] | None = None
    """Command that prints n_params and flops_per_token of a size as JSON, called once for each entry of the ladder that
    lacks them; its placeholders are the entry's arguments."""
    measure_tokens: int | None = Field(None, ge=1, le=LARGEST_COUNT)
    """Tokens of the short runs that `isoflop plan --measure` times the program with, and of others three times as long;
    without it, it is not timed."""
    code: tuple[Word, ...] | None = None
    """Files that make up the program, relative to `cwd`: a run is another one when they change. By default those that
    `argv` names."""
    code_hash: str = ""
    """Hash of these files; isoflop fills it in."""

    @field_validator("argv", "probe", "code", mode="before")
    @classmethod
    def _a_list_of_words(cls, value: object) -> object:
        if isinstance(value, str):
            raise ValueError('give a list of words, such as ["python", "train.py"]; no shell reads them')
        return value

    @model_validator(mode="after")
    def _variables_have_names(self) -> "CommandSpec":
        for name, value in self.env.items():
            if not _NAME.fullmatch(name) or "\0" in value:
                raise ValueError(f"env: {name!r} cannot be a variable of the environment")
        return self

    @property
    def placeholders(self) -> frozenset[str]:
        """Names in braces in what trains a run."""
        return frozenset(placeholders_in((*self.argv, *self.env.values())))


class LadderEntry(BaseModel):
    """A size that the program can train: its counts, and free keys that become placeholders."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)
    __pydantic_extra__: dict[str, Argument]

    n_params: Size | None = None
    """Parameters, counted as you want N counted; may be left out where the groups are given, or `command.probe`."""
    n_params_embedding: Annotated[int, Field(ge=0, le=LARGEST_COUNT)] | None = None
    """Of these, the token embedding; the groups come together and add up to n_params."""
    n_params_attention: Annotated[int, Field(ge=0, le=LARGEST_COUNT)] | None = None
    """Projections of attention."""
    n_params_mlp: Annotated[int, Field(ge=0, le=LARGEST_COUNT)] | None = None
    """Feed-forward layers."""
    n_params_norm: Annotated[int, Field(ge=0, le=LARGEST_COUNT)] | None = None
    """Norms."""
    n_params_head: Annotated[int, Field(ge=0, le=LARGEST_COUNT)] | None = None
    """The output head."""
    flops_per_token: Annotated[float, Field(gt=0, le=1e18)] | None = None
    """Training FLOPs of one token, forward and backward."""

    @field_validator("n_params", "flops_per_token", *(f"n_params_{group}" for group in GROUPS), mode="before")
    @classmethod
    def _numbers_are_numbers(cls, value: object) -> object:
        if isinstance(value, bool | str):
            raise ValueError("it takes numbers only, without quotes")
        return value

    @model_validator(mode="after")
    def _counts_agree(self) -> "LadderEntry":
        for name, value in self.arguments.items():
            if not _NAME.fullmatch(name) or name in PLACEHOLDERS:
                raise ValueError(f"{name!r} cannot be an argument: it is no word, or isoflop's own placeholder")
            if (isinstance(value, float) and not math.isfinite(value)) or (isinstance(value, str) and "\0" in value):
                raise ValueError(f"{name} = {value!r} cannot be an argument: give a finite number, or text without NUL")
        groups = self._groups()
        if any(groups) and None in groups:
            raise ValueError(f"give all of the groups or none: {', '.join(f'n_params_{group}' for group in GROUPS)}")
        total = sum(part or 0 for part in groups)
        if any(groups) and self.n_params not in (None, total):
            raise ValueError(f"n_params = {self.n_params}, and its groups add up to {total}")
        if (n_params := self.n_params or total) and self.flops_per_token:
            per_param = self.flops_per_token / n_params
            if not LEAST_FLOPS_PER_PARAM <= per_param <= MOST_FLOPS_PER_PARAM:
                raise ValueError(
                    f"flops_per_token = {self.flops_per_token:g} is {per_param:.3g} per parameter of "
                    f"n_params = {n_params}, and training takes about 6: one of them is off"
                )
        return self

    def _groups(self) -> list[int | None]:
        return [getattr(self, f"n_params_{group}") for group in GROUPS]

    @property
    def arguments(self) -> Mapping[str, Argument]:
        """The free keys."""
        return self.__pydantic_extra__ or {}

    @property
    def model(self) -> LadderModel | None:
        """The model as plans know it; None while it is not counted."""
        groups = self._groups()
        n_params = self.n_params or sum(part or 0 for part in groups)
        if not n_params or self.flops_per_token is None:
            return None
        parts: dict[str, Any] = {f"n_params_{name}": part for name, part in zip(GROUPS, groups, strict=True)}
        return LadderModel(n_params, round(self.flops_per_token), dict(self.arguments), **parts)


def ladder_problem(ladder: Iterable[LadderEntry], *, probed: bool) -> str | None:
    """What is wrong with the sizes together; None for nothing. `probed`: some may not be counted yet."""
    entries = list(ladder)
    models = [entry.model for entry in entries]
    if None in models and not probed:
        return (
            f"entry {models.index(None) + 1} lacks n_params or flops_per_token: give both, or a command.probe that "
            "prints them"
        )
    if len(entries) < FEWEST_SIZES:
        return f"{len(entries)} sizes are too few: a valley takes {FEWEST_SIZES} or more"
    first = set(entries[0].arguments)
    for number, entry in enumerate(entries, start=1):
        if unlike := first ^ set(entry.arguments):
            return f"entry {number} and entry 1 have other arguments: {', '.join(sorted(unlike))}"
    counted = [(number, model.n_params_total) for number, model in enumerate(models, start=1) if model]
    for (_, before), (number, size) in pairwise(counted):
        if size <= before:
            twice = "as many parameters as" if size == before else "fewer parameters than"
            return f"entry {number} has {twice} the entry before: list the sizes in ascending order, each once"
    return None


def placeholders_in(words: Iterable[str]) -> Iterator[str]:
    """Names in braces."""
    for word in words:
        yield from (match[2] for match in _PLACEHOLDER.finditer(word) if match[2])


def filled(word: str, values: Mapping[str, object]) -> str:
    """`word` with its placeholders filled in."""
    return _PLACEHOLDER.sub(lambda match: f"{{{match[1]}}}" if match[1] else _said(values[match[2]]), word)


def _said(value: object) -> str:
    """A value as programs read it: `true`, `12`, `0.5`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def unknown_placeholder(command: CommandSpec, ladder: Sequence[LadderEntry]) -> str | None:
    """What is wrong with the first name in braces that stands for nothing; None where each stands for something."""
    own = tuple(ladder[0].arguments) if ladder else ()
    known = (*PLACEHOLDERS, *(own if ladder else OF_OUR_SHAPES))
    asked = [(name, known) for name in sorted(command.placeholders)]
    asked += [(name, own) for name in placeholders_in(command.probe or ())]
    for name, names in asked:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
            hint = f"did you mean {{{near[0]}}}?" if near else f"known: {', '.join(names)}"
            return f"there is no placeholder {{{name}}} ({hint}); {{{{{name}}}}} stands for the text {{{name}}}"
    return None
