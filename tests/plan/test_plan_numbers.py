"""Numbers of a plan, worked out by hand or by trying everything."""

import math
import random
from itertools import pairwise

import pytest

from isoflop.corpus_facts import CorpusFacts
from isoflop.errors import IsoflopError
from isoflop.plan.estimate import memory_bytes
from isoflop.plan.grid_findings import KeptSizes, rate_findings
from isoflop.plan.guess import ON_A_CORE, guess_seconds
from isoflop.plan.neighbours import neighbours
from isoflop.plan.planner import make_plan, run_of
from isoflop.plan.recipe import batch_tokens_rule, make_recipe
from isoflop.plan.shapes import ShapeRule, buildable, nearest_shape
from isoflop.plan.types import DroppedCell, Extra, Plan, Role
from isoflop.shape import ModelShape
from isoflop.spec import ModelSpec, RecipeSpec, parse_spec
from isoflop.step_library import usable_instructions
from isoflop.sweep.planning import NO_CORPUS
from tests.plan.test_plan_grid import CORPUS, LARGE_CORPUS, plan_of, spec_of
from tests.report_examples import make_cell, planned_otherwise

# 2 layers of width 16, a vocabulary of 257 and 64 tokens of context.
SHAPE = ModelShape(2, 16, 1, 16, 48, 257, 64)


def test_a_guess_is_the_launches_of_every_step_and_the_arithmetic() -> None:
    # a core: 0.8 ms and 1 ms per layer for each step, 5e10 FLOP/s; a GPU: 0.1 ms and 0.33 ms per layer, 1.5e14
    assert ON_A_CORE[""].seconds(SHAPE, 1000, 1e12) == pytest.approx(0.8 + 2 * 1.0 + 20.0)
    assert guess_seconds(SHAPE, 1000, 1e12, "cpu") == ON_A_CORE[usable_instructions()].seconds(SHAPE, 1000, 1e12)
    assert guess_seconds(SHAPE, 1000, 7.5e14, "cuda") == pytest.approx(0.1 + 2 * 0.33 + 5.0)
    # Long enough for its blocks to be compiled first.
    assert guess_seconds(SHAPE, 1000, 6e15, "cuda") == pytest.approx(8.0 + 0.1 + 2 * 0.25 + 15.0)


def test_memory_is_that_of_weights_and_moments_and_of_one_sequence_unless_more_are_named() -> None:
    # weight, gradient and two moments of 4 bytes; activations: 14 widths and 4 hidden sizes per layer, 3 of logits
    weights = 4 * 4 * SHAPE.n_params_total
    activations = 4 * 64 * (2 * (14 * 16 + 4 * 48) + 3 * 257)
    assert memory_bytes(SHAPE) == weights + activations
    assert memory_bytes(SHAPE, 5) == weights + 5 * activations


def fitting(recipe: RecipeSpec, shape: ModelShape, budget: float) -> list[tuple[int, int]]:
    """Every (distance from the ruled batch, whole sequences) that meets the budget within half a per cent."""
    sequence_flops = shape.context_length * shape.flops_per_token
    ruled = max(1, round(batch_tokens_rule(recipe, budget / shape.flops_per_token) / shape.context_length))
    slack = max(1, math.ceil(ruled / 10))
    return [
        (abs(sequences - ruled), sequences)
        for sequences in range(max(1, ruled - slack), ruled + slack + 1)
        if any(
            abs(steps * sequences * sequence_flops / budget - 1) <= 0.005
            for near in [round(budget / (sequences * sequence_flops))]
            for steps in (near - 1, near, near + 1)
            if steps > 0
        )
    ]


def test_a_batch_leaves_its_rule_by_a_tenth_at_most_and_no_farther_than_the_budget_needs() -> None:
    recipe, draw = RecipeSpec(), random.Random(0)
    outcomes = {"none": 0, "ruled": 0, "moved": 0}
    for _ in range(400):
        steps, sequences = 10 ** draw.uniform(0, 2.2), 10 ** draw.uniform(0, 2)
        shape = ModelShape(2, 16, 1, 16, 48, 257, 64)
        tokens = steps * sequences * 64
        spec = recipe.model_copy(update={"base_batch_tokens": sequences * 64, "base_tokens": tokens})
        budget = tokens * shape.flops_per_token
        found, expected = make_recipe(spec, shape, budget), fitting(spec, shape, budget)
        if found is None:
            outcomes["none"] += 1
            assert not expected
            continue
        nearest = min(distance for distance, _ in expected)
        assert (nearest, found.batch_sequences) in expected
        outcomes["moved" if nearest else "ruled"] += 1
    assert min(outcomes.values()) > 30


@pytest.mark.parametrize("centre", [3e4, 7e4])
def test_replicates_stand_at_the_size_nearest_the_centre(centre: float) -> None:
    plan = plan_of(grid={"sizes": 5, "center_seeds": 2, "center_n_params": [centre] * 3, "half_width": 0.5})
    for budget in plan.budgets:
        cells = [cell for cell in plan.cells if cell.budget_flops == budget]
        nearest = min((cell.run.shape.n_params_total for cell in cells), key=lambda n: abs(n / centre - 1))
        assert {c.run.shape.n_params_total for c in cells if c.role is Role.REPLICATE} == {nearest}


def test_epochs_are_tokens_over_those_of_the_corpus_in_the_grid_and_beside_it() -> None:
    shape = nearest_shape(ShapeRule(ModelSpec(context_length=128), 257, "total"), 3e4)
    plan = make_plan(spec_of(), CORPUS, extra=[Extra(2e11, shape, seed=7)])
    assert {cell.role for cell in plan.cells} == {Role.GRID, Role.SUGGESTED}
    for cell in plan.cells:
        assert cell.epochs == pytest.approx(cell.run.n_tokens / 30_000_000, rel=1e-12)


def test_a_run_that_was_predicted_is_planned_as_it_was_or_not_at_all() -> None:
    shape = nearest_shape(ShapeRule(ModelSpec(context_length=128), 257, "total"), 3e4)
    run = run_of(spec_of(), shape, 2e11, CORPUS, seed=7)
    found = {}
    for run_id in (run.run_id, "0" * 12):
        extra = Extra(2e11, shape, seed=7, role=Role.CONFIRM, run_id=run_id)
        plan = make_plan(spec_of(), CORPUS, extra=[extra])
        assert plan.dropped == make_plan(spec_of(), CORPUS).dropped
        found[run_id] = [(cell.run.run_id, cell.budget_flops) for cell in plan.cells if cell.role is Role.CONFIRM]
    assert found == {run.run_id: [(run.run_id, 2e11)], "0" * 12: []}


def test_budgets_are_in_ascending_order_with_those_whose_cells_were_all_dropped() -> None:
    dropped = DroppedCell(3e11, SHAPE, "too large")
    cells = tuple(make_cell(budget, 32) for budget in (1e13, 1e12, 1e11, 1e14))
    assert Plan("s", cells, (dropped,), ()).budgets == (1e11, 3e11, 1e12, 1e13, 1e14)


@pytest.mark.parametrize("side", ["n_train_tokens", "n_heldout_tokens"])
def test_a_text_of_one_sequence_and_its_target_is_enough_and_a_token_less_is_not(side: str) -> None:
    def plan(n_tokens: int) -> Plan:
        facts = {"n_train_tokens": 10**8, "n_heldout_tokens": 10**8, side: n_tokens}
        return plan_of(CorpusFacts(fingerprint="0" * 16, bytes_per_token=1.0, **facts))  # type: ignore[arg-type]

    assert plan(129).sweep == "s"
    with pytest.raises(IsoflopError, match="128 tokens, too few for a sequence of 128"):
        plan(128)


def test_a_held_out_text_is_short_from_one_token_too_few_on() -> None:
    def codes(n_heldout_tokens: int) -> set[str]:
        corpus = CorpusFacts("0" * 16, n_train_tokens=10**9, n_heldout_tokens=n_heldout_tokens, bytes_per_token=1.0)
        return {finding.code for finding in plan_of(corpus, evaluation={"tokens": 4096}).findings}

    assert "short_heldout" not in codes(4096)
    assert "short_heldout" in codes(4095)


def test_the_finding_on_rates_has_the_lowest_and_the_highest_of_those_outside() -> None:
    rates = (1e-6, 3e-6, 1e-3, 0.29, 0.5, 2.0)
    cells = [planned_otherwise(make_cell(1e12, 32), learning_rate=rate) for rate in rates]
    [finding] = rate_findings(cells)
    assert finding.values == {"n_runs": 4, "lowest": 1e-6, "highest": 2.0}
    assert "4 runs of 6" in finding.message
    assert finding.message.endswith("outside 1e-5 to 0.3: 1e-6 to 2.")


def test_sizes_more_than_a_thousandth_off_the_centre_are_beside_it() -> None:
    assert KeptSizes(1e12, 1e6, (998_500, 999_500, 1_000_500, 1_001_500)).n_below == 1
    assert KeptSizes(1e12, 1e6, (998_500, 999_500, 1_000_500, 1_001_500)).n_above == 1


RULE = ShapeRule(ModelSpec(context_length=128), 257, "total")


def test_heads_grow_with_width_as_the_rule_says() -> None:
    heads = {shape.width: (shape.n_heads, shape.head_dim) for shape in buildable(RULE)[1]}
    expected = {16: (1, 16), 64: (4, 16), 120: (8, 16), 128: (4, 32), 512: (8, 64), 1024: (16, 64), 2048: (16, 128)}
    assert {width: heads[width] for width in expected} == expected
    assert (min(heads), max(heads)) == (6, 8192)
    # finer where models are small: a step is between a sixteenth and a third of the width
    widths = sorted(heads)
    assert {(8, 10), (16, 20), (64, 72), (128, 144), (256, 288), (512, 576), (1024, 1152)} <= set(pairwise(widths))
    assert {b - a for a, b in pairwise(widths) if a >= 1024} == {128}


@pytest.mark.parametrize("rule", [RULE, ShapeRule(ModelSpec(context_length=128, aspect_ratio=32), 257, "matmul")])
def test_the_nearest_shape_weighs_a_miss_of_size_against_proportions_twenty_times_as_much(rule: ShapeRule) -> None:
    def cost(shape: ModelShape, n_params: float) -> float:
        # SwiGLU of 8/3 widths; depth 2 at width 16, 4 at 64, 8 at 256, unless the ratio is given
        layers = max(2, shape.width / 32 if rule.model.aspect_ratio else math.sqrt(shape.width) / 2)
        off = abs(math.log(shape.d_ff / (8 / 3 * shape.width))) + abs(math.log(shape.n_layers / layers))
        return abs(math.log(shape.n_params(rule.count) / n_params)) + off / 20

    draw = random.Random(1)
    shapes = buildable(rule)[1]
    for n_params in [10 ** draw.uniform(5.5, 8) for _ in range(25)]:
        # those farther off than 5 % do not compete
        near = [shape for shape in shapes if abs(shape.n_params(rule.count) / n_params - 1) < 0.05]
        best = min(cost(shape, n_params) for shape in near)
        assert cost(nearest_shape(rule, n_params), n_params) == pytest.approx(best, rel=1e-12)
        for found, side in zip(neighbours(rule, n_params), (False, True), strict=True):
            costs = [cost(shape, n_params) for shape in near if (shape.n_params(rule.count) > n_params) is side]
            assert found is not None
            if costs:
                assert cost(found, n_params) == pytest.approx(min(costs), rel=1e-12)


def test_shapes_beyond_those_of_sweeps_have_the_heads_that_the_sweep_file_names() -> None:
    rule = ShapeRule(ModelSpec(context_length=128, head_dim=64), 257, "total")
    for shape in neighbours(rule, 5e12):
        assert shape is not None
        assert (shape.head_dim, shape.n_heads) == (64, round(shape.width / 64))


def test_a_lattice_of_one_size_per_budget_has_two_ends_at_least() -> None:
    plan = plan_of(LARGE_CORPUS, grid={"sizes": 2, "half_width": 0.3, "lattice": True, "center_n_params": [4e4] * 3})
    sizes = {cell.run.shape.n_params_total for cell in plan.cells}
    assert sorted(sizes) == [pytest.approx(4e4 / 10**0.3, rel=0.05), pytest.approx(4e4 * 10**0.3, rel=0.05)]


def test_a_suggested_size_of_a_ladder_without_arguments_stays_that_size() -> None:
    ladder = [{"n_params": 1000 * 2**n, "flops_per_token": 6000 * 2**n} for n in range(6)]
    sweep = {
        "name": "own", "budgets": [6e9], "trainer": "command", "command": {"argv": ["true", "{n_params}"]},
        "grid": {"lattice": [4000, 8000, 16000, 32000]}, "ladder": ladder,
    }  # fmt: skip
    spec = parse_spec(sweep, source="t")
    wanted = spec.ladder[5].model
    assert wanted is not None
    plan = make_plan(spec, NO_CORPUS, extra=[Extra(6e9, wanted, 1)])
    [cell] = [cell for cell in plan.cells if cell.role is Role.SUGGESTED]
    assert cell.run.shape == wanted
    gone = make_plan(spec.model_copy(update={"ladder": spec.ladder[:5]}), NO_CORPUS, extra=[Extra(6e9, wanted, 1)])
    assert not [cell for cell in gone.cells if cell.role is Role.SUGGESTED]
