"""Numbers and outcomes in words, the same in every output of every command."""

import shlex
from collections.abc import Mapping
from pathlib import Path

from isoflop.units import format_count, plural

SIMULATED = "SIMULATED"
SIMULATED_SENTENCE = f"{SIMULATED}: no model was trained; the losses are drawn from a known surface."

ABSENT = "-"

# Excluded runs that the text names; --json marks them all.
_NAMED_EXCLUDED = 3


def one_line(text: str) -> str:
    """`text` on one line, control characters replaced by blanks: names and reasons come from strangers."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else " " for character in text)


def count(value: float | None) -> str:
    """Parameters or tokens: `124M`; in scientific notation where no suffix reads well."""
    if value is None:
        return ABSENT
    return format_count(value) if 0.01 <= value < 1e15 else f"{value:.2e}"


def two_digits(value: float | None) -> str:
    """An error of a loss, or a learning rate: `0.0026`, `7.3e-5`."""
    return ABSENT if value is None else f"{value:.2g}".replace("e-0", "e-")


def ratio(value: float | None) -> str:
    """Tokens per parameter with three digits: `22.3`."""
    return count(value)


def runs(number: int) -> str:
    """`1 run`, `3 runs`."""
    return plural(number, "run")


def excluded_sentence(excluded: Mapping[str, str]) -> str:
    """How many runs a person left out of every fit, the first of them with the reasons."""
    named = "; ".join(f"{run_id}: {reason}" for run_id, reason in list(excluded.items())[:_NAMED_EXCLUDED])
    more = f"; ... and {len(excluded) - _NAMED_EXCLUDED} more" if len(excluded) > _NAMED_EXCLUDED else ""
    return f"{runs(len(excluded))} excluded from fits by hand ({named}{more})"


def train_again(run_id: str, sweep_file: Path | None = None) -> str:
    """How to have weights that are not there; `SWEEP` stands for a sweep file that is not known."""
    name = "SWEEP" if sweep_file is None else shlex.quote(str(sweep_file))
    return f"`isoflop run {name} --again {run_id}` trains the run once more and keeps its weights."


def read_sentence(n_results: int) -> str:
    """That results were found on disk: `6 results read from the artifacts; none of them is trained again.`"""
    again = "it is not trained again" if n_results == 1 else "none of them is trained again"
    return f"{plural(n_results, 'result')} read from the artifacts; {again}."
