"""What a plan costs, on a page and in JSON: device-hours, money, and what they rest on."""

from collections.abc import Iterator
from dataclasses import dataclass

from isoflop.plan.estimate import Estimate
from isoflop.plan.pace import Basis
from isoflop.units import format_flops, format_hours, plural
from isoflop.view.table import Column, Table


@dataclass(frozen=True)
class Price:
    """What one device costs for one hour, and who says so."""

    per_hour: float
    source: str


def basis_words(estimate: Estimate) -> str:
    """`guessed`, `measured`, or `measured, 12 runs interpolated`."""
    if not estimate.measured:
        return "guessed"
    between = estimate.bases.get(Basis.INTERPOLATED, 0)
    return f"measured, {plural(between, 'run')} interpolated" if between else "measured"


def cost_lines(estimate: Estimate, price: Price | None) -> Iterator[str]:
    """Device-hours, and money where a price is known."""
    hours = f"{format_hours(estimate.device_hours)} device-hours ({basis_words(estimate)})"
    if price is None:
        yield hours
    else:
        yield f"{hours}, {_money(estimate.device_hours, price)} at {price.per_hour:g} an hour ({price.source})"


def cost_table(estimate: Estimate, price: Price | None) -> Table:
    """A row per budget with pending runs, and their sum so far: what a cap would let through."""
    so_far, rows = 0.0, []
    for budget in estimate.by_budget:
        so_far += budget.device_hours
        row = [format_flops(budget.budget_flops), str(budget.n_runs), format_hours(budget.device_hours)]
        rows.append((*row, format_hours(so_far), *([_money(budget.device_hours, price)] if price else [])))
    columns = (Column("budget"), Column("runs"), Column("device-hours"), Column("in all"),
               *([Column("price")] if price else []))  # fmt: skip
    return Table("Cost by budget", columns, tuple(rows), "Runs without a result; in all: with the budgets above.")


def cost_document(estimate: Estimate, price: Price | None) -> dict[str, object]:
    """The fields of `estimate` in JSON that tell of cost."""
    return {
        "device_hours": estimate.device_hours,
        "price": None if price is None else estimate.device_hours * price.per_hour,
        "price_per_device_hour": None if price is None else price.per_hour,
        "price_source": None if price is None else price.source,
        "by_budget": [
            {
                "budget_flops": budget.budget_flops,
                "n_runs": budget.n_runs,
                "device_hours": budget.device_hours,
                "price": None if price is None else budget.device_hours * price.per_hour,
            }
            for budget in estimate.by_budget
        ],
        "rests_on": {basis.value: estimate.bases.get(basis, 0) for basis in Basis},
    }


def _money(hours: float, price: Price) -> str:
    return f"{hours * price.per_hour:,.2f}"
