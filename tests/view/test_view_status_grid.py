"""The grid of a sweep as text, and the places in it."""

import dataclasses
from pathlib import Path

import pytest

from isoflop.plan.types import Plan, Role
from isoflop.status.positions import Position
from isoflop.status.work import Activity
from isoflop.store import Standing, open_store
from isoflop.view.status_grid import MOST_COLUMNS, grid_lines, legend
from tests.report_examples import make_cell, make_result, save_sweep
from tests.status.status_examples import shown, status_of


def test_seeds_share_a_place_with_their_mean_and_probes_have_their_own(tmp_path: Path) -> None:
    seeds = [make_cell(1e12, 64, seed=seed, role=role) for seed, role in enumerate([Role.GRID, *2 * [Role.REPLICATE]])]
    probe, other = make_cell(1e12, 64, seed=9, role=Role.PROBE), make_cell(1e12, 96)
    losses = {seeds[0]: 2.0, seeds[1]: 2.3, probe: 1.0, other: 2.2}
    results = [make_result(cell, val_loss=loss) for cell, loss in losses.items()]
    spec = save_sweep(tmp_path / "x.db", [*seeds, probe, other], results)
    status = status_of(tmp_path, spec)
    found = {(place.n_params, place.role in (Role.GRID, Role.REPLICATE)): place for place in status.positions}
    shared, probed, larger = (
        found[seeds[0].run.shape.n_params_total, True],
        found[seeds[0].run.shape.n_params_total, False],
        found[other.run.shape.n_params_total, True],
    )
    assert (shared.loss, shared.n_used, len(shared.cells), shared.lowest) == (pytest.approx(2.15), 2, 3, True)
    assert (probed.loss, probed.state, probed.lowest) == (None, Standing.CHECK, False)
    assert (larger.loss, larger.lowest) == (2.2, False)
    text = shown(status)
    assert "2.1500*" in text and "2 of 3" in text and "(1.0000)" in text
    with open_store(tmp_path / "x.db", write=True) as store:
        store.record(make_result(seeds[2], val_loss=2.6))
    assert "mean of 3" in shown(status_of(tmp_path, spec))


def test_a_confirm_run_has_a_row_of_its_budget_with_its_loss_and_is_never_the_lowest(tmp_path: Path) -> None:
    used, waiting = make_cell(1e12, 64), dataclasses.replace(make_cell(1e13, 128), role=Role.CONFIRM)
    confirm = dataclasses.replace(make_cell(1e13, 96), role=Role.CONFIRM)
    spec = save_sweep(tmp_path / "x.db", [used], [])
    with open_store(tmp_path / "x.db", write=True) as store:
        store.save_plan(spec, Plan(spec.name, (used, confirm, waiting), (), ()))
        for cell, loss in ((used, 2.0), (confirm, 1.5)):
            store.record(make_result(cell, val_loss=loss))
    text = shown(status_of(tmp_path, spec))
    assert "2.0000*" in text and "1.5000 " in text and "1.5000*" not in text
    row = text[text.index("1.00e13") :].splitlines()[:3]
    assert "1.5000" in row[1] and "pending" in row[1]
    assert row[2].split() == ["confirm", "confirm"]


def places(n_budgets: int, n_sizes: int) -> list[Position]:
    return [
        Position(10.0 ** (12 + budget), 1000 + size, Role.GRID, (), Standing.USED, 2.0 + size / 1e4, 1, size == 0)
        for budget in range(n_budgets)
        for size in range(n_sizes)
    ]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_many_sizes_are_wrapped_and_none_is_lost(tmp_path: Path, width: int) -> None:
    cells = [make_cell(1e12, 16 + 8 * index) for index in range(25)]
    results = [make_result(cell, val_loss=2.0 + index / 1e4) for index, cell in enumerate(cells)]
    spec = save_sweep(tmp_path / "x.db", cells, results)
    text = shown(status_of(tmp_path, spec), width)
    assert all(f"{2.0 + index / 1e4:.4f}" in text for index in range(25))
    assert text.count("1.00e12 ") == 1


def test_a_large_grid_has_a_letter_per_size_and_the_lowest_loss_of_each_budget() -> None:
    lines = [line.plain for line in grid_lines(places(10, 1000), {}, 80)]
    assert max(map(len, lines)) <= 80
    assert sum(line.count("u") for line in lines) == 10 * 999
    assert sum(line.count("*") for line in lines) == 10
    assert sum("2.0000 at 1.00k" in line for line in lines) == 10
    assert len(lines) <= 10 * 15


@pytest.mark.parametrize(("n_sizes", "large"), [(MOST_COLUMNS, False), (MOST_COLUMNS + 1, True)], ids=str)
def test_the_legend_is_that_of_the_grid_above_it(tmp_path: Path, n_sizes: int, large: bool) -> None:
    (cell,) = status_of(tmp_path, save_sweep(tmp_path / "x.db", [make_cell(1e12, 16)], [])).positions[0].cells
    grid = [dataclasses.replace(place, cells=(cell,)) for place in places(1, n_sizes)]
    assert ("2.0000*" in grid_lines(grid, {}, 80)[1].plain) is not large
    said = legend(grid)
    assert said.startswith("A letter per size, smallest first: u used; *" if large else "N, below it held-out loss")


def test_the_lowest_loss_stands_beside_the_letters_where_two_blanks_fit_between() -> None:
    grid, lowest = places(1, MOST_COLUMNS + 1), "2.0000 at 1.00k"
    # `1.00e12 ` and a letter per size, two blanks, the lowest loss
    width = len("1.00e12 ") + len(grid) + 2 + len(lowest)
    (line,) = [line.plain for line in grid_lines(grid, {}, width)]
    assert line == f"1.00e12 *{'u' * MOST_COLUMNS}  {lowest}"
    assert [line.plain for line in grid_lines(grid, {}, width - 1)][1:] == [f"        {lowest}"]


def test_every_state_has_a_letter_of_its_own_in_a_large_grid() -> None:
    kinds = [*Standing, *Activity]
    many = [dataclasses.replace(place, state=kinds[i % len(kinds)]) for i, place in enumerate(places(1, 330))]
    first = grid_lines(many, {}, 80)[0].plain.removeprefix("1.00e12 ")
    assert len(set(first[1 : len(kinds) + 1])) == len(kinds)
