"""The fit as tables: estimators, profiles, targets, bands, scorecard."""

import math
from collections.abc import Sequence

from isoflop.counting import Convention
from isoflop.fit.intervals import ten_to
from isoflop.fit.results.estimators import Estimate, Estimators
from isoflop.fit.results.profile import Frontier, Profile, Vertex
from isoflop.fit.results.sweep_fit import SweepFit
from isoflop.fit.results.target import Forecast, Target
from isoflop.report.fit_wording import ESTIMATOR, PARAM_COUNT, exponent, interval, nats, percent
from isoflop.units import format_flops
from isoflop.view.table import Column, Table
from isoflop.wording import ABSENT, count, ratio, two_digits

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

_TARGET_NOTE = (
    "All intervals, that of the loss included, cover statistical and model error. Beyond: decades outside the fitted "
    "budgets; ! marks a target farther out than this sweep's own forecasts proved right."
)
_MARGIN = {"noise": "within the noise"}
_UNASKED = "No target was given: these are the largest fitted budget and ten times that budget."
_ENVELOPE_NOTE = (
    " Envelopes (approach 1) count readings, not runs; un-annealed: training losses "
    "in the middle of a schedule are too high for their compute; they are shown only and change no finding or "
    "recommendation."
)
_PROFILE_NOTE = (
    "One parabola per budget: loss on log10 N. D/N: tokens per parameter. rmse: root mean square residual. "
    "Intervals are statistical only."
)


def estimator_table(fit: SweepFit, convention: Convention) -> Table:
    """The estimators side by side: exponents with their intervals, and N_opt at the largest listed budget."""
    wide = f"{percent(fit.level)} interval"
    return Table(
        title="Frontier",
        columns=(
            Column("estimator", numeric=False),
            Column("a"),
            Column(wide, spare=1),
            Column("b", spare=3),
            Column(wide, essential=False),
            Column(f"N_opt at {_largest(fit)}", spare=2),
            Column(wide, essential=False),
            Column("runs", spare=4),
        ),
        rows=tuple(_estimate_row(name, estimate) for name, estimate in _estimates(fit)),
        note=f"N_opt ~ C^a, D_opt ~ C^b; C: training FLOPs, N: {PARAM_COUNT[convention]}. Intervals here are "
        "statistical only. N_opt of parabolas and cubic is that budget's own floor."
        + (_ENVELOPE_NOTE if fit.estimators.envelope_unannealed else ""),
    )


def _largest(fit: SweepFit) -> str:
    return format_flops(fit.profiles[-1].budget_flops) if fit.profiles else "C"


def _estimates(fit: SweepFit) -> list[tuple[str, Estimate]]:
    found, squares = fit.estimators, fit.estimators.surface_squares
    named = [
        (f"recommended ({found.recommended.estimator})", found.recommended.estimate) if found.recommended else None,
        ("parabola", found.parabola),
        ("robust parabola", found.robust),
        ("cubic", found.cubic),
        (f"surface ({found.surface.residuals})", found.surface.estimate) if found.surface else None,
        ("surface (squares)", squares.estimate) if squares and _is_another(squares.estimate, found) else None,
        ("joint, all runs", found.joint.estimate) if found.joint else None,
        ("envelope of ends", found.envelope) if found.envelope else None,
        ("un-annealed envelope", found.envelope_unannealed) if found.envelope_unannealed else None,
    ]
    return [pair for pair in named if pair is not None]


def _is_another(estimate: Estimate, found: Estimators) -> bool:
    """Whether the recommended estimate is another one, so that this one is worth a row."""
    return found.recommended is None or found.recommended.estimate.exponent_a != estimate.exponent_a


def _estimate_row(name: str, estimate: Estimate) -> tuple[str, ...]:
    a, b = estimate.exponent_a, estimate.exponent_b
    return (
        name,
        ABSENT if a is None else exponent(a),
        interval(estimate.exponent_a_ci, exponent),
        ABSENT if b is None else exponent(b),
        interval(estimate.exponent_b_ci, exponent),
        count(estimate.n_opt[-1] if estimate.n_opt else None),
        interval(estimate.n_opt_ci[-1] if estimate.n_opt_ci else None),
        str(estimate.n_used),
    )


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
            Column("runs", spare=4),
            Column("floor", numeric=False),
            Column("N_opt"),
            Column(wide, spare=1),
            Column("D_opt", spare=3),
            Column(wide, essential=False),
            Column("D/N", essential=False),
            Column("loss", spare=2),
            Column("curvature", essential=False),
            Column("rmse", spare=5),
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


def target_table(targets: Sequence[Target], fit: SweepFit, *, asked: bool) -> Table:
    """One row per target: the recommended estimate read there, the parabola beside it. `asked`: someone chose them."""
    wide = f"{percent(fit.level)} interval"
    return Table(
        title="Targets",
        columns=(
            Column("FLOPs"),
            Column("N_opt"),
            Column(wide, spare=1),
            Column("statistical", essential=False),
            Column("parabola", spare=5),
            Column("D_opt", spare=2),
            Column(wide, essential=False),
            Column("D/N", spare=6),
            Column("loss", spare=4),
            Column(wide, essential=False),
            Column("beyond", spare=3),
            Column("estimator", numeric=False, essential=False),
        ),
        rows=tuple(_target_row(target, fit.frontier) for target in targets),
        note=_TARGET_NOTE if asked else f"{_TARGET_NOTE} {_UNASKED}",
    )


def _target_row(target: Target, parabola: Frontier | None) -> tuple[str, ...]:
    beyond = target.extrapolation_decades
    beside = ten_to(parabola.n_line.at(math.log10(target.budget_flops))[0]) if parabola else None
    return (
        format_flops(target.budget_flops),
        count(target.n_opt),
        interval(target.n_opt_ci),
        interval(target.n_opt_ci_statistical),
        count(beside),
        count(target.d_opt),
        interval(target.d_opt_ci),
        ratio(target.tokens_per_param),
        nats(target.loss),
        interval(target.loss_ci, nats),
        ABSENT if beyond is None else f"{beyond:.1f}{'' if target.credible is not False else '!'}",
        ESTIMATOR[target.estimator],
    )


def band_table(targets: Sequence[Target]) -> Table | None:
    """Which sizes are nearly as good at each target; None where nothing is known of it."""
    known = [target for target in targets if target.bands]
    margins = list(dict.fromkeys(band.margin for target in known for band in target.bands))
    if not known:
        return None
    return Table(
        title="Sizes nearly as good",
        columns=(
            Column("FLOPs"),
            Column("N_opt"),
            *(Column(_MARGIN.get(name, f"within {name}"), spare=place) for place, name in enumerate(margins)),
        ),
        rows=tuple(_band_row(target, margins) for target in known),
        note="Sizes whose loss exceeds the loss at the optimum by at most one standard deviation of a run, or by at "
        "most that share of the loss. The interval of N_opt itself is in the table of targets.",
    )


def _band_row(target: Target, margins: Sequence[str]) -> tuple[str, ...]:
    bands = {band.margin: band.n_params for band in target.bands}
    return format_flops(target.budget_flops), count(target.n_opt), *(interval(bands.get(name)) for name in margins)


def scorecard_table(fit: SweepFit) -> Table | None:
    """How cheaper budgets predicted dearer ones, by how many were fitted; None where there were too few."""
    if not fit.scorecard:
        return None
    cuts = sorted({forecast.n_fitted for forecast in fit.scorecard})
    return Table(
        title="Scorecard",
        columns=(
            Column("budgets fitted"),
            Column("forecasts"),
            Column("held"),
            Column("farthest held", spare=2),
            Column("N_opt off by", spare=1),
            Column("losses held", spare=4),
            Column("loss off by", spare=3),
        ),
        rows=tuple(_cut_row(cut, [one for one in fit.scorecard if one.n_fitted == cut]) for cut in cuts),
        note=f"Floors of later budgets, predicted from cheaper ones. Held: floors inside the {percent(fit.level)} "
        "interval of N_opt (or of the loss), widened by the floor's own error. Farthest held: decades of compute "
        "ahead. Off by: root mean square error; N_opt in decades, loss in its unit.",
    )


def _cut_row(cut: int, forecasts: Sequence[Forecast]) -> tuple[str, ...]:
    held = [forecast.decades for forecast in forecasts if forecast.held]
    losses = [forecast.loss - forecast.loss_seen for forecast in forecasts if forecast.loss is not None]
    return (
        str(cut),
        str(len(forecasts)),
        str(len(held)),
        f"{max(held):.1f}" if held else ABSENT,
        f"{_rms([forecast.error_decades for forecast in forecasts]):.2f}",
        str(sum(forecast.loss_held is True for forecast in forecasts)) if losses else ABSENT,
        f"{_rms(losses):.4f}" if losses else ABSENT,
    )


def _rms(values: Sequence[float]) -> float:
    return math.sqrt(math.fsum(value * value for value in values) / len(values))
