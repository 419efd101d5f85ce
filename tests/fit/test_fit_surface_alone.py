"""Where no budget has a valley: the surface screened, its estimators side by side, and what it says of itself."""

import csv

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.stats import t as student

from isoflop.fit import Columns, fit_as_json, fit_sweep
from isoflop.fit.estimators.cells import best_of_cells, is_crossed
from isoflop.fit.laws import SurfaceLaw
from isoflop.fit.rows import sort_rows
from tests.fit.known_sweeps import CHINCHILLA, DATA, SKEWED, codes, published, surface_sweep

LAW = SurfaceLaw.of(1.8, 400.0, 1200.0, 0.34, 0.34)
NAMES = (
    "chinchilla_isoflop", "chinchilla_scalefit", "epoch240", "epoch245", "llama3", "llama3_exp_loss", "marin_comma",
    "porian_short_warmup", "porian_tuned",
)  # fmt: skip


def case(name):
    with (DATA / "cases" / name / "input.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {column: np.array([float(row[column]) for row in rows]) for column in rows[0]}


def columns_of(table, **more):
    return Columns(table["budget_flops"], table["n_params"], table["n_tokens"], table["loss"], **more)


def ladder(n_sizes=5, n_ratios=6, *, law=LAW, sd=0.004, seed=0, repeats=1):
    """Sizes times tokens per parameter, with noise; no two rows of other places share a budget."""
    generator = np.random.default_rng(seed)
    n_params = np.repeat(np.geomspace(3e7, 1e9, n_sizes), n_ratios * repeats)
    n_tokens = n_params * np.tile(np.repeat(np.geomspace(5, 100, n_ratios), repeats), n_sizes)
    loss = np.exp(law.log_loss(np.log(n_params), np.log(n_tokens))) + generator.normal(0, sd, len(n_params))
    return 6 * n_params * n_tokens, n_params, n_tokens, loss


def finding(fit, code):
    (found,) = (one for one in fit.findings if one.code == code)
    return found


def scipy_fit(n_params, n_tokens, loss, weights=1.0):
    """The same least squares by another solver: (ln E, ln A, ln B, alpha, beta), covariance, degrees of freedom."""

    def residual(theta):
        predicted = np.logaddexp.reduce(
            [
                np.full(len(loss), theta[0]),
                theta[1] - theta[3] * np.log(n_params),
                theta[2] - theta[4] * np.log(n_tokens),
            ]
        )
        return (np.log(loss) - predicted) * np.sqrt(weights)

    found = least_squares(residual, [0.5, 6, 7, 0.34, 0.34], x_scale="jac", ftol=1e-15, xtol=1e-15, gtol=1e-15)
    freedom = len(loss) - 5
    scale = np.linalg.norm(found.jac, axis=0)
    inverse = np.linalg.inv((found.jac / scale).T @ (found.jac / scale)) / np.outer(scale, scale)
    return found.x, 2 * found.cost / freedom * inverse, freedom


# --- runs set aside


def test_the_ladder_with_one_diverged_run_is_answered_without_it_and_names_it():
    table = case("03-ladder-with-one-diverged-run")
    fit = fit_sweep(table["budget_flops"], table["n_params"], table["n_tokens"], table["loss"], targets=[1e20])
    assert fit.estimators.recommended.estimator == "surface"
    # the sixteen good runs alone, by Huber: 0.504
    assert fit.estimators.recommended.estimate.exponent_a == pytest.approx(0.504, abs=0.005)
    assert fit.targets[0].n_opt == pytest.approx(8.26e8, rel=0.02)
    assert fit.estimators.recommended.outliers == (16,)
    found = finding(fit, "outliers")
    assert found.values["rows"] == [16]
    assert "loss 10.39 at N 5e+08, D 8e+09" in found.message
    assert "with them least squares determine none" in found.message


@pytest.mark.parametrize("n_bad", [0, 1, 3, 8])
@pytest.mark.parametrize("law", [LAW, SKEWED], ids=["even", "skewed"])
def test_diverged_runs_are_all_set_aside_and_no_other(law, n_bad):
    budget_flops, n_params, n_tokens, loss = ladder(6, 8, law=law, seed=3)
    bad = np.random.default_rng(n_bad).choice(48, n_bad, replace=False)
    spoilt = loss.copy()
    spoilt[bad] += np.random.default_rng(7).uniform(0.2, 5, n_bad)
    fit = fit_sweep(budget_flops, n_params, n_tokens, spoilt)
    assert fit.estimators.recommended.outliers == tuple(sorted(bad.tolist()))
    good = np.setdiff1d(np.arange(48), bad)
    theta, *_ = scipy_fit(n_params[good], n_tokens[good], loss[good])
    assert fit.estimators.recommended.estimate.exponent_a == pytest.approx(theta[4] / (theta[3] + theta[4]), abs=1e-5)
    assert ("outliers" in codes(fit)) == (n_bad > 0)


@pytest.mark.parametrize("seed", [5, 46, 71, 104])
def test_runs_set_aside_do_not_hold_the_search_where_they_drew_the_robust_surface(seed):
    # from Huber's optimum of all these rows a descent ends at another optimum, a = 0.74 and more
    budget_flops, n_params, n_tokens, loss = ladder(6, 8, law=SKEWED, seed=seed)
    generator = np.random.default_rng(seed)
    bad = generator.choice(48, 8, replace=False)
    loss[bad] += generator.uniform(0.1, 4, 8)
    found = fit_sweep(budget_flops, n_params, n_tokens, loss).estimators.recommended
    good = np.setdiff1d(np.arange(48), found.outliers)
    theta, *_ = scipy_fit(n_params[good], n_tokens[good], loss[good])
    assert set(bad) <= set(found.outliers)
    assert found.estimate.exponent_a == pytest.approx(theta[4] / (theta[3] + theta[4]), abs=1e-5)


def test_the_exponent_with_the_runs_set_aside_is_that_of_plain_least_squares():
    budget_flops, n_params, n_tokens, loss = ladder()
    loss[11] += 0.1
    found = finding(fit_sweep(budget_flops, n_params, n_tokens, loss), "outliers")
    theta, *_ = scipy_fit(n_params, n_tokens, loss)
    assert found.values["rows"] == [11]
    assert found.values["exponent_a_with"] == pytest.approx(theta[4] / (theta[3] + theta[4]), abs=1e-5)


def test_published_points_give_one_exponent_whether_or_not_the_five_dubious_ones_are_there():
    # Besiroglu et al. 2024 leave out five of 245 points by hand; least squares of all gave 0.622 against 0.530
    with_them, without = (fit_sweep(*published(name)).estimators.recommended for name in ("epoch245", "epoch240"))
    assert with_them.estimate.exponent_a == pytest.approx(without.estimate.exponent_a, abs=1e-6)
    assert len(with_them.outliers) == len(without.outliers) + 5
    assert without.estimate.exponent_a == pytest.approx(0.506, abs=0.001)


def test_a_clean_table_seldom_loses_a_run():
    lost = [len(fit_sweep(*ladder(4, 4, seed=seed)).estimators.recommended.outliers) > 0 for seed in range(60)]
    assert sum(lost) <= 3


@pytest.mark.parametrize(("n_bad", "too_many"), [(14, False), (19, True)])
def test_where_more_than_a_third_of_the_runs_lie_off_none_is_set_aside_and_that_is_said(n_bad, too_many):
    budget_flops, n_params, n_tokens, loss = ladder(6, 8)
    bad = np.random.default_rng(1).permutation(48)[:n_bad]
    loss[bad] += np.random.default_rng(2).uniform(0.1, 0.5, n_bad)
    fit = fit_sweep(budget_flops, n_params, n_tokens, loss)
    assert ("no_one_surface" in codes(fit)) == too_many
    assert (len(fit.estimators.recommended.outliers) == 0) == too_many


# --- estimators side by side


@pytest.mark.parametrize("seed", [3, 8])
def test_hubers_surface_answers_where_least_squares_differ_and_the_interval_reaches_both(seed):
    # noise of so heavy tails that what the mask leaves still pulls (Cauchy)
    *columns, loss = ladder(6, 6, sd=0.0)
    fit = fit_sweep(*columns, loss + 0.003 * np.random.default_rng(seed).standard_t(1, 36).clip(-30, 30))
    recommended, squares = fit.estimators.recommended, fit.estimators.surface_squares
    apart = abs(squares.estimate.exponent_a - recommended.estimate.exponent_a)
    assert apart > 0.01
    assert "Huber" in recommended.reason
    low, high = recommended.estimate.exponent_a_ci
    assert low < squares.estimate.exponent_a < high
    found = finding(fit, "estimators_disagree")
    assert found.values["least squares"] == squares.estimate.exponent_a
    reading, law = fit.outlook[-1], squares.law
    low, high = reading.loss_ci_statistical
    assert low < law.loss(*(10**log for log in law.optimum(np.log10(reading.budget_flops)))) < high
    assert recommended.estimate.exponent_a == pytest.approx(0.5, abs=0.01)
    assert squares.estimate.exponent_a != pytest.approx(0.5, abs=0.01)


def test_least_squares_answer_where_hubers_surface_agrees():
    fit = fit_sweep(*ladder())
    assert "least squares" in fit.estimators.recommended.reason
    assert fit.estimators.surface_squares.estimate == fit.estimators.recommended.estimate
    assert "estimators_disagree" not in codes(fit)


def test_the_surface_that_is_shown_is_as_asked_and_changes_no_answer():
    answers = {}
    for residuals in ("huber", "squares", "absolute"):
        fit = fit_sweep(*ladder(), residuals=residuals)
        assert fit.estimators.surface.residuals == residuals
        answers[residuals] = fit.estimators.recommended.estimate.exponent_a
    assert len(set(answers.values())) == 1


def test_a_sweep_with_valleys_has_no_surface_of_its_own():
    assert fit_sweep(*surface_sweep()).estimators.surface_squares is None


# --- repeats of one size and token count


def test_of_a_rate_sweep_in_every_cell_the_best_runs_answer():
    table = case("04-rate-sweep-in-every-cell")
    fit = fit_sweep(columns_of(table))
    assert fit.estimators.recommended.estimate.exponent_a == pytest.approx(0.511, abs=0.01)
    assert fit.estimators.recommended.estimate.n_used == 8
    found = finding(fit, "best_of_cells")
    assert (found.values["n_fitted"], found.values["n_rows"]) == (8, 40)
    assert found.values["widest"] == pytest.approx(3.7217, abs=1e-4)
    best = {int(np.flatnonzero(table["lr"] == 0.0012)[at]) for at in range(8)}
    assert not best & set(found.values["rows"])


@pytest.mark.parametrize(("repeats", "seed"), [(2, 0), (3, 1), (5, 2), (10, 3)])
def test_seeds_all_count(repeats, seed):
    rows = ladder(4, 4, repeats=repeats, seed=seed)
    fit = fit_sweep(*rows)
    assert "best_of_cells" not in codes(fit)
    assert fit.estimators.recommended.estimate.n_used >= 16 * repeats - 1


def test_one_diverged_seed_makes_no_rate_sweep():
    *columns, loss = ladder(4, 4, repeats=3)
    loss[7] += 3
    fit = fit_sweep(*columns, loss)
    assert "best_of_cells" not in codes(fit)
    assert fit.estimators.recommended.outliers == (7,)


@pytest.mark.parametrize("rise", [0.06, 0.3, 3.0])
def test_rates_beyond_noise_leave_the_best_run_of_each_cell(rise):
    *columns, loss = ladder(4, 4, repeats=5)
    rates = np.tile(rise * np.array([0.5, 0.1, 0.0, 0.1, 1.0]), 16)
    fit = fit_sweep(*columns, loss + rates)
    assert finding(fit, "best_of_cells").values["n_fitted"] == 16
    assert fit.estimators.recommended.estimate.exponent_a == pytest.approx(0.5, abs=0.03)


def test_runs_that_end_a_batch_apart_are_of_one_cell():
    budget_flops, n_params, n_tokens, loss = ladder(4, 4, repeats=5)
    n_tokens = n_tokens * np.tile([1.0, 1.001, 0.999, 1.002, 1.0], 16)
    loss = loss + np.tile([0.3, 0.1, 0.0, 0.1, 1.0], 16)
    assert finding(fit_sweep(budget_flops, n_params, n_tokens, loss), "best_of_cells").values["n_fitted"] == 16


def test_points_along_a_curve_are_not_repeats():
    n_params = np.repeat(np.geomspace(1e8, 1e9, 5), 400)
    n_tokens = np.tile(np.geomspace(1e9, 1e10, 400), 5)
    loss = np.exp(LAW.log_loss(np.log(n_params), np.log(n_tokens)))
    assert best_of_cells(sort_rows(6 * n_params * n_tokens, n_params, n_tokens, loss)) is None


def test_a_rate_sweep_within_valleys_leaves_the_best_run_of_each_size():
    columns = [np.repeat(column, 4) for column in surface_sweep(np.geomspace(1e18, 1e20, 5))]
    columns[3] = columns[3] + np.tile([0.2, 0.0, 0.1, 1.5], 35) + np.random.default_rng(0).normal(0, 0.002, 140)
    fit = fit_sweep(*columns)
    assert fit.estimators.recommended.estimator == "joint"
    assert finding(fit, "best_of_cells").values["n_fitted"] == 35
    assert fit.estimators.recommended.estimate.exponent_a == pytest.approx(CHINCHILLA.exponent_a, abs=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_no_published_table_is_a_rate_sweep_or_a_crossed_grid(name):
    rows = sort_rows(*published(name))
    assert best_of_cells(rows) is None
    assert not is_crossed(rows)


# --- repeated tokens


def test_runs_of_many_epochs_leave_the_fit_and_are_counted():
    table = case("24-repeated-data")
    fit = fit_sweep(columns_of(table, unique_tokens=table["unique_tokens"]))
    assert fit.estimators.recommended.estimate.exponent_a == pytest.approx(0.5, abs=0.001)
    found = finding(fit, "epochs_left_out")
    assert found.values["n_rows"] == 16
    assert found.values["most_epochs"] == 60
    assert found.values["rows"] == np.flatnonzero(table["n_tokens"] > 4 * table["unique_tokens"]).tolist()
    pooled = fit_sweep(columns_of(table))
    assert pooled.estimators.recommended.estimate.exponent_a > 0.6
    assert "epochs_left_out" not in codes(pooled)


@pytest.mark.parametrize(("epochs", "left"), [(0.5, False), (4.0, False), (4.01, True)])
def test_four_epochs_stay(epochs, left):
    budget_flops, n_params, n_tokens, loss = ladder()
    unique = n_tokens.copy()
    unique[3] = n_tokens[3] / epochs
    unique[4] = 0  # unknown
    fit = fit_sweep(budget_flops, n_params, n_tokens, loss, unique_tokens=unique)
    assert ("epochs_left_out" in codes(fit)) == left


def test_runs_of_many_epochs_leave_the_valleys_too():
    columns = surface_sweep()
    loss = columns[3].copy()
    loss[[0, 8]] += 0.4
    unique = columns[2].copy()
    unique[[0, 8]] /= 50
    fit = fit_sweep(*columns[:3], loss, unique_tokens=unique)
    assert [profile.n_points for profile in fit.profiles] == [6, 6, 7]
    assert "outliers" not in codes(fit)
    assert fit.estimators.recommended.estimate.exponent_a == pytest.approx(CHINCHILLA.exponent_a, abs=1e-3)


@pytest.mark.parametrize("unique", [[1.0], [-1.0] * 30, [np.nan] * 30], ids=["one", "negative", "not a number"])
def test_unique_tokens_are_numbers_one_per_row(unique):
    with pytest.raises(ValueError, match="unique_tokens must be"):
        fit_sweep(*ladder(), unique_tokens=unique)


# --- crossed grids


def crossed(n_sizes, n_tokens, law, *, ratios=False, factor=2.0):
    sizes = 1e8 * factor ** np.arange(n_sizes)
    tokens = (20.0 if ratios else 2e9) * factor ** (np.arange(n_tokens) - n_tokens // 2)
    n_params, other = np.repeat(sizes, n_tokens), np.tile(tokens, n_sizes)
    n_tokens = n_params * other if ratios else other
    noise = np.random.default_rng(0).normal(0, 1e-5, len(n_params))
    return 6 * n_params * n_tokens, n_params, n_tokens, np.exp(law.log_loss(np.log(n_params), np.log(n_tokens)) + noise)


@pytest.mark.parametrize(
    "grid",
    [(4, 4, SKEWED), (5, 5, SKEWED), (8, 8, SKEWED), (4, 6, SKEWED), (4, 4, CHINCHILLA)],
    ids=["4x4", "5x5", "8x8", "4x6", "4x4 even"],
)
def test_a_crossed_grid_whose_diagonals_share_a_budget_is_answered_by_the_surface(grid):
    rows = crossed(*grid)
    assert max(np.unique(rows[0], return_counts=True)[1]) >= 4  # some diagonal has the runs of a profile
    fit = fit_sweep(*rows, targets=[1e22])
    assert fit.estimators.recommended.estimator == "surface"
    assert fit.estimators.recommended.estimate.exponent_a == pytest.approx(grid[2].exponent_a, abs=0.01)
    assert "crossed_grid" in codes(fit)
    assert not {"no_profiles", "no_target", "few_budgets"} & codes(fit)


def test_a_ladder_of_ratios_whose_budgets_coincide_is_answered_too():
    fit = fit_sweep(*crossed(6, 10, SKEWED, ratios=True), targets=[1e22])
    assert fit.targets[0].n_opt is not None


def test_nearly_equal_diagonals_are_not_said_to_be_near_budgets():
    budget_flops, n_params, n_tokens, loss = crossed(5, 6, SKEWED)
    bent = n_params * np.repeat([1.0, 1.03, 1.025, 1.02, 1.01], 6)
    fit = fit_sweep(budget_flops * bent / n_params, bent, n_tokens, loss)
    assert fit.estimators.recommended.estimator == "surface"
    assert "near_budgets" not in codes(fit)


def shared_sizes(n_sizes, n_budgets, factor):
    """An IsoFLOP sweep of the same sizes at every budget, whose token counts coincide: part of a crossed grid."""
    sizes = 1e8 * factor ** np.arange(n_sizes)
    budgets = 6 * 1e8 * 2e9 * factor ** np.arange(n_budgets)
    n_params, budget_flops = np.tile(sizes, n_budgets), np.repeat(budgets, n_sizes)
    return budget_flops, n_params, budget_flops / (6 * n_params), np.full(len(n_params), 3.0)


@pytest.mark.parametrize("columns", [
    shared_sizes(4, 7, 2.0), shared_sizes(7, 5, 2.0), shared_sizes(4, 12, 2.0), surface_sweep(),
    surface_sweep(n_sizes=4),
], ids=["4 sizes", "7 sizes", "12 budgets", "centred", "few sizes"])  # fmt: skip
def test_profiles_are_never_taken_for_a_crossed_grid(columns):
    assert not is_crossed(sort_rows(*columns))


@pytest.mark.parametrize("seed", [0, 1])
def test_nor_are_runs_that_achieved_their_budgets_but_for_a_per_cent(seed):
    budget_flops, *columns = shared_sizes(4, 7, 2.0)
    achieved = budget_flops * (1 + 0.01 * np.random.default_rng(seed).uniform(0, 1, len(budget_flops)))
    assert not is_crossed(sort_rows(achieved, *columns))


def test_a_sweep_whose_floors_lie_outside_is_not_answered_by_the_surface():
    fit = fit_sweep(*surface_sweep(centre=2.0), targets=[1e22])
    assert fit.estimators.recommended is None
    assert "crossed_grid" not in codes(fit)


# --- rows that cannot answer


def test_nine_runs_are_told_how_many_the_surface_needs():
    fit = fit_sweep(columns_of(case("26-nine-runs-on-a-grid")))
    assert fit.estimators.recommended is None
    found = finding(fit, "no_surface")
    assert found.message == "The surface does not answer either: it needs 10 runs, and there are 9."
    assert found.hint == "Train 1 more run: other sizes, or other token counts."
    assert found.values["reason"] == "few_runs"


def _too_few_places():
    return [np.tile(column, 4) for column in ladder(2, 3, sd=0.0)]


def _one_ratio():
    n_params = np.geomspace(1e8, 1e10, 12)
    return 120 * n_params**2, n_params, 20 * n_params, np.exp(LAW.log_loss(np.log(n_params), np.log(20 * n_params)))


def _two_sizes():
    return ladder(2, 6)


def _falls_to_zero():
    *columns, loss = ladder()
    return (*columns, loss - 3)


def _cheaper_when_larger():
    budget_flops, n_params, n_tokens, loss = ladder()
    return budget_flops / n_params**1.5, n_params, n_tokens, loss


def _smallest_apart():
    budget_flops, n_params, n_tokens, _ = ladder()
    return budget_flops, n_params, n_tokens, 3 + 1200 * n_tokens**-0.34 + (n_params < 5e7)


def _worse_when_larger():
    budget_flops, n_params, n_tokens, _ = ladder()
    return budget_flops, n_params, n_tokens, 3 + 1200 * n_tokens**-0.34 + 0.1 * np.log(n_params / 1e7)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (_too_few_places(), "few_places"),
        (_falls_to_zero(), "no_logarithms"),
        (_one_ratio(), "size_with_tokens"),
        (_two_sizes(), "not_determined"),
        (_cheaper_when_larger(), "cost_falls_with_size"),
        (_smallest_apart(), "exponent_at_bound"),
        (_worse_when_larger(), "exponent_at_bound"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_table_that_cannot_answer_says_why(rows, reason):
    fit = fit_sweep(*rows, targets=[1e20])
    assert fit.estimators.recommended is None
    assert finding(fit, "no_surface").values["reason"] == reason
    assert fit.targets[0].n_opt is None
    assert "neither valleys nor the surface" in finding(fit, "no_target").message


def test_a_table_that_answers_has_no_such_finding():
    assert "no_surface" not in codes(fit_sweep(*ladder()))


def test_an_irreducible_loss_at_zero_is_named():
    *columns, loss = ladder(law=SurfaceLaw.of(0.01, 40.0, 80.0, 0.2, 0.2), sd=0.001)
    fit = fit_sweep(*columns, loss - 0.1)
    assert finding(fit, "no_irreducible_loss").values["share_of_lowest_loss"] < 0.01
    assert fit.estimators.surface_squares.e_ci is None
    assert "no_irreducible_loss" not in codes(fit_sweep(*ladder()))


def test_it_is_named_beside_valleys_too():
    law = SurfaceLaw.of(0.01, 40.0, 80.0, 0.2, 0.2)
    *columns, loss = surface_sweep(np.geomspace(1e18, 1e21, 5), law=law, half_width=1.0)
    assert "no_irreducible_loss" in codes(fit_sweep(*columns, loss - 0.1))
    assert "no_irreducible_loss" not in codes(fit_sweep(*surface_sweep()))


# --- errors


def test_intervals_of_the_law_are_those_of_another_solver():
    budget_flops, n_params, n_tokens, loss = ladder()
    squares = fit_sweep(budget_flops, n_params, n_tokens, loss).estimators.surface_squares
    theta, covariance, freedom = scipy_fit(n_params, n_tokens, loss)
    half = student.ppf(0.95, freedom) * np.sqrt(np.diag(covariance))
    expected = [*np.exp([theta[:3] - half[:3], theta[:3] + half[:3]]).T, *np.array([theta - half, theta + half]).T[3:]]
    found = [squares.e_ci, squares.a_ci, squares.b_ci, squares.alpha_ci, squares.beta_ci]
    assert np.array(found) == pytest.approx(np.array(expected), rel=1e-4)
    document = fit_as_json(fit_sweep(budget_flops, n_params, n_tokens, loss))["estimators"]
    assert document["surface_squares"]["E_ci"] == list(squares.e_ci)
    assert document["surface"]["alpha_ci"][0] < document["surface"]["alpha"] < document["surface"]["alpha_ci"][1]


@pytest.mark.slow(5)
def test_statistical_intervals_hold_what_they_say():
    held = []
    for seed in range(150):
        low, high = fit_sweep(*ladder(4, 5, seed=seed)).estimators.recommended.estimate.exponent_a_ci
        held.append(low <= 0.5 <= high)
    assert 0.82 <= np.mean(held) <= 0.97


def test_runs_whose_loss_is_stated_less_exactly_weigh_less():
    budget_flops, n_params, n_tokens, loss = ladder(6, 8, sd=0.0)
    generator = np.random.default_rng(1)
    errors = np.where(np.arange(48) % 2, 0.05, 0.002)
    loss = loss + generator.normal(0, errors)
    fit = fit_sweep(budget_flops, n_params, n_tokens, loss, loss_se=errors)
    assert fit.estimators.recommended.outliers == ()
    theta, *_ = scipy_fit(n_params, n_tokens, loss, weights=errors**-2.0)
    assert fit.estimators.recommended.estimate.exponent_a == pytest.approx(theta[4] / (theta[3] + theta[4]), abs=2e-3)


def test_intervals_allow_for_runs_that_share_a_trunk():
    budget_flops, n_params, n_tokens, loss = ladder(8, 6, sd=0.0)
    trunk = np.repeat([f"size {at}" for at in range(8)], 6)
    loss = loss + np.repeat(np.random.default_rng(2).normal(0, 0.01, 8), 6)
    loss += np.random.default_rng(3).normal(0, 0.002, 48)
    apart = fit_sweep(budget_flops, n_params, n_tokens, loss)
    together = fit_sweep(budget_flops, n_params, n_tokens, loss, trunk=trunk.tolist())
    assert finding(together, "shared_trunks").values["correlation"] > 0.5
    assert "shared_trunks" not in codes(apart)
    width = [np.ptp(fit.estimators.surface_squares.estimate.exponent_a_ci) for fit in (apart, together)]
    assert width[1] > 1.3 * width[0]


@pytest.mark.parametrize("n_levels", [5, 7])
def test_a_crossed_grid_about_the_frontier_is_answered_by_the_surface_though_diagonals_have_floors(n_levels):
    steps = 2.0 ** (np.arange(n_levels) - n_levels // 2)
    log_n, log_d = CHINCHILLA.optimum(20.0)
    n_params, n_tokens = np.repeat(10**log_n * steps, n_levels), np.tile(10**log_d * steps, n_levels)
    loss = np.exp(CHINCHILLA.log_loss(np.log(n_params), np.log(n_tokens)))
    fit = fit_sweep(6 * n_params * n_tokens, n_params, n_tokens, loss, targets=[1e21])
    assert sum(profile.n_opt is not None for profile in fit.profiles) >= 2
    assert fit.estimators.recommended.estimator == "surface"
    assert fit.estimators.recommended.estimate.exponent_a == pytest.approx(CHINCHILLA.exponent_a, abs=1e-6)
    assert fit.scorecard == ()
