"""The tables of a fit on narrow terminals: columns go, words and numbers stay whole."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from isoflop.decision.cost import CostRates
from isoflop.fit import fit_sweep
from isoflop.fit.laws import PUBLISHED
from isoflop.report.comparison import compare_summaries, difference_table, laws_table
from isoflop.report.summary import Questions, Summary, summarize
from isoflop.sources.load import load_source
from isoflop.view.drawing import table_block
from isoflop.view.table import Table
from tests.report_examples import GENERATED_AT, points_of, save_troubled_sweep, summary_of

DATA = Path(__file__).parent.parent / "data"
TITLES = {
    "Frontier", "Targets", "Published laws", "Sizes nearly as good", "Shapes for 1.00e23 FLOPs", "Cost",
    "Smaller models", "Model for deployment", "Repeated data", "Profiles", "Next runs, for N_opt at 1.00e23 FLOPs",
    "Scorecard", "Conventions", "Frontiers", "Against llama3.csv",
}  # fmt: skip


def asked_everything() -> Summary:
    """A fit of 133 published runs, and an answer to whatever a reader can ask of it."""
    source = load_source(str(DATA / "llama3.csv"), db=Path("isoflop.db"), sweep=None)
    columns = source.columns_of_fit
    rows = (columns[name] for name in ("budget_flops", "n_params", "n_tokens", "loss"))
    questions = Questions(PUBLISHED, CostRates(989e12, 0.4, 2.5, 1024), 1e11, 1e13)
    fit = fit_sweep(*rows, targets=(1e23,), suggest=3)
    return summarize(source, fit, generated_at=GENERATED_AT, questions=questions)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Table, ...]:
    db = tmp_path_factory.mktemp("narrow") / "isoflop.db"
    save_troubled_sweep(db)
    first, second = asked_everything(), summary_of(load_source(str(db), db=db, sweep=None))
    other = summary_of(points_of(1e12, 1e13, 1e14, 1e15, label="chinchilla_isoflop.csv"))
    level = first.fit.level
    compared = laws_table([first, other]), difference_table(compare_summaries([first, other], []), level)
    return *first.fit_tables, *second.fit_tables, *compared


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
def test_no_word_and_no_number_is_broken(tables: tuple[Table, ...], width: int) -> None:
    assert {table.title for table in tables} >= TITLES, {table.title for table in tables}
    for table in tables:
        lines = drawn(table, width)
        assert max(map(len, lines)) <= width
        broken = [word for line in lines for word in line.split() if set(word) != {"─"} and word not in words(table)]
        assert not broken, (table.title, "\n".join(lines))


def test_a_frontier_in_40_columns_keeps_the_exponent_and_its_interval(tables: tuple[Table, ...]) -> None:
    lines = drawn(tables[0], 40)
    assert lines[2].split() == ["estimator", "a", "90", "%", "interval"]
    said = " ".join(lines).partition("Left out on this narrow screen: ")[2]
    assert said == "b, N_opt at 3.00e22, runs." or said.startswith("b, N_opt at ")
    assert "Left out" not in "".join(drawn(tables[0], 100))


def drawn(table: Table, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(table_block(table, console))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def words(table: Table) -> set[str]:
    return {word for text in texts(table) for word in text.split()}


def texts(table: Table) -> Iterator[str]:
    yield from (table.title, table.note or "", "Left out on this narrow screen:")
    yield from (f"{column.heading}{mark}" for column in table.columns for mark in ("", ",", "."))
    for row in table.rows:
        yield from row


def test_what_is_not_essential_goes_before_what_is(tables: tuple[Table, ...]) -> None:
    [targets] = [table for table in tables if table.title == "Targets" and table.rows[0][0] == "1.00e23"]
    headings = {width: drawn(targets, width)[2] for width in (80, 120, 160)}
    assert "statistical" not in headings[120] and "statistical" in headings[160]
    assert all("parabola" in heading and "D/N" in heading for heading in headings.values())
