"""A fit as plain data for a JSON document."""

import dataclasses
import math
from enum import Enum

from isoflop.fit.intervals import ten_to
from isoflop.fit.results.estimators import Estimate, Estimators, JointEstimate, LossLaw, Recommended, SurfaceEstimate
from isoflop.fit.results.profile import Frontier, Profile
from isoflop.fit.results.sweep_fit import SweepFit
from isoflop.fit.results.target import Band, Forecast, Suggestion, Target

_PROFILE = (
    "budget_flops", "n_points", "vertex", "n_opt", "n_opt_ci", "d_opt", "d_opt_ci", "loss_opt", "curvature", "rmse",
)  # fmt: skip
_EXPONENTS = ("exponent_a", "exponent_a_ci", "exponent_b", "exponent_b_ci")
# In a law, E, A and B are written large.
_LAW_INTERVALS = {"e_ci": "E_ci", "a_ci": "A_ci", "b_ci": "B_ci"}
_FRONTIER = (*_EXPONENTS, "coef_n", "coef_d", "n_profiles")


def fit_as_json(fit: SweepFit) -> dict[str, object]:
    """The fit as a JSON object: level, profiles, frontier, estimators, targets, scorecard, suggested, findings.

    Numbers are finite or null, intervals [low, high] or null. `n_opt` of estimators follows the order of `profiles`.
    """
    return {
        "level": fit.level,
        "profiles": [_pick(profile, _PROFILE) for profile in fit.profiles],
        "frontier": _pick(fit.frontier, _FRONTIER) if fit.frontier else None,
        "estimators": _estimators(fit.estimators),
        "targets": [_target(target) for target in fit.targets],
        "scorecard": [_plain(forecast) for forecast in fit.scorecard],
        "credible_decades": fit.credible_decades,
        "loss_credible_decades": fit.loss_credible_decades,
        "suggested": [_plain(suggestion) for suggestion in fit.suggested],
        "findings": [finding.as_json() for finding in fit.findings],
        "n_budgets": fit.n_budgets,
        "bootstrap": {"exponents_a": [line.slope for line in fit.cloud.n_lines]} if fit.cloud else None,
    }


def _estimators(found: Estimators) -> dict[str, object]:
    return {
        "parabola": _plain(found.parabola),
        "robust": _plain(found.robust),
        "cubic": _plain(found.cubic),
        "surface": _surface(found.surface) if found.surface else None,
        "joint": _flat(found.joint) if found.joint else None,
        "recommended": _recommended(found.recommended) if found.recommended else None,
        "envelope": _plain(found.envelope) if found.envelope else None,
        "envelope_unannealed": _plain(found.envelope_unannealed) if found.envelope_unannealed else None,
        "surface_squares": _surface(found.surface_squares) if found.surface_squares else None,
    }


def _surface(surface: SurfaceEstimate) -> dict[str, object]:
    law = surface.law
    e, a, b = (ten_to(log / math.log(10)) for log in (law.log_e, law.log_a, law.log_b))
    known = {"E": e, "A": a, "B": b, "alpha": law.alpha, "beta": law.beta}
    named = {_LAW_INTERVALS.get(name, name): value for name, value in _flat(surface).items() if name != "law"}
    return {**known, **named}


def _recommended(found: Recommended) -> dict[str, object]:
    coefficients = {
        "coef_n": ten_to(found.n_line.at(0.0)[0]),
        "coef_d": ten_to(found.d_line.at(0.0)[0]),
    }
    return {
        **_plain(found.estimate),
        **coefficients,
        **_pick(found, ("estimator", "reason", "window_decades", "outliers", "fitted_budgets", "degrees_of_freedom")),
        "readings": [_target(target) for target in found.readings],
        "loss_law": _loss_law(found.loss_law) if found.loss_law else None,
    }


def _loss_law(law: LossLaw) -> dict[str, object]:
    k = math.exp(law.log_k) if abs(law.log_k) < 700 else None
    return {"E": law.e, "K": k, "gamma": law.gamma, "gamma_ci": _value(law.gamma_ci), "source": law.source}


def _target(target: Target) -> dict[str, object]:
    return {**_plain(target), "bands": [_plain(band) for band in target.bands]}


def _flat(record: SurfaceEstimate | JointEstimate) -> dict[str, object]:
    """The fields of the estimate within, beside the record's own."""
    return {**_plain(record.estimate), **{name: value for name, value in _plain(record).items() if name != "estimate"}}


_Record = (
    Profile
    | Frontier
    | Target
    | Band
    | Estimate
    | SurfaceEstimate
    | JointEstimate
    | Recommended
    | Forecast
    | Suggestion
)


def _plain(record: _Record) -> dict[str, object]:
    return _pick(record, tuple(field.name for field in dataclasses.fields(record)))


def _pick(record: _Record, names: tuple[str, ...]) -> dict[str, object]:
    return {name: _value(getattr(record, name)) for name in names}


def _value(value: object) -> object:
    """Tuples as lists; a number that is not finite as null."""
    if isinstance(value, tuple):
        return [_value(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Enum) else value
