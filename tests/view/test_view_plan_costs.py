"""What a plan costs, as text and as a document, worked out by hand."""

from dataclasses import replace

from isoflop.plan.estimate import BudgetCost, Estimate
from isoflop.plan.pace import Basis
from isoflop.view.plan_costs import Price
from isoflop.view.plan_view import plan_document, print_plan
from tests.view.test_view_plan_numbers import printed, view

ESTIMATE = Estimate(
    seconds=7200.0,
    measured=True,
    devices=("Some GPU",) * 2,
    device_hours=3.5,
    bases={Basis.MEASURED: 1, Basis.INTERPOLATED: 1},
    by_budget=(BudgetCost(1e12, 1, 0.5), BudgetCost(1e13, 1, 3.0)),
)
PAGE = replace(view(), estimate=ESTIMATE)


def test_a_plan_says_what_it_costs_where_somebody_asks_for_costs() -> None:
    said = printed(print_plan, replace(PAGE, costs_in_full=True, price=Price(2.0, "--price")))
    assert any(line.startswith("about 2h 00m on 2 x Some GPU (measured, 1 run interpolated), ") for line in said)
    assert "3.5 device-hours (measured, 1 run interpolated), 7.00 at 2 an hour (--price)" in said
    rows = [line.split() for line in said[said.index("Cost by budget") + 3 :][:2]]
    assert rows == [["1.00e12", "1", "0.5", "0.5", "1.00"], ["1.00e13", "1", "3", "3.5", "6.00"]]


def test_without_a_question_of_costs_the_page_is_as_it_was() -> None:
    said = printed(print_plan, PAGE)
    assert not any("device-hours" in line or "Cost" in line for line in said)


def test_the_document_has_costs_whoever_asks() -> None:
    page = replace(PAGE, price=Price(2.0, "--price"), not_measured=("2x8: its trial failed.",))
    left = plan_document(page)["estimate"]
    assert (left["device_hours"], left["price"], left["price_per_device_hour"]) == (3.5, 7.0, 2.0)
    assert left["by_budget"][1] == {"budget_flops": 1e13, "n_runs": 1, "device_hours": 3.0, "price": 6.0}
    assert left["rests_on"] == {"finished": 0, "measured": 1, "interpolated": 1, "guessed": 0}
    assert left["not_measured"] == ["2x8: its trial failed."]
    free = plan_document(PAGE)["estimate"]
    assert (free["price"], free["price_per_device_hour"], free["price_source"]) == (None, None, None)
