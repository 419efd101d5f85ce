"""The tables of a plan, as data and as a terminal shows them."""

import io

import pytest
from rich.console import Console

from isoflop.plan.types import Plan
from isoflop.view.drawing import table_block
from isoflop.view.plan_tables import plan_tables
from tests.report_examples import column, make_cell, planned_otherwise

RATES = {0.01: "0.01", 0.0026: "0.0026", 0.000419: "0.00042", 3e-5: "3e-5", 7.31e-6: "7.3e-6"}
PLAN = Plan("demo", tuple(planned_otherwise(make_cell(1e12, 32), learning_rate=rate) for rate in RATES), (), ())


def test_the_peak_rate_of_every_run_has_two_digits_however_small() -> None:
    [table] = plan_tables(PLAN, {})
    assert column(table, "rate") == list(RATES.values())


@pytest.mark.parametrize("width", [80, 160])
def test_rates_are_shown_whole_whatever_the_width(width: int) -> None:
    console = Console(file=io.StringIO(), width=width)
    for table in plan_tables(PLAN, {}):
        console.print(table_block(table, console))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    [place] = [line.split().index("rate") for line in lines if line.split()[:1] == ["budget"]]
    rows = [line.split() for line in lines if line.startswith("1.00e12")]
    assert [row[place] for row in rows] == list(RATES.values())
