"""The fit as tables: frontier, profiles, targets."""

from collections.abc import Sequence

from isoflop.fit.types import Frontier, Profile, SweepFit, Target, Vertex
from isoflop.report.wording import PARAM_COUNT, Convention, exponent, interval, nats, percent, power_law
from isoflop.units import format_flops
from isoflop.view.table import Column, Table
from isoflop.view.wording import ABSENT, count, ratio, two_digits

VERTEX: dict[Vertex, str] = {
    Vertex.INSIDE: "inside",
    Vertex.BELOW: "below sizes",
    Vertex.ABOVE: "above sizes",
    Vertex.CONCAVE: "no minimum",
    Vertex.TOO_FEW: "too few runs",
}

PROFILES_SHOWN = 50
# Of rows that were never grouped by budget a few tell all.
UNFITTED_SHOWN = 5

_TARGET_NOTE = "Intervals hold statistical and model error. Beyond data: decades outside the fitted budgets."
_UNASKED = "No target was given: read at the largest fitted budget and at ten times that."
_PROFILE_NOTE = (
    "One parabola per budget: loss on log10 N. D/N: tokens per parameter. rmse: of its residuals. "
    "Intervals are statistical only."
)


def frontier_table(frontier: Frontier, level: float, convention: Convention) -> Table:
    """The two power laws with the intervals of their exponents."""
    return Table(
        title="Frontier",
        columns=(
            Column("optimum", numeric=False),
            Column("power law", numeric=False),
            Column("exponent"),
            Column(f"{percent(level)} interval"),
        ),
        rows=(
            _law("N_opt, parameters", frontier.coef_n, frontier.exponent_a, frontier.exponent_a_ci),
            _law("D_opt, tokens", frontier.coef_d, frontier.exponent_b, frontier.exponent_b_ci),
        ),
        note=f"C: training FLOPs. N: {PARAM_COUNT[convention]}. Intervals of exponents are statistical only.",
    )


def _law(name: str, coefficient: float, power: float, bounds: tuple[float, float] | None) -> tuple[str, ...]:
    return name, power_law(coefficient, power), exponent(power), interval(bounds, exponent)


def profile_table(fit: SweepFit, n_budgets: int) -> Table:
    """One row per budget, as many as are shown of `n_budgets`: where the floor of its parabola lies."""
    fitted = any(profile.vertex is not Vertex.TOO_FEW for profile in fit.profiles)
    shown = fit.profiles[: PROFILES_SHOWN if fitted else UNFITTED_SHOWN]
    left = n_budgets - len(shown)
    wide = f"{percent(fit.level)} interval"
    return Table(
        title="Profiles",
        columns=(
            Column("FLOPs"),
            Column("runs"),
            Column("floor", numeric=False),
            Column("N_opt"),
            Column(wide),
            Column("D_opt"),
            Column(wide, essential=False),
            Column("D/N", essential=False),
            Column("loss"),
            Column("curvature", essential=False),
            Column("rmse"),
        ),
        rows=tuple(_profile_row(profile) for profile in shown),
        note=_PROFILE_NOTE + (f" Not shown: {left} more budgets." if left else ""),
    )


def _profile_row(profile: Profile) -> tuple[str, ...]:
    per_param = profile.d_opt / profile.n_opt if profile.d_opt and profile.n_opt else None
    return (
        format_flops(profile.budget_flops),
        str(profile.n_points),
        VERTEX[profile.vertex],
        count(profile.n_opt),
        interval(profile.n_opt_ci),
        count(profile.d_opt),
        interval(profile.d_opt_ci),
        ratio(per_param),
        nats(profile.loss_opt),
        nats(profile.curvature),
        two_digits(profile.rmse),
    )


def target_table(targets: Sequence[Target], level: float, *, asked: bool) -> Table:
    """One row per target: the frontier read there. `asked`: whether someone chose these budgets."""
    wide = f"{percent(level)} interval"
    with_loss = any(target.loss is not None for target in targets)
    columns = (
        Column("FLOPs"),
        Column("N_opt"),
        Column(wide),
        Column("statistical", essential=False),
        Column("D_opt"),
        Column(wide),
        Column("D/N"),
        *((Column("loss"), Column(wide, essential=False)) if with_loss else ()),
        Column("beyond data"),
        Column("estimator", numeric=False, essential=False),
    )
    return Table(
        title="Targets",
        columns=columns,
        rows=tuple(_target_row(target, with_loss) for target in targets),
        note=_TARGET_NOTE if asked else f"{_TARGET_NOTE} {_UNASKED}",
    )


def _target_row(target: Target, with_loss: bool) -> tuple[str, ...]:
    loss = (nats(target.loss), interval(target.loss_ci, nats)) if with_loss else ()
    beyond = target.extrapolation_decades
    return (
        format_flops(target.budget_flops),
        count(target.n_opt),
        interval(target.n_opt_ci),
        interval(target.n_opt_ci_statistical),
        count(target.d_opt),
        interval(target.d_opt_ci),
        ratio(target.tokens_per_param),
        *loss,
        ABSENT if beyond is None else f"{beyond:.1f}",
        target.estimator,
    )
