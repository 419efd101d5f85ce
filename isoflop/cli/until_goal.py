"""`isoflop run --until-goal`: which goal, the rounds until it is met, and how it ended."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isoflop.cli.event_stream import EventStream
    from isoflop.decision.steering.goal import Goal
    from isoflop.store import SteeringRound
    from isoflop.sweep.session import Session


def required_of(sweep: Path, confirm: str | None, max_hours: float | None) -> "Goal":
    """What --until-goal is to reach.

    Raises:
        IsoflopError: the sweep file has no goal, a confirm run is asked for at once, or hours that bind no round.
    """
    from isoflop.errors import IsoflopError
    from isoflop.spec import load_spec
    from isoflop.sweep.steering import required_goal

    if confirm is not None:
        raise IsoflopError(
            "--until-goal and --confirm exclude each other: a confirm run is predicted by a finished sweep.",
            hint="Reach the goal first, then give --confirm.",
        )
    if max_hours is not None:
        raise IsoflopError(
            "--until-goal and --max-hours exclude each other: --max-hours looks at the runs that are planned now, and "
            "every round plans more.",
            hint="Set goal.max_hours in the sweep file: it counts the device-hours of the whole sweep.",
        )
    return required_goal(load_spec(sweep), sweep)


def train_until(
    goal: "Goal", session: "Session", train: Callable[[], list[int]], stream: "EventStream"
) -> "tuple[list[int], tuple[SteeringRound, ...]]":
    """Signals that `train` received, and the rounds of the sweep, once it ends; none where an older end is out of date.

    Every decision is a line on stderr and is told to `stream`.
    """
    from isoflop.report.growth_words import round_line
    from isoflop.sweep.steering import Steering
    from isoflop.wording import one_line

    steering = Steering(session, goal)
    received = train() if steering.may_train() else []
    while not received:
        decided = steering.next_round()
        line = one_line(round_line(decided, simulated=session.plan.simulated))
        print(line, file=sys.stderr, flush=True)
        stream.round_decided(decided, line)
        if decided.verdict.ends:
            return received, steering.rounds
        received = train()
    rounds = steering.rounds
    # what was stopped had runs to train, so that an end, perhaps of another goal, was found before these were planned
    return received, () if rounds and rounds[-1].verdict.ends else rounds


def goal_document(rounds: "Sequence[SteeringRound]") -> dict[str, object] | None:
    """What --until-goal came to; loads nothing of the fit where nobody gave it."""
    if not rounds:
        return None
    from isoflop.report.growth_words import goal_document as document

    return document(rounds)


def last_line(rounds: "Sequence[SteeringRound]", *, simulated: bool) -> list[str]:
    """How --until-goal ended; nothing where it did not."""
    if not rounds:
        return []
    from isoflop.report.growth_words import round_line

    return [round_line(rounds[-1], simulated=simulated)]
