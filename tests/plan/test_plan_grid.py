"""Which sizes, how many tokens, at which batch and rate."""

import math
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoflop.corpus_facts import CorpusFacts
from isoflop.plan.planner import make_plan
from isoflop.plan.recipe import BUDGET_TOLERANCE, batch_tokens_rule
from isoflop.plan.shapes import ShapeRule, nearest_shape
from isoflop.plan.types import Limit, Plan, Role
from isoflop.spec import ModelSpec, SweepSpec, parse_spec

CORPUS = CorpusFacts(fingerprint="0" * 16, n_train_tokens=30_000_000, n_heldout_tokens=600_000, bytes_per_token=1.0)
LARGE_CORPUS = CorpusFacts(fingerprint="1" * 16, n_train_tokens=10**15, n_heldout_tokens=10**9, bytes_per_token=4.0)


def spec_of(**changes: object) -> SweepSpec:
    content = {"name": "s", "budgets": [1e11, 3e11, 1e12], "model": {"context_length": 128}, **changes}
    return parse_spec(content, source="test")


def plan_of(corpus: CorpusFacts = CORPUS, memory_limit: float | None = None, **changes: object) -> Plan:
    return make_plan(spec_of(**changes), corpus, memory_limit=memory_limit)


def sizes_by_budget(plan: Plan) -> dict[float, list[int]]:
    sizes = defaultdict(list)
    for cell in plan.cells:
        sizes[cell.budget_flops].append(cell.run.shape.n_params_total)
    return dict(sizes)


@pytest.mark.parametrize("count", ["total", "matmul", "non_embedding"])
def test_any_size_from_six_thousand_to_a_billion_is_hit_within_ten_per_cent(count: str) -> None:
    rule = ShapeRule(ModelSpec(context_length=128), 257, count)  # type: ignore[arg-type]
    wanted = [6e3 * 1.05**i for i in range(246)]
    misses = [abs(math.log(nearest_shape(rule, n).n_params(count) / n)) for n in wanted]  # type: ignore[arg-type]
    assert wanted[-1] > 9e8
    assert max(misses) < 0.1
    assert sorted(misses)[len(misses) // 2] < 0.01


def test_five_thousand_parameters_can_be_built() -> None:
    rule = ShapeRule(ModelSpec(context_length=128), 257, "total")
    assert nearest_shape(rule, 5e3).n_params_total <= 5_000


def test_sizes_are_even_in_log_n_and_centred_on_the_guess() -> None:
    plan = plan_of(grid={"sizes": 7, "half_width": 0.6, "center_n_params": [2e4, 4e4, 8e4]})
    for centre, sizes in zip((2e4, 4e4, 8e4), sizes_by_budget(plan).values(), strict=True):
        offsets = [math.log10(size / centre) for size in sizes]
        assert offsets == pytest.approx([-0.6, -0.4, -0.2, 0, 0.2, 0.4, 0.6], abs=0.04)


def test_the_centre_buys_the_tokens_per_parameter_that_were_asked_for() -> None:
    plan = plan_of(grid={"sizes": 1, "center_tokens_per_param": 45})
    for cell in plan.cells:
        assert cell.run.n_tokens / cell.run.shape.n_params_total == pytest.approx(45, rel=0.1)


def test_the_rates_of_sgd_and_muon_follow_width_and_depth() -> None:
    """Each weight's own rate over that of width 32 and 2 layers: docs/sweep-file.md has the table."""
    for kind in ("sgd", "muon"):
        spec = spec_of(budgets=[1e11, 1e13], recipe={"optimizer": kind, "momentum": 0.8})
        recipe = spec.recipe
        for cell in make_plan(spec, LARGE_CORPUS).cells:
            run, found = cell.run, cell.run.optimizer
            wider, deeper = run.shape.width / 32, run.shape.n_layers / 2
            rate = recipe.learning_rate * math.sqrt(run.batch_tokens / recipe.base_batch_tokens)
            hidden = found.learning_rate * found.hidden_rate_scale / rate
            rates = {
                "plain": found.learning_rate / rate,
                "hidden": hidden,
                "writing": hidden * found.writing_rate_scale,
                "head": found.learning_rate * found.head_rate_scale / rate,
                "clip": found.grad_clip,
            }
            matrix = 0.02 / 0.02
            expected = {
                "sgd": (wider, 1, 1 / deeper, 1 / wider, math.sqrt(wider)),
                "muon": (1, matrix / math.sqrt(deeper), matrix / deeper, 1 / wider, 1),
            }
            assert tuple(rates.values()) == pytest.approx(expected[kind])
            assert (found.kind, found.momentum) == (kind, 0.8)
            assert found.decay_per_step * run.n_steps == pytest.approx(recipe.decay_per_run)


def test_one_explicit_centre_grows_with_the_root_of_the_budget() -> None:
    plan = plan_of(grid={"sizes": 1, "center_n_params": 2e4})
    sizes = [sizes[0] for sizes in sizes_by_budget(plan).values()]
    assert sizes == pytest.approx([2e4, 2e4 * 3**0.5, 2e4 * 10**0.5], rel=0.08)


def test_every_run_meets_its_budget_within_half_a_per_cent() -> None:
    plan = plan_of(recipe={"min_steps": 30}, budgets=[1e10, 1e11, 1e12, 1e13], grid={"sizes": 9, "half_width": 0.9})
    assert len(plan.cells) > 30
    for cell in plan.cells:
        assert abs(cell.run.planned_flops / cell.budget_flops - 1) <= BUDGET_TOLERANCE
        assert cell.run.n_tokens == cell.run.n_steps * cell.run.batch_tokens


def test_the_stored_recipe_equals_the_rule_at_the_cells_own_n_and_d() -> None:
    spec = spec_of(budgets=[1e11, 1e13])
    recipe = spec.recipe
    assert recipe.optimizer == "adamw"
    for cell in make_plan(spec, LARGE_CORPUS).cells:
        run, optimizer = cell.run, cell.run.optimizer
        rate = recipe.learning_rate * math.sqrt(run.batch_tokens / recipe.base_batch_tokens)
        assert optimizer.learning_rate == pytest.approx(rate)
        width_scale = recipe.base_width / run.shape.width
        assert optimizer.head_rate_scale == pytest.approx(width_scale)
        assert optimizer.hidden_rate_scale == pytest.approx(width_scale * math.sqrt(2 / run.shape.n_layers))
        assert optimizer.decay_per_step * run.n_steps == pytest.approx(recipe.decay_per_run)
        half_a_sequence = run.shape.context_length / 2
        assert run.batch_tokens == pytest.approx(batch_tokens_rule(recipe, run.n_tokens), abs=half_a_sequence * 1.02)
        assert run.schedule.warmup_steps == round(recipe.warmup_fraction * run.n_steps)
        assert run.schedule.cooldown_steps == round(recipe.cooldown_fraction * run.n_steps)


def test_batch_grows_with_d_within_and_across_budgets() -> None:
    plan = plan_of(LARGE_CORPUS, budgets=[1e12, 1e14])
    batches = [(cell.run.n_tokens, cell.run.batch_tokens) for cell in plan.cells]
    assert [batch for _, batch in sorted(batches)] == sorted(batch for _, batch in batches)


def test_planning_twice_gives_the_same_runs() -> None:
    assert plan_of() == plan_of()


def test_an_id_does_not_change_when_the_grid_does() -> None:
    few = {cell.run.run_id for cell in plan_of(grid={"sizes": 3, "half_width": 0.6, "center_n_params": 3e4}).cells}
    many = {cell.run.run_id for cell in plan_of(grid={"sizes": 5, "half_width": 0.6, "center_n_params": 3e4}).cells}
    assert few < many


def test_seeds_and_centre_replicates_are_runs_of_their_own() -> None:
    plan = plan_of(grid={"sizes": 5, "seeds": 2, "center_seeds": 3, "first_seed": 10, "center_n_params": 3e4})
    for budget in (1e11, 3e11, 1e12):
        cells = [cell for cell in plan.cells if cell.budget_flops == budget]
        replicates = [cell for cell in cells if cell.role is Role.REPLICATE]
        assert len(cells) == 5 * 2 + 3
        assert {cell.run.seed for cell in replicates} == {12, 13, 14}
        assert len({cell.run.shape for cell in replicates}) == 1
    assert len(plan.runs) == len(plan.cells)


def test_a_lattice_shares_its_sizes_between_budgets() -> None:
    sizes = sizes_by_budget(plan_of(grid={"sizes": 7, "half_width": 0.6, "lattice": True, "center_n_params": 2e4}))
    lists = list(sizes.values())
    common = sorted({size for sizes in lists for size in sizes})
    assert all(6 <= len(sizes) <= 8 for sizes in lists)
    for sizes_here in lists:
        first = common.index(sizes_here[0])
        assert common[first : first + len(sizes_here)] == sizes_here
    assert set(lists[0]) & set(lists[1])


def test_an_explicit_lattice_is_trained_at_every_budget() -> None:
    sizes = sizes_by_budget(plan_of(grid={"lattice": [1e4, 2e4, 4e4, 8e4, 1.6e5]}))
    assert len({tuple(sizes) for sizes in sizes.values()}) == 1


def test_too_few_steps_is_dropped_with_the_reason() -> None:
    plan = plan_of(budgets=[1e10], grid={"center_n_params": 5e4})
    assert plan.dropped
    assert all("recipe.min_steps = 200" in cell.reason for cell in plan.dropped)
    assert any(finding.code == "few_sizes_planned" for finding in plan.findings)


def test_too_many_epochs_is_dropped_with_the_reason() -> None:
    small = CorpusFacts(fingerprint="2" * 16, n_train_tokens=100_000, n_heldout_tokens=1000, bytes_per_token=1.0)
    plan = plan_of(small)
    assert any("epochs of the corpus" in cell.reason for cell in plan.dropped)
    assert all(cell.epochs <= 4.01 for cell in plan.cells)


def test_more_tokens_than_a_database_counts_are_dropped_with_the_reason() -> None:
    endless = CorpusFacts(fingerprint="2" * 16, n_train_tokens=10**18, n_heldout_tokens=10**18, bytes_per_token=1.0)
    plan = plan_of(endless, budgets=[1e22, 1e25], grid={"lattice": [1e5]}, recipe={"max_epochs": 100})
    [dropped] = plan.dropped
    assert dropped.reason == "1.32e+19 tokens, more than the 9.22e+18 that a database counts"
    assert [cell.run.n_tokens < 2**63 for cell in plan.cells] == [True]


def test_a_batch_with_fewer_sequences_than_devices_is_dropped_with_the_reason() -> None:
    plain = plan_of()
    devices = max(cell.run.batch_sequences for cell in plain.cells)
    shared = plan_of(run={"devices_per_run": devices})
    few = {cell.run.run_id for cell in plain.cells if cell.run.batch_sequences < devices}
    assert 0 < len(few) < len(plain.cells)
    assert {cell.run.run_id for cell in shared.cells} == plain.runs.keys() - few, "ids do not change"
    assert len(shared.dropped) == len(few)
    for cell in shared.dropped:
        assert cell.limit is Limit.RANKS
        assert cell.reason.endswith(f"fewer than run.devices_per_run = {devices}")
    drawn = plan_of(trainer="simulated", run={"devices_per_run": 1000})
    assert not drawn.dropped, "the simulated trainer needs no devices"


def test_what_does_not_fit_the_device_is_dropped_with_the_reason() -> None:
    plan = plan_of(LARGE_CORPUS, memory_limit=2**30, budgets=[1e18], grid={"center_n_params": 5e7})
    assert plan.dropped
    assert all("of memory" in cell.reason for cell in plan.dropped)
    biggest_kept = max(cell.run.shape.n_params_total for cell in plan.cells)
    assert all(cell.shape.n_params_total > biggest_kept for cell in plan.dropped)


@pytest.mark.parametrize(("centre", "side"), [(5e3, "below"), (3e10, "above")], ids=["tiny", "huge"])
def test_a_grid_without_room_on_one_side_is_a_warning(centre: float, side: str) -> None:
    plan = plan_of(LARGE_CORPUS, budgets=[1e11 if centre < 1e6 else 1e24], grid={"center_n_params": centre})
    assert f"no_room_{side}" in {finding.code for finding in plan.findings}


def test_a_sound_grid_has_no_findings() -> None:
    plan = plan_of(grid={"center_tokens_per_param": 45, "half_width": 0.6})
    assert plan.findings == () and plan.dropped == ()


@settings(max_examples=60, deadline=None)
@given(
    budget=st.floats(1e6, 1e24),
    sizes=st.integers(1, 12),
    half_width=st.floats(0, 2),
    ratio=st.floats(0.01, 1e5),
    lattice=st.booleans(),
)
def test_any_grid_gives_a_plan_or_says_why_not(
    budget: float, sizes: int, half_width: float, ratio: float, lattice: bool
) -> None:
    grid = {"sizes": sizes, "half_width": half_width, "center_tokens_per_param": ratio, "lattice": lattice}
    plan = plan_of(budgets=[budget, budget * 3], grid=grid)
    for cell in plan.cells:
        assert abs(cell.run.planned_flops / cell.budget_flops - 1) <= BUDGET_TOLERANCE
    kept = {cell.budget_flops for cell in plan.cells}
    told = {told for finding in plan.findings for told in finding.values["budgets"]}  # type: ignore[attr-defined]
    assert {budget, budget * 3} <= kept | told
