"""A hint fits the cause that the rows show, where a finding has more than one."""

import numpy as np

from isoflop.fit import fit_sweep
from tests.fit.known_sweeps import BUDGETS, CHINCHILLA, codes, rows_of, stack, surface_sweep, valley, with_noise

FIVE = np.geomspace(1e18, 1e20, 5)
WELL = with_noise(surface_sweep(FIVE), np.random.default_rng(7), 0.001)


def hint(code, columns, **question):
    (finding,) = [one for one in fit_sweep(*columns, **question).findings if one.code == code]
    return finding.hint


def spoilt(columns, places, by):
    bad = np.zeros(len(columns[3]))
    bad[places] = by
    return (*columns[:3], columns[3] + bad)


def test_a_sweep_of_few_floors_is_told_what_its_budgets_need():
    two = surface_sweep(FIVE[:2])
    assert hint("few_budgets", two) == "Add budgets."
    outside = stack(two, rows_of(CHINCHILLA, 1e20, 10 ** (CHINCHILLA.optimum(20.0)[0] + np.linspace(0.2, 1.1, 7))))
    assert "side where the floor is missing" in hint("few_budgets", outside)
    assert "too few runs" in hint("few_budgets", stack(two, valley(1e21, [0.0])))
    assert "no minimum" in hint("few_budgets", stack(two, valley(1e21, curvature=-0.4)))


def test_losses_that_are_all_negative_are_taken_for_another_sign():
    assert "other sign" in hint("no_log_loss", (*WELL[:3], -WELL[3]))
    assert "Look at these rows" in hint("no_log_loss", spoilt(WELL, [3], -10.0))


def test_a_floor_far_outside_its_sizes_moves_the_grid_and_one_near_adds_sizes():
    def with_last(offsets):
        last = rows_of(CHINCHILLA, 1e21, 10 ** (CHINCHILLA.optimum(21.0)[0] + np.asarray(offsets)))
        return stack(WELL, last)

    assert "add 2 smaller models" in hint("unbracketed", with_last(np.linspace(0.1, 1, 7)))
    assert "move the grid towards smaller models" in hint("unbracketed", with_last(np.linspace(1.5, 1.8, 7)))


def test_a_valley_that_a_bad_run_bends_is_not_told_to_be_wider():
    noisy = with_noise(surface_sweep(FIVE), np.random.default_rng(2), 0.003)
    narrow = with_noise(surface_sweep(FIVE, half_width=0.1), np.random.default_rng(2), 0.003)
    assert "outliers" not in codes(fit_sweep(*narrow))
    assert "Widen the range" in hint("flat_valley", narrow)
    bent = spoilt(noisy, [31], 0.15)
    assert {"flat_valley", "outliers"} <= codes(fit_sweep(*bent))
    assert "sets aside" in hint("flat_valley", bent)


def test_noise_beside_a_floor_next_to_the_end_asks_for_sizes_there():
    columns = stack(*(surface_sweep([budget], half_width=0.55, centre=0.5) for budget in FIVE for _ in range(3)))
    assert "add sizes on that side" in hint("noise_fills_valley", with_noise(columns, np.random.default_rng(1), 0.004))
    shallow = stack(*(surface_sweep([budget], half_width=0.05) for budget in FIVE for _ in range(3)))
    assert "Widen" in hint("noise_fills_valley", with_noise(shallow, np.random.default_rng(1), 0.005))


def test_bad_runs_far_from_the_floors_are_told_of_the_window_and_others_how_to_leave_them_out():
    wide = with_noise(surface_sweep(FIVE, half_width=1.2, n_sizes=13), np.random.default_rng(4), 0.001)
    assert "--window 0.6" in hint("outliers", spoilt(wide, [0, 13], 0.3))
    assert "out of the file" in hint("outliers", spoilt(wide, [6], 0.3))


def test_a_further_target_or_fewer_runs_are_asked_for_where_nothing_is_planned():
    columns = with_noise(surface_sweep(BUDGETS), np.random.default_rng(3), 0.001)
    nothing = {"suggest": 2, "trainable": lambda budget, n_params: None}
    assert "planned" not in hint("nothing_to_suggest", columns, **nothing)
    assert "planned" in hint("nothing_to_suggest", columns, planned=[(1e19, 1e9)], **nothing)
