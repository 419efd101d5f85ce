"""How a sweep that steers itself grew, in words, as a table and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict

from isoflop.fit.intervals import Interval
from isoflop.report.fit_wording import interval
from isoflop.store import SteeringRound, Verdict
from isoflop.units import format_device_hours, format_flops, format_hours, plural
from isoflop.view.table import Column, Table
from isoflop.wording import ABSENT, SIMULATED, count

_ENDED = {
    Verdict.MET: "the goal is met",
    Verdict.HOURS_GONE: "stopped: the hours are gone",
    Verdict.NO_GAIN: "stopped: more runs gain nothing",
    Verdict.NO_VALLEY: "stopped: no valley can be fitted",
    Verdict.OUT_OF_REACH: "stopped: the goal is out of reach",
}


def round_line(one: SteeringRound, *, simulated: bool) -> str:
    """A round in one line: the interval now, what is spent and left, what is next and why."""
    name = f"{SIMULATED} {one.sweep}" if simulated else one.sweep
    return f"{name}, round {one.round}: {_now(one)}; {_spent(one)}; {_next(one)}"


def _now(one: SteeringRound) -> str:
    target = format_flops(one.target_flops)
    if one.span is None:
        return f"no interval of N_opt at {target} FLOPs yet (goal: a factor of {one.within:g})"
    ends = interval(_ends(one))
    return f"N_opt at {target} FLOPs {count(one.n_opt)} ({ends}, a factor of {one.span:.3g}; goal: {one.within:g})"


def _ends(one: SteeringRound) -> Interval | None:
    return None if one.n_opt_low is None or one.n_opt_high is None else (one.n_opt_low, one.n_opt_high)


def _spent(one: SteeringRound) -> str:
    hours = format_device_hours(one.hours_spent)
    left = "" if one.max_hours is None else f", {format_hours(max(one.max_hours - one.hours_spent, 0.0))} left"
    return f"{format_flops(one.flops_spent)} FLOPs and {hours} spent{left}"


def _next(one: SteeringRound) -> str:
    if one.verdict is Verdict.MET:
        return _ENDED[one.verdict]
    if one.verdict.ends:
        return f"{_ENDED[one.verdict]}: {one.why}. {one.hint}"
    hours = "" if one.new_hours is None else f", about {format_device_hours(one.new_hours)}"
    expected = "" if one.expected_span is None else f"; expected: a factor of {one.expected_span:.3g}"
    return (
        f"next {plural(len(one.new_runs), 'run')} for {format_flops(one.new_flops)} FLOPs{hours}: {one.why}{expected}"
    )


def growth_table(rounds: Sequence[SteeringRound]) -> Table | None:
    """One row a round; None for a sweep that never steered itself."""
    if not rounds:
        return None
    last = rounds[-1]
    return Table(
        title="How this sweep grew",
        columns=(
            Column("round"),
            Column("runs"),
            Column("FLOPs spent"),
            Column("device-hours", spare=3),
            Column("N_opt"),
            Column("90 % statistical", spare=2),
            Column("factor"),
            Column("next runs", spare=1),
            Column("their FLOPs", spare=4),
            Column("what is next, and why", numeric=False, essential=False),
        ),
        rows=tuple(_growth_row(one) for one in rounds),
        note=f"The goal: ends of the statistical interval of N_opt at {format_flops(last.target_flops)} FLOPs that "
        f"differ by a factor of at most {last.within:g}. Every row was recorded before its runs were trained."
        + _other_targets(rounds),
    )


def _other_targets(rounds: Sequence[SteeringRound]) -> str:
    """Which rounds were towards another target than the last, as further sentences; empty for none."""
    others: dict[float, list[str]] = {}
    for one in rounds:
        if one.target_flops != rounds[-1].target_flops:
            others.setdefault(one.target_flops, []).append(str(one.round))
    return "".join(
        f" Of {'round' if len(numbers) == 1 else 'rounds'} {', '.join(numbers)}: at {format_flops(target)} FLOPs."
        for target, numbers in others.items()
    )


def _growth_row(one: SteeringRound) -> tuple[str, ...]:
    return (
        str(one.round),
        str(one.n_rows),
        format_flops(one.flops_spent),
        format_hours(one.hours_spent),
        count(one.n_opt),
        interval(_ends(one)),
        ABSENT if one.span is None else f"{one.span:.3g}",
        str(len(one.new_runs)) if one.new_runs else ABSENT,
        format_flops(one.new_flops) if one.new_runs else ABSENT,
        _ENDED[one.verdict] if one.verdict is Verdict.MET else f"{one.why}",
    )


def rounds_document(rounds: Sequence[SteeringRound]) -> list[dict[str, object]]:
    """The rounds as JSON objects."""
    return [
        {
            **{name: value for name, value in asdict(one).items() if name not in ("sweep", "n_opt_low", "n_opt_high")},
            "n_opt_ci": _ends(one),
            "span": one.span,
            "verdict": one.verdict.value,
            "new_runs": list(one.new_runs),
        }
        for one in rounds
    ]


def goal_document(rounds: Sequence[SteeringRound]) -> dict[str, object]:
    """What `run --until-goal` came to by its rounds, one at least."""
    last = rounds[-1]
    return {
        "target_flops": last.target_flops,
        "within": last.within,
        "max_hours": last.max_hours,
        "met": last.meets_goal,
        "verdict": last.verdict.value,
        "span": last.span,
        "why": last.why,
        "hint": last.hint,
        "rounds": rounds_document(rounds),
    }
