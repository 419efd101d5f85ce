"""What is wrong with a sweep file, as one sentence and a hint, from pydantic's account of it."""

import difflib
from collections.abc import Mapping
from datetime import date, time
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from isoflop.errors import IsoflopError

EXAMPLE = "sweeps/quickstart.toml"
OF_OUR_TRAINER = f"{EXAMPLE} in the sources of isoflop is a complete example."
OF_OWN_TRAINERS = "docs/own-trainer.md in the sources of isoflop describes such sweeps."
# Characters of a value, and the largest limit in whole digits, that a sentence shows.
_LONGEST_SHOWN = 80
_LONGEST_WHOLE = 1e15

# By pydantic's name of the problem; the fields come from its account.
_REASONS = {
    "finite_number": "it must be a finite number",
    "greater_than": "it must be more than {gt}",
    "greater_than_equal": "it must be at least {ge}",
    "less_than": "it must be less than {lt}",
    "less_than_equal": "it must be at most {le}",
    "multiple_of": "it must be a multiple of {multiple_of}",
    "too_short": "the list must not be empty",
    "tuple_type": "it must be a list, in brackets",
    "float_type": "it must be a number",
    "float_parsing": "it must be a number",
    "int_type": "it must be a whole number",
    "int_parsing": "it must be a whole number",
    "int_parsing_size": "it is too large",
    "int_from_float": "it must be a whole number",
    "bool_type": "it must be true or false",
    "bool_parsing": "it must be true or false",
    "string_type": "it must be text, in quotes",
    "string_pattern_mismatch": "it does not have the required form",
    "string_too_short": "it must not be empty",
    "literal_error": "it must be {expected}",
    "model_type": "it must be a table",
}


def first_problem(
    error: ValidationError, model: type[BaseModel], *, source: str, example: str = OF_OUR_TRAINER
) -> IsoflopError:
    """The problem of `source` to mend first; `model` is what it was to be, `example` says where to look for one."""
    problems = error.errors(include_url=False)
    # An unknown key explains a missing one: report it first.
    problem = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    keys = _keys(problem, model)
    # Of a value that may be one of several things, the account that looks deepest into it.
    problem = max((p for p in problems if _keys(p, model) == keys), key=lambda p: len(p["loc"]))
    if problem["type"] == "extra_forbidden":
        return _unknown_key(keys, model, source)
    key = ".".join(keys)
    if problem["type"] == "missing":
        return IsoflopError(f"{source!r} lacks the key {key!r}.", hint=example)
    value = problem["input"]
    shown = "" if isinstance(value, Mapping) else f" = {_shown(value)}"
    where = _where(problem["loc"], key)
    return IsoflopError(
        f"{source!r}: {where}{shown} is not possible: {_reason(problem)}.", hint=_hint(keys, model, example)
    )


def _keys(problem: ErrorDetails, model: type[BaseModel]) -> list[str]:
    """The keys that lead to the problem's value; what pydantic adds for the kinds a value may have is left out."""
    keys: list[str] = []
    section: type[BaseModel] | None = model
    for part in problem["loc"]:
        if section is None:
            break
        if not isinstance(part, str):
            continue  # the number of an entry of a list of tables
        keys.append(part)
        section = _section_of(section, part)
    return keys


def _where(location: tuple[int | str, ...], key: str) -> str:
    """`entry 2 of budgets`: the last number of the location counts entries from 0."""
    position = next((part for part in reversed(location) if isinstance(part, int)), None)
    if not key:
        return "the sweep"
    return key if position is None else f"entry {position + 1} of {key}"


def _shown(value: object) -> str:
    """The value about as it stands in the file, shortened where it is long."""
    text = str(value) if isinstance(value, date | time) else repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _plain(limit: object) -> object:
    """A limit as people write it: `4294967296`, `0.5`, `1e+40`."""
    if not isinstance(limit, int | float):
        return limit
    return int(limit) if limit == int(limit) and abs(limit) < _LONGEST_WHOLE else f"{limit:g}"


def _reason(problem: ErrorDetails) -> str:
    template = _REASONS.get(problem["type"])
    if template is not None:
        return template.format_map({name: _plain(value) for name, value in problem.get("ctx", {}).items()})
    reason = problem["msg"].removeprefix("Value error, ")
    return reason if problem["type"] == "value_error" else reason[:1].lower() + reason[1:]


def _unknown_key(keys: list[str], model: type[BaseModel], source: str) -> IsoflopError:
    section = model
    for key in keys[:-1]:
        section = _section_of(section, key) or section
    valid = sorted(section.model_fields)
    nearest = difflib.get_close_matches(keys[-1], valid, n=1, cutoff=0.5)
    hint = f"Did you mean {nearest[0]!r}?" if nearest else f"Valid keys here: {', '.join(valid)}."
    return IsoflopError(f"{source!r} has an unknown key {'.'.join(keys)!r}.", hint=hint)


def _section_of(section: type[BaseModel], name: str) -> type[BaseModel] | None:
    field = section.model_fields.get(name)
    annotation: Any = field.annotation if field is not None else None
    kinds = (annotation, *get_args(annotation))  # of a list, and of what may be left out
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _hint(keys: list[str], model: type[BaseModel], example: str) -> str:
    """What the key means, in the words of its own documentation; of a section, where there is an example."""
    section = model
    for key in keys:
        inner = _section_of(section, key)
        if inner is None:
            field = section.model_fields.get(key)
            if field is None or field.description is None:
                break
            return f"{'.'.join(keys)}: {' '.join(field.description.split())}"
        section = inner
    return example
