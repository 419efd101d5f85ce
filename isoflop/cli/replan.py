"""Whether a plan may leave trained runs behind: by --replan, or by a person's answer at a terminal."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from isoflop.sweep.stakes import LeftBehind

Replan = Annotated[
    bool, typer.Option("--replan", help="Plan also where the sweep then no longer asks for runs that were trained.")
]


def may_leave(replan: bool) -> "Callable[[LeftBehind], bool]":
    """The answer to what a plan would leave behind; where `replan` does not say, a person at the terminal is asked."""

    def answer(lost: "LeftBehind") -> bool:
        from isoflop.errors import IsoflopError
        from isoflop.sweep.stakes import NOTHING_WRITTEN

        if replan or not _is_attended():
            return replan
        if not _ask(lost.sentence):  # which has just been read: not again
            raise IsoflopError(NOTHING_WRITTEN, hint=lost.ways_on)
        return True

    return answer


def _is_attended() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def _ask(sentence: str) -> bool:
    """Whether the person says yes; anything else, and an end of input, is no."""
    from isoflop.wording import one_line

    print(f"{one_line(sentence)}\nPlan it all the same? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
