"""A fit as plain data for a JSON document."""

from isoflop.fit.target import ESTIMATOR
from isoflop.fit.types import Frontier, Profile, SweepFit, Target

_PROFILE = (
    "budget_flops", "n_points", "vertex", "n_opt", "n_opt_ci", "d_opt", "d_opt_ci", "loss_opt", "curvature", "rmse",
)  # fmt: skip
_EXPONENTS = ("exponent_a", "exponent_a_ci", "exponent_b", "exponent_b_ci")
_FRONTIER = (*_EXPONENTS, "coef_n", "coef_d", "n_profiles")
_TARGET = (
    "budget_flops", "n_opt", "n_opt_ci_statistical", "n_opt_ci", "d_opt", "d_opt_ci", "loss", "loss_ci",
    "tokens_per_param", "estimator", "extrapolation_decades",
)  # fmt: skip


def fit_as_json(fit: SweepFit) -> dict[str, object]:
    """The fit as a JSON object: level, profiles, frontier, estimators, targets, findings.

    Numbers are finite or null, intervals [low, high] or null. `estimators.parabola.n_opt` follows the order of
    `profiles`.
    """
    return {
        "level": fit.level,
        "profiles": [_pick(profile, _PROFILE) for profile in fit.profiles],
        "frontier": _pick(fit.frontier, _FRONTIER) if fit.frontier else None,
        "estimators": {ESTIMATOR: _parabola(fit)},
        "targets": [_pick(target, _TARGET) for target in fit.targets],
        "findings": [finding.as_json() for finding in fit.findings],
    }


def _parabola(fit: SweepFit) -> dict[str, object]:
    exponents = _pick(fit.frontier, _EXPONENTS) if fit.frontier else dict.fromkeys(_EXPONENTS)
    return {**exponents, "n_opt": [profile.n_opt for profile in fit.profiles]}


def _pick(record: Profile | Frontier | Target, names: tuple[str, ...]) -> dict[str, object]:
    """The named fields; a tuple, which can only be an interval, as a list."""
    values = ((name, getattr(record, name)) for name in names)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values}
