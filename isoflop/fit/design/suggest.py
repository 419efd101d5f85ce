"""The runs that would tell most about a target, per FLOP, by the design of the joint valley."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from isoflop.fit.arrays import Array
from isoflop.fit.estimators.choice import Choice
from isoflop.fit.estimators.joint_objective import N_PARAMETERS, Axis, JointObjective
from isoflop.fit.estimators.parabola import MIN_POINTS
from isoflop.fit.intervals import MODEL_ERROR_PER_DECADE, decades_beyond, model_half_width, student_quantile, ten_to
from isoflop.fit.question import Trainable
from isoflop.fit.results.target import Suggestion

# What a run costs, in some unit, by its budget in FLOPs and its parameters.
Price = Callable[[float, float], float]

# Sizes offered at each budget, decades from the ridge: wide enough to tell skew, not so wide that other laws rule.
OFFSETS = tuple(np.linspace(-0.75, 0.75, 11).tolist())
# A valley that is opened: seven sizes within 0.6 decades of where the ridge is expected.
VALLEY_OFFSETS = tuple(np.linspace(-0.6, 0.6, 7).tolist())
# Runs cost trouble beside FLOPs: none is taken to cost less than this share of what the sweep has spent.
_LEAST_SHARE = 0.01
# Information on a floor without runs, relative to a run's: none, but a matrix that can be inverted.
_UNKNOWN = 1e-9
# Budgets offered beyond the largest: one and two of the sweep's own steps of log C.
_STEPS_AHEAD = 2
# Without a step of its own a sweep of one budget would take this factor.
_DEFAULT_STEP = math.log10(3.0)
# A budget as near to the target as this, relative, is the target: whoever can spend that needs no forecast of it.
_AT_TARGET = 1e-6


@dataclass(frozen=True)
class Allowance:
    """What all suggested runs together may cost.

    Attributes:
        price: of one run; `most` is in its unit.
    """

    price: Price
    most: float


def suggest_runs(
    choice: Choice,
    target_flops: float,
    count: int,
    level: float,
    *,
    planned: Sequence[tuple[float, float]] = (),
    trainable: Trainable | None = None,
    allowances: Sequence[Allowance] = (),
    enough: float | None = None,
) -> tuple[Suggestion, ...]:
    """The `count` runs, or as many as the allowances pay, that narrow log10 N_opt at `target_flops` most per FLOP.

    Empty where `choice` has no joint valley; no run costs as much as the target. `planned` runs (FLOPs, parameters) are
    taken as trained; `trainable` gives the size that can be trained nearest to N parameters at a budget, None where
    none can. With `enough`, a statistical half-width in decades, only that part of the interval is narrowed, and no
    farther.

    Offered are single runs about the ridge at every fitted budget, which narrow the statistical interval, and, where as
    many are wanted, whole valleys at the next budgets centred on the ridge, which also shorten the extrapolation and
    with it the model error. One offer after the other is taken by what it gains per FLOP; as a cheap run may leave no
    room for a valley that is worth far more, each valley is tried as the first too, and the best of these sets is
    returned. A run adds its row of the valley's Jacobian to the information of the rows; the variance of the estimate
    is taken to fall as that information has it.
    """
    if choice.joint is None or count < 1:
        return ()
    coming = [_Run(*run) for run in planned]
    opened = {run.budget_flops for run in coming}
    offers = _offers(choice, trainable or (lambda _, n_params: n_params), target_flops)
    offers = [offer for offer in offers if len(offer) == 1 or offer[0].budget_flops not in opened]
    terms = _Terms(level, _LEAST_SHARE * float(choice.rows.budget_flops.sum()), tuple(allowances), enough)
    firsts = [None, *(offer for offer in offers if 1 < len(offer) <= count and terms.pay(offer))]
    searches = [_Search(choice, _Design(choice, target_flops, coming, offers), terms) for _ in firsts]
    for search, first in zip(searches, firsts, strict=True):
        if first:
            search.take(first)
    for search in searches:
        search.fill(offers, count)
    return tuple(max(searches, key=lambda search: search.per_flop).found)


def narrowed_by_valley(
    choice: Choice, target_flops: float, budget_flops: float, level: float, planned: Sequence[tuple[float, float]] = ()
) -> float:
    """The share by which a valley at `budget_flops` would narrow the interval at the target; any size is taken."""
    offer = _runs(choice, budget_flops, VALLEY_OFFSETS, lambda _, n_params: n_params)
    design = _Design(choice, target_flops, [_Run(*run) for run in planned], [offer])
    before = design.half_width(level)
    design.add(offer)
    return 1 - design.half_width(level) / before


@dataclass(frozen=True)
class _Terms:
    """What a search goes by.

    Attributes:
        level: nominal coverage of the interval.
        least: FLOPs that a run counts for at least.
        allowances, enough: see `suggest_runs`.
    """

    level: float
    least: float
    allowances: tuple[Allowance, ...]
    enough: float | None

    def cost(self, offer: "_Offer") -> float:
        """FLOPs by which a gain is judged."""
        return sum(max(run.budget_flops, self.least) for run in offer)

    def pay(self, runs: "Sequence[_Run]") -> bool:
        """Whether the allowances pay all of these."""
        return all(
            sum(one.price(run.budget_flops, run.n_params) for run in runs) <= one.most for one in self.allowances
        )


class _Search:
    """A set of offers in the making."""

    def __init__(self, choice: Choice, design: "_Design", terms: _Terms) -> None:
        self._choice, self._design, self._terms = choice, design, terms
        self._gained = self._spent = 0.0
        self._taken: list[_Run] = []
        self.found: list[Suggestion] = []

    @property
    def per_flop(self) -> float:
        """What the set gains, decades^2 per FLOP."""
        return self._gained / self._spent if self._spent else 0.0

    def fill(self, offers: Sequence["_Offer"], count: int) -> None:
        """Take what gains most per FLOP, one offer after the other, until `count` runs are found or none gains."""
        while len(self.found) < count and not self._is_enough:
            fitting = [offer for offer in offers if len(offer) <= count - len(self.found) and self._may_take(offer)]
            gains = [self._gain(offer) / self._terms.cost(offer) for offer in fitting]
            best = int(np.argmax(gains)) if gains else 0
            if not gains or not gains[best] > 0:
                return
            self.take(fitting[best])

    def take(self, offer: "_Offer") -> None:
        """Make its runs part of the set."""
        level = self._terms.level
        self._gained += self._gain(offer)
        self._spent += self._terms.cost(offer)
        before = self._design.half_width(level)
        self._design.add(offer)
        after = self._design.half_width(level), self._design.statistical_half_width(level)
        target = self._design.target_flops
        self._taken += offer
        self.found += [_as_suggestion(self._choice, target, run, before, after) for run in offer]

    @property
    def _is_enough(self) -> bool:
        enough = self._terms.enough
        return enough is not None and self._design.statistical_half_width(self._terms.level) <= enough

    def _gain(self, offer: "_Offer") -> float:
        return self._design.gain(offer) if self._terms.enough is None else self._design.statistical_gain(offer)

    def _may_take(self, offer: "_Offer") -> bool:
        """Whether it can be paid; a valley is opened once."""
        is_open = len(offer) > 1 and offer[0].budget_flops in {one.budget_flops for one in self.found}
        return not is_open and (not self._terms.allowances or self._terms.pay([*self._taken, *offer]))


@dataclass(frozen=True)
class _Run:
    budget_flops: float
    n_params: float

    @property
    def log_n(self) -> float:
        return math.log10(self.n_params)


_Offer = tuple[_Run, ...]


def _offers(choice: Choice, trainable: Trainable, target_flops: float) -> list[_Offer]:
    """Single runs at the fitted budgets, and a valley at each of the next, below the target, of sizes to be trained."""
    below = target_flops * (1 - _AT_TARGET)
    budgets, ahead = choice.rows.budgets, budgets_ahead(choice.rows.budgets)
    fitted = [budget for budget in budgets.tolist() if budget < below]
    singles = [(run,) for budget in fitted for run in _runs(choice, budget, OFFSETS, trainable)]
    valleys = [_runs(choice, budget, VALLEY_OFFSETS, trainable) for budget in ahead[:_STEPS_AHEAD] if budget < below]
    return [*singles, *(valley for valley in valleys if len(valley) >= MIN_POINTS)]


def budgets_ahead(budgets: Array, number: int = _STEPS_AHEAD) -> list[float]:
    """The next budgets, FLOPs, each a step of `budgets`, ascending, farther; fewer where a float cannot hold them."""
    steps = np.diff(np.log10(budgets))
    step = float(np.median(steps)) if len(steps) else _DEFAULT_STEP
    # rounded, or the 2.7e18 that follows 3e17 and 9e17 were another budget than the 2.7e18 of a sweep file
    ahead = [float(f"{budgets[-1] * 10 ** (step * count):.12g}") for count in range(1, number + 1)]
    return [budget for budget in ahead if math.isfinite(budget)]


def _runs(choice: Choice, budget_flops: float, offsets: Sequence[float], trainable: Trainable) -> _Offer:
    """The runs nearest to these offsets from the ridge, each size once."""
    ridge = choice.on_params.at(math.log10(budget_flops))[0]
    wanted = [ten_to(ridge + offset) for offset in offsets]
    sizes = [trainable(budget_flops, n_params) for n_params in wanted if n_params is not None]
    return tuple(_Run(budget_flops, size) for size in dict.fromkeys(sizes) if size is not None)


class _Design:
    """The information about ridge, depth, shape and floors, and what more runs would add.

    Parameters are those of the joint valley, a floor per budget, and, where floors scatter about the ridge, how far
    each lies off it: more runs at one budget tell more of that budget's own floor than of the ridge. What they say of
    the reading's variance is taken relative to the variance that the estimate has there, which knows shrinkage.
    """

    def __init__(self, choice: Choice, target_flops: float, coming: Sequence[_Run], offers: Sequence[_Offer]) -> None:
        assert choice.joint
        valley = choice.joint.valley
        self._theta, self._centre = valley.theta, valley.line.log_c_mean
        self._freedom = choice.degrees_of_freedom
        self._trend = choice.noise.trend if choice.noise else None
        # floors count in units of the valley's depth, so that nothing depends on the unit of the loss
        self._unit = math.exp(valley.theta[2])
        self.target_flops = target_flops
        self._target, self._fitted = math.log10(target_flops), choice.fitted_budgets
        every = {run.budget_flops for offer in (*offers, coming) for run in offer}
        self._budgets = sorted({*choice.rows.budgets.tolist(), *every})
        n_budgets = len(self._budgets)
        scatter = [(choice.residual_sd / valley.scatter.sd) ** 2] * n_budgets if valley.scatter.sd > 0 else []
        self._scattered = bool(scatter)
        self._reading = np.zeros(N_PARAMETERS + n_budgets + len(scatter))
        self._reading[:2] = 1.0, self._target - self._centre
        rows = self._jacobian(choice.rows.budget_flops, np.log10(choice.rows.n_params))
        prior = [0.0, 0.0, 0.0, 0.0, *[valley.strength] * 2, *[_UNKNOWN * self._unit**2] * n_budgets, *scatter]
        information = rows.T @ rows + np.diag(prior)
        self._known_rows: dict[_Run, Array] = {}
        self._covariance: Array = np.asarray(np.linalg.inv(information), dtype=np.float64)
        now = float(self._reading @ self._covariance @ self._reading)
        self._scale = choice.on_params.at(self._target)[1] / now if now > 0 else 0.0
        for run in coming:
            self.add((run,))

    def statistical_half_width(self, level: float) -> float:
        """Of log10 N_opt at the target, decades."""
        variance = float(self._reading @ self._covariance @ self._reading)
        return student_quantile(level, self._freedom) * math.sqrt(max(self._scale * variance, 0.0))

    def half_width(self, level: float) -> float:
        """The same with the model error."""
        return math.hypot(self.statistical_half_width(level), model_half_width(self._beyond(self._fitted[1]), level))

    def gain(self, offer: _Offer) -> float:
        """By how much the variance of the reading falls with the runs of `offer`, decades^2."""
        statistical = self.statistical_gain(offer)
        largest = max(self._fitted[1], offer[0].budget_flops)
        before, shorter = (self._beyond(one) for one in (self._fitted[1], largest))
        return statistical + MODEL_ERROR_PER_DECADE**2 * (before**2 - shorter**2)

    def statistical_gain(self, offer: _Offer) -> float:
        """The same of the statistical part alone."""
        return self._scale * float(self._reading @ (self._covariance - self._with(offer)) @ self._reading)

    def add(self, offer: _Offer) -> None:
        """Take the runs as trained."""
        self._covariance = self._with(offer)
        self._fitted = self._fitted[0], max(self._fitted[1], offer[0].budget_flops)

    def _beyond(self, largest: float) -> float:
        return decades_beyond((self._fitted[0], largest), self._target)

    def _with(self, offer: _Offer) -> Array:
        """The covariance with more runs, one after the other (Sherman and Morrison)."""
        covariance = self._covariance
        for run in offer:
            row = self._row(run)
            moved = covariance @ row
            covariance = covariance - np.outer(moved, moved) / (1 + float(row @ moved))
        return covariance

    def _row(self, run: _Run) -> Array:
        if run not in self._known_rows:
            self._known_rows[run] = self._jacobian(np.array([run.budget_flops]), np.array([run.log_n]))[0]
        return self._known_rows[run]

    def _jacobian(self, budget_flops: Array, log_n: Array) -> Array:
        """d loss / d (valley, floors, their distances from the ridge), (n, 6 + k) or (n, 6 + 2 k)."""
        t = np.log10(budget_flops) - self._centre
        n = len(t)
        axis = Axis(log_n, t, np.zeros(n), np.ones(n), np.zeros(n, dtype=np.intp), self._centre)
        out = np.zeros((n, len(self._reading)))
        out[:, :N_PARAMETERS] = JointObjective(axis, self._theta[4:], 0.0).slopes(self._theta[None])[0].T
        place = N_PARAMETERS + np.searchsorted(self._budgets, budget_flops)
        out[np.arange(n), place] = self._unit
        if self._scattered:
            # a floor off the ridge moves its valley as the ridge itself would
            out[np.arange(n), place + len(self._budgets)] = out[:, 0]
        if self._trend:  # rows count by the noise of their budget
            out /= np.sqrt(self._trend.variance(np.log10(budget_flops)))[:, None]
        return out


def _as_suggestion(
    choice: Choice, target_flops: float, run: _Run, before: float, after: tuple[float, float]
) -> Suggestion:
    assert choice.joint
    cost = choice.joint.cost
    log_d = math.log(run.budget_flops) - cost.offset - cost.slope * math.log(run.n_params)
    opens = run.budget_flops > choice.fitted_budgets[1]
    return Suggestion(target_flops, run.budget_flops, run.n_params, math.exp(log_d), opens, before, *after)
