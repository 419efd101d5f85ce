"""Which shapes a factory is asked for, whatever it makes of them: pure, the factory is a formula."""

import math
from collections.abc import Callable, Sequence

import pytest

from isoflop.corpus_facts import CorpusFacts
from isoflop.plan.candidates import ladder_of_factory
from isoflop.plan.grid import wanted_sizes
from isoflop.plan.planner import make_plan
from isoflop.plan.shapes import shape_rule
from isoflop.shape import CountedShape, ModelShape
from isoflop.spec import SweepSpec, parse_spec

FACTS = CorpusFacts("0123456789abcdef", n_train_tokens=10**12, n_heldout_tokens=10**8, bytes_per_token=1.0)
VOCABULARY = 257


def sweep(**others: object) -> SweepSpec:
    content = {"name": "own", "budgets": [1e15, 1e16, 1e17], "model": {"factory": "models:build"}, **others}
    return parse_spec(content, source="x")


def counts(n_params: Callable[[ModelShape], float]) -> Callable[[Sequence[ModelShape]], list[CountedShape | None]]:
    """A factory whose model for a shape has `n_params`, and takes 6 FLOPs for each."""

    def count(shapes: Sequence[ModelShape]) -> list[CountedShape | None]:
        sizes = [(shape, round(n_params(shape))) for shape in shapes]
        return [CountedShape(size, 6 * size, **shape.as_dict()) if size else None for shape, size in sizes]

    return count


def counted(spec: SweepSpec, n_params: Callable[[ModelShape], float]) -> SweepSpec:
    ladder = ladder_of_factory(spec, VOCABULARY, counts(n_params))
    return spec.model_copy(update={"model": spec.model.model_copy(update={"counted": ladder})})


@pytest.mark.parametrize(
    "n_params",
    [
        lambda shape: shape.n_params_total,
        lambda shape: 12 * shape.n_layers * shape.width**2 + 257 * shape.width,
        lambda shape: 20 * shape.n_params_total,
        lambda shape: shape.n_params_total / 8,
        lambda shape: 5 * shape.n_params_total**0.9,
    ],
    ids=["ours", "without-d_ff", "larger", "smaller", "of-another-power"],
)
def test_sizes_of_a_factory_cover_what_the_grids_ask_for(n_params: Callable[[ModelShape], float]) -> None:
    spec = counted(sweep(), n_params)
    sizes = [shape.n_params_total for shape in spec.model.counted]
    assert sizes == sorted(set(sizes))
    wanted = [size for one in wanted_sizes(spec, shape_rule(spec, VOCABULARY)) for size in one]
    assert sizes[0] <= min(wanted)
    assert sizes[-1] >= 2 * max(wanted)  # a confirm run wants more than the grids
    plan = make_plan(spec, FACTS)
    assert len({run.shape for run in plan.runs.values()}) >= 15
    for run in plan.runs.values():
        assert run.shape in spec.model.counted


def test_heads_share_out_the_width_in_even_parts() -> None:
    for shape in counted(sweep(), lambda shape: shape.n_params_total).model.counted:
        assert shape.n_heads * shape.head_dim == shape.width
        assert shape.head_dim % 2 == 0


def test_a_factory_that_refuses_shapes_offers_the_others() -> None:
    spec = counted(sweep(), lambda shape: shape.n_params_total if shape.width % 8 == 0 else 0)
    assert len(spec.model.counted) > 20
    dropped = make_plan(spec, FACTS).dropped
    assert all("the factory has no model of its own" in cell.reason for cell in dropped)


def test_a_factory_of_one_size_is_a_ladder_of_one() -> None:
    assert len(ladder_of_factory(sweep(), VOCABULARY, counts(lambda shape: 1000))) == 1
    assert ladder_of_factory(sweep(), VOCABULARY, counts(lambda shape: 0)) == ()


def test_runs_of_a_factory_follow_the_recipe_of_their_shape_and_spend_the_budget_as_counted() -> None:
    spec = counted(sweep(), lambda shape: 3 * shape.n_params_total)
    for cell in make_plan(spec, FACTS).cells:
        run = cell.run
        assert run.n_tokens * run.shape.flops_per_token == pytest.approx(cell.budget_flops, rel=0.005)
        assert run.optimizer.hidden_rate_scale == pytest.approx(
            spec.recipe.base_width / run.shape.width * math.sqrt(2 / run.shape.n_layers)
        )


def test_other_code_makes_other_runs_and_no_factory_the_runs_there_were() -> None:
    spec = counted(sweep(), lambda shape: shape.n_params_total)
    models = [spec.model.model_copy(update={"factory_hash": code}) for code in ("a", "b")]
    by_code = [set(make_plan(spec.model_copy(update={"model": model}), FACTS).runs) for model in models]
    assert not by_code[0] & by_code[1]
    assert spec.asks_the_same_as(sweep())
    assert "factory" not in parse_spec({"name": "own", "budgets": [1e11]}, source="x").to_json()
