"""What starts a sweep's workers: this machine, or a cluster."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from isoflop.sweep.workplace import EngineChoice


class EngineChoiceName(StrEnum):
    """What starts workers."""

    LOCAL = "local"
    SLURM = "slurm"
    RAY = "ray"


Engine = Annotated[
    EngineChoiceName,
    typer.Option(
        "--engine",
        help="What starts workers: this machine, jobs of Slurm or actors of Ray (docs/clusters.md). "
        "What is trained is the same.",
    ),
]
EngineOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--engine-option",
        metavar="<key=value>",
        help="An option of the engine, before that of the sweep file: partition=gpu; may be repeated.",
    ),
]


def engine_choice(sweep: Path, engine: EngineChoiceName, options: list[str] | None) -> "EngineChoice":
    """What the two options say together.

    Raises:
        IsoflopError: an option is not of the form key=value, or given twice.
    """
    from isoflop.errors import IsoflopError
    from isoflop.sweep.workplace import EngineChoice, said_on_stderr

    found: dict[str, str] = {}
    for option in options or []:
        key, equals, value = option.partition("=")
        key = key.replace("-", "_")
        if not equals or not key or key in found:
            problem = "is given twice" if key in found else "is not of the form key=value"
            raise IsoflopError(
                f"--engine-option {option} {problem}.", hint="For example --engine-option partition=gpu."
            )
        found[key] = value
    return EngineChoice(engine.value, found, said_on_stderr(sweep.stem))


def refuse_engine(engine: EngineChoiceName, options: list[str] | None, others: Mapping[str, bool]) -> None:
    """Nothing, where what is asked for can be had together.

    Raises:
        IsoflopError: options without an engine, or one of the `others` with an engine other than local.
    """
    from isoflop.errors import IsoflopError

    if engine is EngineChoiceName.LOCAL:
        if options:
            raise IsoflopError(
                f"--engine-option {options[0]} has no effect without --engine.",
                hint="Name the engine: --engine slurm, or ray.",
            )
        return
    given = next((name for name, is_given in others.items() if is_given), None)
    if given is not None:
        raise IsoflopError(
            f"{given} and --engine {engine.value} exclude each other.",
            hint=f"Leave {given} or --engine out.",
        )
