"""benchmarks/time_to_frontier.py: what it makes of grids with and without a frontier, and of losses never reached."""

from itertools import pairwise

from time_to_frontier import Answer, EqualLoss, Frontier, Row, Size, fitted, table

from isoflop.corpus import Corpus


def valley(budget: float, floor: float, least: float) -> list[Row]:
    """Runs of seven sizes about a floor, or all on one side of it."""
    sizes = [floor * 1.5**step for step in range(-3, 4)]
    return [(budget, size, budget / size / 6, least + 0.1 * (size / floor - 1) ** 2) for size in sizes]


def test_a_grid_whose_floors_lie_beyond_its_sizes_has_losses_and_no_frontier() -> None:
    budgets = (1e10, 3e10, 9e10)
    rows = [row for budget in budgets for row in valley(budget, (budget / 6) ** 0.5, 3.0)]
    whole = fitted(rows)
    assert whole.exponent_a is not None and abs(whole.exponent_a - 0.5) < 0.05 and whole.interval is not None
    assert set(whole.best) == set(budgets)
    flank = fitted([row for budget in budgets for row in valley(budget, (budget / 6) ** 0.5, 3.0)[4:]])
    assert (flank.exponent_a, flank.interval, flank.words) == (None, None, "none")


def test_the_table_says_what_was_never_reached() -> None:
    frontier = Frontier(0.5, (0.4, 0.6), {1e10: 3.0})
    equal = {1e10: EqualLoss(8.0, 5.0, reached=False)}
    answer = Answer(1024, 1e-3, 40.0, 7, Frontier(None, None, {1e10: 3.5}), equal, 200.0)
    lines = list(table(10.0, 7, 1, frontier, {"usual": answer}, 3.0))
    assert "| 10 | 1.00 | 0.500 (0.400 to 0.600) | 3.000 |" in lines[2]
    assert "| 40 | 4.00 | none | 3.500 |" in lines[3]
    assert "more than 8.0 times the FLOPs" in lines[5] and "more than 200 s: more than 20.0 times" in lines[5]


def test_sizes_of_the_script_count_their_parameters(corpus: Corpus) -> None:
    from time_to_frontier import Plain, Script

    sizes = [Script(corpus, 32, 257, 256).size_near(wanted) for wanted in (5e3, 2e4, 1e5)]
    assert all(before.n_params < after.n_params for before, after in pairwise(sizes))
    for size in sizes:
        assert sum(parameter.numel() for parameter in Plain(size).parameters()) == size.n_params
    run = Script(corpus, 32, 257, 256).train(Size(2, 8, 257, 32), 2e7, 64, 1e-3)
    assert abs(run.n_tokens * Size(2, 8, 257, 32).flops_per_token / 2e7 - 1) < 0.1 and 0 < run.loss < 6
