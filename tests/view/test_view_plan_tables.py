"""The tables of a plan, as data and as a terminal shows them."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from isoflop.plan.types import Plan
from isoflop.run_spec import CommandRun
from isoflop.shape import LadderModel, ModelShape
from isoflop.view.drawing import table_block
from isoflop.view.plan_tables import plan_tables
from isoflop.view.table import Column, Table
from tests.report_examples import column, make_cell, planned_otherwise

RATES = {0.01: "0.01", 0.0026: "0.0026", 0.000419: "0.00042", 3e-5: "3e-5", 7.31e-6: "7.3e-6"}
PLAN = Plan("demo", tuple(planned_otherwise(make_cell(1e12, 32), learning_rate=rate) for rate in RATES), (), ())


def test_the_peak_rate_of_every_run_has_two_digits_however_small() -> None:
    [table] = plan_tables(PLAN, {})
    assert column(table, "rate") == list(RATES.values())


def test_the_note_below_speaks_of_nothing_that_a_program_decides_for_itself() -> None:
    [table] = plan_tables(PLAN, {})
    assert table.note.startswith("Shape: layers x width/MLP. Batch and D: in tokens. Rate: peak learning rate")
    run = CommandRun(
        trainer="command", shape=LadderModel(1000, 6000, {"depth": 4}), n_tokens=10**6, seed=0, argv=("x",),
        code_hash="",
    )  # fmt: skip
    [table] = plan_tables(Plan("own", (replace(PLAN.cells[0], run=run),), (), ()), {})
    assert column(table, "rate") == ["-"]
    assert table.note == "Shape: keys of the ladder. D: in tokens. Steps, batch and rate are the program's."


@pytest.mark.parametrize("width", [80, 160])
def test_rates_are_shown_whole_whatever_the_width(width: int) -> None:
    console = Console(file=io.StringIO(), width=width)
    for table in plan_tables(PLAN, {}):
        console.print(table_block(table, console))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    [place] = [line.split().index("rate") for line in lines if line.split()[:1] == ["budget"]]
    rows = [line.split() for line in lines if line.startswith("1.00e12")]
    assert [row[place] for row in rows] == list(RATES.values())


# As large as anyone plans: 1e25 FLOPs, tens of billions of parameters, millions of steps.
LARGE = Plan(
    "large",
    tuple(
        planned_otherwise(
            make_cell(1e25, 32),
            learning_rate=0.000419,
            shape=ModelShape(80, 8192, 64, 128, d_ff, 257, 2048),
            n_steps=1_234_567,
            batch_sequences=512,
        )
        for d_ff in (21760, 21888)
    ),
    (),
    (),
)


def drawn(plan: Plan, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    for table in plan_tables(plan, {}):
        console.print(table_block(table, console))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 160])
def test_no_run_id_is_broken_and_no_line_is_wider_than_the_screen(width: int) -> None:
    lines = drawn(LARGE, width)
    assert max(map(len, lines)) <= width
    rows = [line.split() for line in lines if line.startswith("1.00e25")]
    assert [row[-1] for row in rows] == [cell.run.run_id for cell in LARGE.cells]
    assert "1.00e25" in rows[0] and "80x8192/21760" in rows[0]
    [heading] = [line.split() for line in lines if line.split()[:1] == ["budget"]]
    assert len(heading) == len(rows[0]), "every column that is shown has its value on the same line"


@pytest.mark.parametrize("width", [40, 80, 160])
def test_shapes_that_differ_in_their_mlp_alone_look_different(width: int) -> None:
    ids = {cell.run.run_id for cell in LARGE.cells}
    rows = [" ".join(word for word in line.split() if word not in ids) for line in drawn(LARGE, width)]
    shapes = [word for row in rows if row.startswith("1.00e25") for word in row.split() if "x8192" in word]
    assert shapes == ["80x8192/21760", "80x8192/21888"]


def test_columns_go_by_rank_and_only_where_they_must() -> None:
    table = Table("t", (Column("a"), Column("b", spare=1), Column("c", spare=2)), (("1" * 10, "2" * 10, "3" * 10),))
    for width, shown in ((36, "abc"), (34, "abc"), (33, "ab"), (22, "ab"), (21, "a"), (10, "a")):
        console = Console(file=io.StringIO(), width=width)
        console.print(table_block(table, console))
        heading = console.file.getvalue().splitlines()[2]  # type: ignore[attr-defined]
        assert "".join(heading.split()) == shown, width
