"""What a plan warns of: one finding of a kind, whatever the number of budgets."""

from math import log10
from statistics import fmean

import pytest

from isoflop.corpus_facts import CorpusFacts
from isoflop.finding import Finding, Severity
from isoflop.fit import fit_sweep
from isoflop.plan.grid_findings import KeptSizes, grid_findings
from isoflop.plan.planner import make_plan
from isoflop.plan.types import Limit
from isoflop.spec import parse_spec

CORPUS = CorpusFacts(fingerprint="0" * 16, n_train_tokens=10**15, n_heldout_tokens=10**9, bytes_per_token=1.0)
ROOMY = (100, 200, 300, 400, 500, 600)


def found(*grids: KeptSizes) -> dict[str, Finding]:
    findings = list(grid_findings(grids))
    by_code = {finding.code: finding for finding in findings}
    assert len(by_code) == len(findings), "one finding of a kind"
    return by_code


def test_a_roomy_grid_has_no_findings() -> None:
    assert found(KeptSizes(1e12, 300.0, ROOMY), KeptSizes(3e12, 400.0, ROOMY)) == {}


def test_budgets_of_one_kind_share_a_finding_that_names_six_and_counts_the_others() -> None:
    grids = [KeptSizes(10.0**k, 350.0, (200, 300, 400, 500)) for k in range(10, 19)]
    finding = found(*grids, KeptSizes(1e20, 300.0, ROOMY))["few_sizes_planned"]
    assert finding.message == (
        "Fewer than 6 sizes, too few to see a bad run or a skewed valley, are planned at 1.00e10 FLOPs (4 sizes), "
        "1.00e11 FLOPs (4 sizes), 1.00e12 FLOPs (4 sizes), 1.00e13 FLOPs (4 sizes), 1.00e14 FLOPs (4 sizes), "
        "1.00e15 FLOPs (4 sizes) and 3 more budgets."
    )
    assert finding.values == {
        "budgets": [grid.budget_flops for grid in grids], "n_sizes": [4] * 9, "centres": [350.0] * 9, "n_budgets": 9,
    }  # fmt: skip


def test_values_list_fifty_budgets_and_count_all() -> None:
    values = found(*(KeptSizes(1e10 * k, 100.0, (100,)) for k in range(1, 71)))["few_sizes_planned"].values
    assert values["n_budgets"] == 70
    assert values["budgets"] == [1e10 * k for k in range(1, 51)]


def test_one_of_a_thing_is_not_several() -> None:
    findings = found(*(KeptSizes(1e10 * k, 300.0, (200,)) for k in range(1, 8)))
    assert findings["few_sizes_planned"].message.endswith("6.00e10 FLOPs (1 size) and 1 more budget.")
    assert "1.00e10 FLOPs (1 size)" in findings["no_room_below"].message
    assert "1.00e10 FLOPs (0 sizes)" in findings["no_room_above"].message
    assert findings["no_room_above"].values["side"] == "above"


def test_the_centres_own_size_is_on_neither_side() -> None:
    grid = KeptSizes(1e12, 300.1, (100, 200, 300, 400, 500, 600))
    assert (grid.n_below, grid.n_above) == (2, 3)
    assert found(grid) == {}


def test_a_budget_that_keeps_no_size_is_told_once() -> None:
    assert set(found(KeptSizes(1e12, 300.0, ()))) == {"few_sizes_planned"}


@pytest.mark.parametrize("sizes", [4, 5, 6, 7])
def test_a_plan_warns_of_few_sizes_exactly_where_its_fit_will(sizes: int) -> None:
    content = {"name": "s", "budgets": [1e12, 3e12, 1e13], "grid": {"sizes": sizes}}
    plan = make_plan(parse_spec(content, source="t"), CORPUS)
    assert len(plan.cells) == 3 * sizes
    budgets = [cell.budget_flops for cell in plan.cells]
    n_params = [float(cell.run.shape.n_params_total) for cell in plan.cells]
    centres = {
        budget: fmean(log10(n) for b, n in zip(budgets, n_params, strict=True) if b == budget) for budget in budgets
    }
    losses = [2 + (log10(n) - centres[budget]) ** 2 for budget, n in zip(budgets, n_params, strict=True)]
    fit = fit_sweep(budgets, n_params, [float(cell.run.n_tokens) for cell in plan.cells], losses)
    warned = any(finding.code == "few_sizes_planned" for finding in plan.findings)
    assert warned is any(finding.code == "few_sizes" for finding in fit.findings)
    assert warned is (sizes < 6)


def unusual_rates(learning_rate: float) -> dict[str, object] | None:
    content = {"name": "s", "budgets": [1e12], "recipe": {"learning_rate": learning_rate}}
    plan = make_plan(parse_spec(content, source="t"), CORPUS)
    assert all(cell.run.optimizer.learning_rate > 0 for cell in plan.cells)
    return next((dict(finding.values) for finding in plan.findings if finding.code == "unusual_rate"), None)


def test_rates_at_which_hardly_anything_trains_are_a_finding() -> None:
    assert unusual_rates(0.007) is None
    high, low = unusual_rates(5.0), unusual_rates(1e-9)
    assert high is not None and high["n_runs"] == 7 and high["highest"] >= high["lowest"] > 0.3
    assert low is not None and low["highest"] < 1e-5


def findings_of(recipe: dict[str, object], **content: object) -> dict[str, Finding]:
    spec = parse_spec({"name": "s", "budgets": [1e12], "recipe": recipe, **content}, source="t")
    return {finding.code: finding for finding in make_plan(spec, CORPUS).findings}


def test_rates_of_sgd_are_judged_by_what_sgd_trains_with() -> None:
    assert "unusual_rate" not in findings_of({"optimizer": "sgd", "learning_rate": 5.0})
    high = findings_of({"optimizer": "sgd", "learning_rate": 100.0})["unusual_rate"]
    assert "outside 0.001 to 30:" in high.message
    assert "unusual_rate" in findings_of({"optimizer": "muon", "learning_rate": 5.0})
    assert findings_of({"optimizer": "muon", "matrix_learning_rate": 50.0})["unusual_rate"].values["highest"] > 10
    assert "unusual_rate" not in findings_of({"optimizer": "muon"})


def test_a_plan_with_muon_says_that_its_time_is_not_known() -> None:
    assert "muon_time_unknown" in findings_of({"optimizer": "muon"})
    assert "muon_time_unknown" not in findings_of({})


def test_what_sgd_leaves_is_said_where_it_trains() -> None:
    found = findings_of({"optimizer": "sgd"})["sgd_excess_loss"]
    assert (found.severity, found.values["n_runs"]) == (Severity.INFO, 7)
    for one in ({"optimizer": "adamw"}, {"optimizer": "muon"}):
        assert "sgd_excess_loss" not in findings_of(one)
    assert "sgd_excess_loss" not in findings_of({"optimizer": "sgd"}, trainer="simulated")


@pytest.mark.parametrize(
    ("limit", "changes", "corpus", "memory"),
    [
        (Limit.STEPS, {"recipe": {"min_steps": 10**7}}, CORPUS, None),
        (Limit.EPOCHS, {}, CorpusFacts("1" * 16, 10_000, 1000, 1.0), None),
        (Limit.MEMORY, {}, CORPUS, 1e6),
        (Limit.SHAPE, {"grid": {"lattice": [1.0, 2e4, 1e15]}}, CORPUS, None),
        (Limit.WHOLE_STEPS, {"budgets": [1e6], "grid": {"center_n_params": [5e3]}}, CORPUS, None),
    ],
    ids=lambda value: value.name if isinstance(value, Limit) else "",
)
def test_a_dropped_cell_tells_its_kind_of_reason(
    limit: Limit, changes: dict[str, object], corpus: CorpusFacts, memory: float | None
) -> None:
    content = {"name": "s", "budgets": [1e12], "model": {"context_length": 128}, **changes}
    plan = make_plan(parse_spec(content, source="t"), corpus, memory_limit=memory)
    assert limit in {cell.limit for cell in plan.dropped}
    assert Limit.OTHER not in {cell.limit for cell in plan.dropped}
