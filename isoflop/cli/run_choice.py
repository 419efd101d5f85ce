"""Which run of a sweep a command is about: --run, --budget or --confirm."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from isoflop.sweep.trained_run import RunChoice

RunId = Annotated[
    str | None, typer.Option("--run", metavar="<id>", help="The run with this id, or its first four digits or more.")
]
RunBudget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="<FLOPs>",
        help="The run of lowest loss among those a fit uses at this budget. Default: at the largest budget.",
    ),
]
RunConfirm = Annotated[bool, typer.Option("--confirm", help="The confirm run: the predicted optimum, trained.")]


def run_choice(run: str | None, budget: str | None, confirm: bool) -> "RunChoice":
    """What the three options say together.

    Raises:
        IsoflopError: more than one of them is given, or the budget is no number of FLOPs.
    """
    from isoflop.errors import IsoflopError
    from isoflop.sweep.trained_run import RunChoice
    from isoflop.units import parse_quantity

    if sum((run is not None, budget is not None, confirm)) > 1:
        raise IsoflopError("--run, --budget and --confirm each name one run.", hint="Give one of them.")
    return RunChoice(run, None if budget is None else parse_quantity(budget, what="--budget in FLOPs"), confirm)
