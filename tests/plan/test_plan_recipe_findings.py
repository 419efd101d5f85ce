"""A plan far beyond the compute where the recipe was compared says so, with what a published rule would take."""

import pytest

from isoflop.corpus_facts import CorpusFacts
from isoflop.plan.planner import make_plan
from isoflop.plan.recipe_findings import published_batch_tokens, published_rate
from isoflop.plan.types import Plan
from isoflop.spec import parse_spec

CORPUS = CorpusFacts(fingerprint="0" * 16, n_train_tokens=10**15, n_heldout_tokens=10**9, bytes_per_token=1.0)


def planned(*budgets: float, trainer: str = "builtin", context: int = 256, **recipe: object) -> Plan:
    content = {
        "name": "s", "budgets": list(budgets), "trainer": trainer, "model": {"context_length": context},
        "recipe": recipe,
    }  # fmt: skip
    return make_plan(parse_spec(content, source="s.toml"), CORPUS)


def codes(plan: Plan) -> set[str]:
    return {finding.code for finding in plan.findings} & {"recipe_beyond", "many_steps"}


def test_the_published_rule_by_hand_for_a_billion_parameters_on_a_hundred_billion_tokens() -> None:
    # ln 0.58 + 0.571 x 25.3284 = 13.918; ln 1.79 - 0.713 x 20.7233 + 0.307 x 25.3284 = -6.418
    assert published_batch_tokens(1e11) == pytest.approx(1.108e6, rel=0.001)
    assert published_rate(1e9, 1e11) == pytest.approx(1.632e-3, rel=0.001)


@pytest.mark.parametrize("budget", [2.1e13, 1e15, 1e18, 1e20])
def test_a_plan_more_than_a_decade_beyond_is_told_and_sees_the_other_rule(budget: float) -> None:
    plan = planned(1e12, budget)
    (finding,) = [finding for finding in plan.findings if finding.code == "recipe_beyond"]
    values = finding.values
    runs = [cell.run for cell in plan.cells if cell.budget_flops == budget]
    assert values["budgets"] == [budget]
    assert values["batch_tokens"] == [min(run.batch_tokens for run in runs), max(run.batch_tokens for run in runs)]
    assert values["published_batch_tokens"] == [
        pytest.approx(0.58 * least(run.n_tokens for run in runs) ** 0.571) for least in (min, max)
    ]
    hidden = [run.optimizer.learning_rate * run.optimizer.hidden_rate_scale for run in runs]
    assert values["hidden_learning_rate"] == [min(hidden), max(hidden)]
    assert "2503.04715" in finding.message


@pytest.mark.parametrize(
    "plan",
    [
        planned(1e12, 1.9e13),
        planned(1e18, trainer="simulated"),
        planned(1e18, base_tokens=1e9, base_batch_tokens=1e5),
        planned(1e18, base_batch_tokens=1e4, batch_exponent=0.5),
    ],
    ids=["near", "nothing is trained", "anchored elsewhere", "another exponent"],
)
def test_a_plan_near_it_or_with_a_rule_of_its_own_is_not(plan: Plan) -> None:
    assert "recipe_beyond" not in codes(plan)


def test_other_optimizers_have_no_rate_of_that_rule_beside_theirs() -> None:
    (finding,) = [one for one in planned(1e15, optimizer="sgd").findings if one.code == "recipe_beyond"]
    assert "rate" not in finding.message.split("would take")[1]
    assert "published_learning_rate" not in finding.values


@pytest.mark.parametrize(("batch", "many"), [(192, True), (20_000, False)])
def test_more_than_a_million_steps_are_told(batch: float, many: bool) -> None:
    plan = planned(1e19, context=2048, base_batch_tokens=batch)
    most = max(cell.run.n_steps for cell in plan.cells)
    assert (most > 1_000_000) == many
    assert ("many_steps" in codes(plan)) == many
    if many:
        (finding,) = [one for one in plan.findings if one.code == "many_steps"]
        assert finding.values["most_steps"] == most
