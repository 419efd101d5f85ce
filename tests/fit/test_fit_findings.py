"""Each finding appears when its cause is there, and only then."""

import numpy as np
import pytest

from isoflop.finding import Severity
from isoflop.fit import Vertex, fit_sweep
from isoflop.fit.estimators.outliers import rows_on_valley
from isoflop.fit.estimators.surface import solve_surface
from isoflop.fit.rows import sort_rows
from tests.fit.known_sweeps import (
    BUDGETS,
    CHINCHILLA,
    SKEWED,
    codes,
    known_sweep,
    published,
    rows_of,
    stack,
    surface_sweep,
    valley,
    with_noise,
)

WELL = with_noise(surface_sweep(BUDGETS), np.random.default_rng(7), 0.002)


def _with(offsets, *, curvature=None):
    """The well-made sweep and a fourth budget, 1e21, that is not."""
    floor, _ = CHINCHILLA.optimum(21.0)
    last = rows_of(CHINCHILLA, 1e21, 10 ** (floor + np.asarray(offsets)))
    if curvature is not None:
        last = (*last[:3], last[3].min() + curvature * np.asarray(offsets) ** 2)
    return stack(WELL, with_noise(last, np.random.default_rng(8), 0.0005))


def _only(fit, code):
    (finding,) = [finding for finding in fit.findings if finding.code == code]
    return finding


def test_a_well_made_sweep_has_no_findings():
    assert fit_sweep(*WELL).findings == ()


@pytest.mark.parametrize(
    ("offsets", "options", "code", "vertex"),
    [
        ([-0.2, 0.0, 0.2], {}, "too_few_runs", Vertex.TOO_FEW),
        ([-0.2, -0.2, 0.2, 0.2], {}, "too_few_runs", Vertex.TOO_FEW),
        ([-0.6, -0.2, 0.2, 0.6], {}, "few_sizes", Vertex.INSIDE),
        ([-0.6, -0.3, 0.0, 0.3, 0.6, 0.6], {}, "few_sizes", Vertex.INSIDE),
        (np.linspace(0.1, 1, 7), {}, "unbracketed", Vertex.BELOW),
        (np.linspace(-1, -0.1, 7), {}, "unbracketed", Vertex.ABOVE),
        (np.linspace(-0.6, 0.6, 7), {"curvature": -0.4}, "concave", Vertex.CONCAVE),
        (np.linspace(-1.0, 0.1, 7), {}, "off_centre", Vertex.INSIDE),
    ],
    ids=["three runs", "two sizes", "four sizes", "five sizes", "below", "above", "concave", "off centre"],
)
def test_a_budget_that_needs_attention_is_named(offsets, options, code, vertex):
    fit = fit_sweep(*_with(offsets, **options))
    assert fit.profiles[3].vertex is vertex
    assert code in codes(fit)
    assert codes(fit) - {code} <= {
        "credible_extrapolation",
        "credible_loss",
        "drifting_centre",
        "wide_grid",
        "scattered_floors",
        "outliers",
        "unequal_noise",
    }
    finding = _only(fit, code)
    assert finding.values["budgets"] == [1e21]
    assert "1.00e21 FLOPs" in finding.message
    assert fit.frontier.n_profiles == 3 + (vertex is Vertex.INSIDE)


@pytest.mark.parametrize("spread", [1e-9, 1e-3, 0.04])
def test_budgets_that_differ_in_their_last_digits_are_said_to_and_not_merged(spread):
    budgets, *others = WELL
    apart = budgets * (1 + spread * np.random.default_rng(3).uniform(0, 1, len(budgets)))
    fit = fit_sweep(apart, *others)
    finding = _only(fit, "near_budgets")
    assert finding.values["n_budgets"] == len(budgets) == len(fit.profiles)
    assert finding.values["n_groups"] == len(np.unique(budgets))
    assert repr(float(np.sort(apart)[0])) in finding.message
    assert "no_profiles" in codes(fit)


def test_near_budgets_that_have_their_own_valleys_or_are_scattered_are_none():
    assert "near_budgets" not in _codes_of(WELL)
    twin = (WELL[0] * 1.01, *WELL[1:])
    assert "near_budgets" not in _codes_of(stack(WELL, twin))
    assert "near_budgets" not in _codes_of(published("epoch240"))
    # one run of a valley strays by a digit: it alone is left out of the fit, and named
    strayed = (np.where(np.arange(len(WELL[0])) == 3, WELL[0] * 1.0001, WELL[0]), *WELL[1:])
    assert {"near_budgets", "too_few_runs"} <= _codes_of(strayed)


def test_near_budgets_with_valleys_of_their_own_are_not_counted_among_those_that_belong_together():
    split = list(valley(1e22))
    split[0] = split[0] * (1 + 1e-6 * np.arange(len(split[0])))
    fit = fit_sweep(*stack(valley(1e20), valley(1.03e20), valley(1e21), split))
    finding = _only(fit, "near_budgets")
    assert finding.values["n_budgets"] == len(split[0])
    assert finding.values["n_groups"] == 1
    assert finding.values["largest_ratio"] < 1.00001
    assert "1e+22" in finding.message


def test_near_budgets_of_one_size_would_make_no_valley():
    lone = (1e22 * (1 + 1e-6 * np.arange(4)), np.full(4, 1e9), np.full(4, 1e12), np.array([2.1, 2.2, 2.15, 2.12]))
    assert "near_budgets" not in _codes_of(stack(WELL, lone))


def test_three_sizes_with_a_replicate_make_a_profile():
    fit = fit_sweep(*_with([-0.6, 0.0, 0.0, 0.6]))
    assert fit.profiles[3].vertex is Vertex.INSIDE
    assert codes(fit) - {"credible_extrapolation", "credible_loss"} == {"few_sizes"}


@pytest.mark.parametrize(("side", "sign"), [("below", 1), ("above", -1)], ids=["below", "above"])
def test_an_unbracketed_valley_says_on_which_side(side, sign):
    finding = _only(fit_sweep(*_with(sign * np.linspace(0.1, 1, 7))), "unbracketed")
    assert finding.values["side"] == side
    assert ("smaller" if side == "below" else "larger") in finding.hint


def test_budgets_with_the_same_trouble_share_a_finding():
    fit = fit_sweep(*stack(WELL, *(valley(budget, offsets=[0.0]) for budget in np.geomspace(1e21, 1e22, 8))))
    finding = _only(fit, "too_few_runs")
    assert finding.values["n_budgets"] == 8
    assert "and 2 more" in finding.message


@pytest.mark.parametrize(
    ("tokens_offset", "vertex"), [(0.7, Vertex.BELOW), (-0.7, Vertex.ABOVE)], ids=["too few tokens", "too many tokens"]
)
def test_a_floor_inside_the_sizes_but_outside_the_tokens_takes_the_verdict_of_the_tokens(tokens_offset, vertex):
    budgets, n_params, n_tokens, loss = _with([-0.5, -0.3, -0.1, 0.1, 0.3, 0.5])
    last = slice(-6, None)
    # Quadratic in log D about a floor beyond the last token count; in log N the losses still rise on both sides.
    x = np.array([-0.5, -0.3, -0.1, 0.1, 0.3, 0.5])
    loss[last] = 2.5 + 0.4 * x**2
    n_tokens[last] = 10 ** (9 - np.sign(tokens_offset) * np.sqrt(loss[last] - 2.4))
    fit = fit_sweep(budgets, n_params, n_tokens, loss)
    assert fit.profiles[3].vertex is vertex
    assert fit.profiles[3].n_opt is fit.profiles[3].d_opt is None
    assert fit.frontier.n_profiles == 3


@pytest.mark.parametrize(
    ("n_budgets", "severity"), [(1, Severity.ERROR), (2, Severity.WARNING), (3, None)], ids=["one", "two", "three"]
)
def test_fewer_than_three_floors_are_few_budgets(n_budgets, severity):
    fit = fit_sweep(*known_sweep(budgets=BUDGETS[:n_budgets]))
    assert [finding.severity for finding in fit.findings if finding.code == "few_budgets"] == (
        [severity] * (severity is not None)
    )
    assert (fit.frontier is None) == (n_budgets == 1)


def test_two_budgets_make_a_frontier_with_intervals():
    fit = fit_sweep(*with_noise(known_sweep(budgets=BUDGETS[:2]), np.random.default_rng(8), 0.002))
    low, high = fit.frontier.exponent_a_ci
    assert low < 0.47 < high


def test_a_valley_drowned_in_the_noise_of_the_sweep_is_called_flat():
    noisy = with_noise(WELL, np.random.default_rng(9), 0.01)
    fit = fit_sweep(*stack(noisy, valley(1e21, np.linspace(-0.6, 0.6, 7), curvature=0.005)))
    assert _only(fit, "flat_valley").values["budgets"] == [1e21]


def test_an_interval_wider_than_a_float_is_left_empty():
    flat = valley(1e18, offsets=[-1e-3, 0.0, 1e-3, 1.5e-3], curvature=1e-3)
    fit = fit_sweep(*flat[:3], flat[3] + [1e-3, 0.0, 0.0, 1e-3], level=1 - 1e-12)
    assert fit.profiles[0].n_opt is not None
    assert fit.profiles[0].n_opt_ci is None
    assert _only(fit, "no_interval").values["budgets"] == [1e18]


@pytest.mark.parametrize(("target", "far"), [(9.9e20, False), (1.2e21, True), (1.1e17, False), (0.9e17, True)], ids=str)
def test_a_target_more_than_a_decade_away_is_far(target, far):
    fit = fit_sweep(*WELL, targets=[target])
    assert codes(fit) == ({"far_extrapolation"} if far else set())


def test_targets_are_answered_in_the_order_asked():
    fit = fit_sweep(*WELL, targets=[1e20, 1e18, 1e20])
    assert [target.budget_flops for target in fit.targets] == [1e20, 1e18, 1e20]
    assert all(target.loss is not None and target.estimator == "joint" for target in fit.targets)


def _codes_of(columns, **options):
    return codes(fit_sweep(*columns, **options))


def _noisy(columns, sd=0.001, seed=1):
    return with_noise(columns, np.random.default_rng(seed), sd)


FIVE = np.geomspace(1e18, 1e20, 5)


@pytest.mark.parametrize(("half_width", "window", "wide"), [(0.8, None, False), (1.0, None, True), (1.0, 0.6, False)])
def test_sizes_far_from_the_best_run_are_a_wide_grid_unless_a_window_cuts_them(half_width, window, wide):
    found = _codes_of(_noisy(surface_sweep(FIVE, half_width=half_width)), window=window)
    assert ("wide_grid" in found) == wide


@pytest.mark.parametrize(("drift", "drifting"), [(0.0, False), (0.05, False), (0.3, True), (-0.3, True)])
def test_a_grid_that_moves_against_its_floors_drifts(drift, drifting):
    fit = fit_sweep(*_noisy(surface_sweep(FIVE, law=SKEWED, drift=drift)))
    assert ("drifting_centre" in codes(fit)) == drifting
    if drifting:
        values = _only(fit, "drifting_centre").values
        assert values["drift_per_decade"] == pytest.approx(drift, abs=0.02)


def test_the_bias_that_a_finding_names_is_that_of_parabolas_on_the_true_surface():
    exact = surface_sweep(FIVE, law=SKEWED, half_width=1.0, drift=0.3)
    values = _only(fit_sweep(*_noisy(exact, sd=0.0003)), "skewed_valley").values
    parabola = fit_sweep(*exact).frontier
    truth = SKEWED.optimum(20.0)[0]
    assert values["bias_exponent_a"] == pytest.approx(parabola.exponent_a - SKEWED.exponent_a, abs=0.003)
    missed = np.log10(parabola.coef_n) + 20 * parabola.exponent_a - truth
    assert values["bias_log10_n_opt_at_largest"] == pytest.approx(missed, abs=0.01)


@pytest.mark.parametrize(("law", "skewed"), [(CHINCHILLA, False), (SKEWED, True)], ids=["nearly even", "skewed"])
def test_a_skewed_valley_is_named_with_its_bias(law, skewed):
    assert ("skewed_valley" in _codes_of(_noisy(surface_sweep(FIVE, law=law, half_width=1.0)))) == skewed


def test_a_cubic_far_from_the_recommended_exponent_disagrees():
    fit = fit_sweep(*_noisy(surface_sweep(FIVE, law=SKEWED, drift=0.3, half_width=1.0)))
    assert _only(fit, "estimators_disagree").values["cubic"] == fit.estimators.cubic.exponent_a


def test_estimators_agree_on_a_well_made_sweep():
    assert "estimators_disagree" not in _codes_of(_noisy(surface_sweep(FIVE)))


def test_a_surface_that_does_not_fit_is_rejected():
    # Lack of fit F 19.3 by another program, where all rows weigh alike.
    rows = sort_rows(*published("llama3"))
    _, alike = rows_on_valley(rows, solve_surface(np.log(rows.n_params), np.log(rows.n_tokens), rows.loss))
    assert alike.lack_of_fit == pytest.approx(19.34, rel=0.01)
    assert _only(fit_sweep(*published("llama3")), "surface_rejected").values["lack_of_fit_f"] > 19
    assert "surface_rejected" not in _codes_of(_noisy(surface_sweep(FIVE)))


def test_an_exponent_at_the_edge_of_the_search_is_said():
    # Losses at the floors that do not fall with compute leave nothing to a law that must.
    assert "surface_at_bound" in _codes_of(known_sweep())
    assert "surface_at_bound" not in _codes_of(WELL)


def test_floors_off_one_power_law_are_scattered():
    budgets = np.geomspace(1e18, 1e21, 6)
    moved = zip(budgets, (0.08, -0.08, 0.08, -0.08, 0.08, -0.08), strict=True)
    crooked = stack(
        *(surface_sweep([budget * 10 ** (2 * move)])[:1] + surface_sweep([budget])[1:] for budget, move in moved)
    )
    assert "scattered_floors" not in _codes_of(_noisy(surface_sweep(budgets)))
    budget_of = np.repeat(budgets, 7)
    n_params = crooked[1] * 10 ** np.repeat([0.08, -0.08] * 3, 7)
    fit = fit_sweep(*_noisy((budget_of, n_params, budget_of / (6 * n_params), crooked[3]), sd=0.0005))
    assert _only(fit, "scattered_floors").values["scatter_decades"] == pytest.approx(0.09, abs=0.05)


def test_a_bad_run_is_an_outlier_with_its_place_and_its_effect():
    columns = _noisy(surface_sweep(FIVE), sd=0.002)
    assert "outliers" not in codes(fit_sweep(*columns))
    spoilt = (*columns[:3], columns[3] + 0.3 * (np.arange(35) == 16))
    fit = fit_sweep(*spoilt)
    values = _only(fit, "outliers").values
    assert values["rows"] == [16]
    assert abs(values["exponent_a_without"] - CHINCHILLA.exponent_a) < abs(
        values["exponent_a_with"] - CHINCHILLA.exponent_a
    )
    assert fit.estimators.recommended.outliers == (16,)


@pytest.mark.parametrize(("power", "named"), [(-1.0, False), (-1.1, True)], ids=["6ND", "dearer large models"])
def test_exponents_that_do_not_sum_to_one_are_explained(power, named):
    parts = []
    for budget in FIVE:
        log_n = CHINCHILLA.optimum(np.log10(budget))[0] + np.linspace(-0.6, 0.6, 7)
        n_tokens = budget / 6 * 10 ** (power * log_n)
        loss = np.exp(CHINCHILLA.log_loss(log_n * np.log(10), np.log(n_tokens)))
        parts.append((np.full(7, budget), 10**log_n, n_tokens, loss))
    assert ("not_6nd" in _codes_of(_noisy(stack(*parts)))) == named


def test_replicates_that_scatter_more_than_the_valley_is_deep_are_an_error():
    shallow = stack(*(surface_sweep([budget], half_width=0.05) for budget in FIVE for _ in range(3)))
    assert _only(fit_sweep(*_noisy(shallow, sd=0.005)), "noise_fills_valley").severity is Severity.ERROR
    deep = stack(*(surface_sweep([budget]) for budget in FIVE for _ in range(2)))
    assert "noise_fills_valley" not in _codes_of(_noisy(deep))


def test_a_budget_much_noisier_than_the_others_weighs_less_and_is_named():
    generator = np.random.default_rng(5)
    exact = surface_sweep(np.geomspace(1e18, 1e20, 5), n_sizes=9)
    sd = np.where(exact[0] == exact[0].min(), 0.005, 0.001)
    fit = fit_sweep(*exact[:3], exact[3] * np.exp(generator.normal(0, sd)))
    assert "unequal_noise" in codes(fit)
    assert "unequal_noise" not in _codes_of(_noisy(exact))


def test_runs_on_one_trunk_widen_the_intervals():
    generator = np.random.default_rng(6)
    exact = surface_sweep(FIVE)
    trunk = [f"size {index % 7}" for index in range(35)]
    shared = np.tile(generator.normal(0, 0.003, 7), 5) + generator.normal(0, 0.001, 35)
    columns = (*exact[:3], exact[3] * np.exp(shared))
    alone, together = fit_sweep(*columns), fit_sweep(*columns, trunk=trunk)
    assert _only(together, "shared_trunks").values["correlation"] > 0.2
    assert "shared_trunks" not in codes(alone)


def test_a_sweep_says_how_far_ahead_it_could_see():
    fit = fit_sweep(*_noisy(surface_sweep(FIVE)), targets=[2e20, 1e23])
    assert _only(fit, "credible_extrapolation").values["n_held"] == len(fit.scorecard) == 3
    assert [target.credible for target in fit.targets] == [True, False]
    bent = fit_sweep(*published("marin_comma"))
    assert _only(bent, "scorecard_missed").values["credible_decades"] < 1


@pytest.mark.parametrize("last", [4.0e19, 4.1e19, 4.2e19, 4.3e19])
def test_a_sweep_whose_forecasts_all_proved_right_is_not_told_that_any_missed(last):
    """Whatever its steps: log10 of few ratios of budgets has six decimals."""
    fit = fit_sweep(*surface_sweep([4e18, 8e18, 1.26e19, last]), targets=[last * last / 1.26e19])
    assert [forecast.held for forecast in fit.scorecard] == [True]
    assert fit.credible_decades == fit.scorecard[0].decades
    assert "scorecard_missed" not in codes(fit)


def test_losses_without_a_logarithm_leave_out_what_needs_one():
    columns = (*WELL[:3], WELL[3] - 2.8)
    assert (columns[3] <= 0).any()
    fit = fit_sweep(*columns, targets=[1e20])
    assert "no_log_loss" in codes(fit)
    assert fit.estimators.surface is fit.estimators.joint is None
    assert fit.estimators.recommended.estimator == fit.targets[0].estimator == "parabola"
    assert "no_log_loss" not in codes(fit_sweep(*WELL))


def test_a_target_answered_by_the_surface_alone_says_so():
    fit = fit_sweep(*published("epoch240"), targets=[1e21])
    assert fit.targets[0].estimator == "surface"
    assert "surface_only" in codes(fit)
    assert "surface_only" not in codes(fit_sweep(*WELL, targets=[1e21]))


def test_a_target_without_a_law_of_the_loss_says_so():
    columns = (*WELL[:3], WELL[3] - 2.8)
    assert "loss_not_fitted" in _codes_of(columns, targets=[1e20])
    assert "loss_not_fitted" not in _codes_of(WELL, targets=[1e20])


@pytest.mark.parametrize(("offsets", "sizes"), [(np.linspace(0.1, 1, 7), 2), (np.linspace(0.5, 1.1, 7), 6)], ids=str)
def test_an_unbracketed_valley_says_how_many_sizes_to_add(offsets, sizes):
    assert _only(fit_sweep(*_with(offsets)), "unbracketed").values["sizes_to_add"] == [sizes]


def test_rows_that_are_copies_are_named():
    doubled = tuple(np.concatenate([column, column[:3]]) for column in WELL)
    assert _only(fit_sweep(*doubled), "identical_rows").values["n_copies"] == 3
    assert "identical_rows" not in _codes_of(WELL)


def test_tokens_that_have_nothing_to_do_with_the_budget_are_named():
    shuffled = np.random.default_rng(4).permutation(WELL[2])
    assert "tokens_unrelated" in _codes_of((WELL[0], WELL[1], shuffled, WELL[3]))
    assert "tokens_unrelated" not in _codes_of(WELL)
    assert all("tokens_unrelated" not in _codes_of(published(name)) for name in ("marin_comma", "chinchilla_scalefit"))


@pytest.mark.parametrize(("half_width", "idle"), [(0.6, True), (1.4, False)])
def test_a_window_that_leaves_nothing_out_is_idle(half_width, idle):
    fit = fit_sweep(*surface_sweep(half_width=half_width, n_sizes=11), window=0.6)
    assert ("window_idle" in codes(fit)) == idle


def test_suggestions_that_leave_an_interval_as_it_is_say_so():
    columns = _noisy(surface_sweep(FIVE), 1e-5)
    fit = fit_sweep(*columns, targets=[1e21], suggest=3)
    finding = _only(fit, "little_to_gain")
    assert finding.values["half_width"] > 0.9 * finding.values["half_width_before"]
    assert finding.values["half_width"] == fit.suggested[-1].half_width
    assert "7 runs or more" in finding.hint
    assert "little_to_gain" not in codes(fit_sweep(*columns, targets=[1e21], suggest=7))
    assert (
        "more runs of this sweep do not" in _only(fit_sweep(*columns, targets=[1e20], suggest=3), "little_to_gain").hint
    )
    noisy = fit_sweep(*_noisy(surface_sweep(FIVE), 0.02), targets=[1e20], suggest=1)
    assert "Noise is a large part" in _only(noisy, "little_to_gain").hint


def test_suggestions_that_cannot_be_made_are_missed():
    assert "nothing_to_suggest" not in codes(fit_sweep(*_noisy(surface_sweep(FIVE)), suggest=3))
    fit = fit_sweep(*surface_sweep([1e19]), suggest=3)
    assert _only(fit, "nothing_to_suggest").values == {"missing": 3}
