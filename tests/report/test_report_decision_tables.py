"""A decision as tables and as JSON."""

import io
import json

import pytest
from rich.console import Console

from isoflop.decision.cost import CostRates
from isoflop.decision.decide import decide
from isoflop.errors import IsoflopError
from isoflop.fit.laws import SurfaceLaw, published_law
from isoflop.report.decision_tables import decision_tables
from isoflop.report.fit_document import decision_as_json
from isoflop.spec import parse_spec
from isoflop.view.document import dumps
from isoflop.view.drawing import table_block

CHINCHILLA = published_law("epoch")
SWEEP = parse_spec({"name": "s", "budgets": [1e11, 1e12]}, source="s.toml")


def full(budget=5.76e23):
    return decide(
        budget_flops=budget,
        n_opt=CHINCHILLA.n_opt(budget),
        d_opt=CHINCHILLA.d_opt(budget),
        surface=CHINCHILLA.surface,
        corpus_tokens=1e11,
        rates=CostRates(989e12, 0.4, 2.5, 1024),
        inference_tokens=1e13,
    )


def bare():
    return decide(budget_flops=1e13, n_opt=3e5, d_opt=5e6, spec=SWEEP, param_count="non_embedding")


def test_what_is_known_has_a_table_and_what_is_not_has_none():
    assert [table.title for table in decision_tables(full())] == [
        "Shapes for 5.76e23 FLOPs", "Cost", "Smaller models", "Model for deployment", "Repeated data",
    ]  # fmt: skip
    assert [table.title for table in decision_tables(bare())] == ["Shapes for 1.00e13 FLOPs"]


@pytest.mark.parametrize("budget", [1e13, 1e18, 5.76e23, 1e27])
def test_no_row_wraps_at_80_columns(budget):
    for table in decision_tables(full(budget)):
        console = Console(width=80, file=io.StringIO(), force_terminal=False)
        console.print(table_block(table, console))
        lines = console.file.getvalue().splitlines()
        first = [row[0] for row in table.rows]
        assert max(map(len, lines)) <= 80
        essential = [cell for row in table.essential().rows for cell in row]
        shown = [line for line in lines if line.split()[:1] and line.split()[0] in first]
        assert len(shown) == len(table.rows)
        assert all(cell in " ".join(shown) for cell in essential)


def test_the_tables_give_the_numbers_of_the_decision():
    shapes, cost, smaller, use, repeats = decision_tables(full())
    assert [row[4][0] + row[4][-2:] for row in shapes.rows] == ["- %", "+ %"]
    assert cost.rows[0][:4] == ("404k", "1.01M", "1024", "16.5")
    assert [row[0] for row in smaller.rows] == ["1", "1/2", "1/4", "1/8"]
    assert smaller.rows[0][3:] == ("1.00x", "1.9741")
    assert smaller.rows[3][2:4] == ("-", "-")
    assert use.rows[0][0] == "10.0T"
    assert repeats.rows[0][2] == "13.3"


def test_the_json_document_has_exactly_these_keys_and_reads_back():
    for decision in (full(), bare()):
        document = json.loads(dumps(decision_as_json(decision)))
        assert list(document) == [
            "budget_flops", "n_opt", "d_opt", "param_count", "buildable", "rates", "cost", "smaller", "inference",
            "repeats", "notes",
        ]  # fmt: skip
        for built, of in zip(document["buildable"], decision.buildable, strict=True):
            assert built["n_tokens"] * built["flops_per_token"] == pytest.approx(decision.budget_flops)
            assert built["shape"]["width"] == of.shape.width
            assert built["n_steps"] * built["batch_tokens"] == pytest.approx(built["n_tokens"], rel=0.005)


def test_what_is_not_known_is_null_or_empty():
    document = decision_as_json(bare())
    assert [document[key] for key in ("rates", "cost", "smaller", "inference", "repeats")] == [
        None,
        None,
        [],
        None,
        None,
    ]
    assert document["param_count"] == "non_embedding"


def test_a_number_that_json_has_no_word_for_is_null():
    decision = decide(budget_flops=1e13, n_opt=3e5, d_opt=float("inf"), spec=SWEEP)
    assert decision_as_json(decision)["d_opt"] is None


def test_a_table_from_elsewhere_counts_every_parameter_and_says_so():
    decision = decide(budget_flops=1e21, n_opt=1e9, d_opt=1e11, param_count="as_given")
    assert decision.param_count == "total"
    assert any("as the file does" in note for note in decision.notes)


@pytest.mark.parametrize("n_opt", [1.0, 1e3, 1e15, 1e20])
@pytest.mark.parametrize("budget", [1.0, 1e12, 1e40])
def test_an_absurd_target_still_gives_tables_and_finite_numbers(budget, n_opt):
    decision = decide(
        budget_flops=budget, n_opt=n_opt, d_opt=budget / 6 / n_opt, surface=CHINCHILLA.surface, corpus_tokens=1.0,
        rates=CostRates(1e15, 0.4, 0), inference_tokens=1e30,
    )  # fmt: skip
    assert decision_tables(decision)
    dumps(decision_as_json(decision))


def test_the_notes_say_what_is_assumed_and_what_repetition_costs():
    notes = full().notes
    assert [note.split()[0] for note in notes] == ["The", "Batch", "13.3"]
    assert bare().notes == ()


@pytest.mark.parametrize(
    "surface",
    [SurfaceLaw(0.0, 1.0, 1.0, alpha=0.3, beta=0.0), SurfaceLaw(0.0, 50.0, 900.0, alpha=3.0, beta=0.001)],
    ids=["more data is no better", "losses beyond a float"],
)
def test_a_surface_that_says_nothing_sensible_is_not_used(surface):
    decision = decide(budget_flops=1e13, n_opt=3e5, d_opt=5e6, spec=SWEEP, surface=surface, inference_tokens=1e9)
    assert (decision.smaller, decision.inference) == ((), None)


@pytest.mark.parametrize("wrong", [{"corpus_tokens": 0.0}, {"inference_tokens": -1.0}], ids=["corpus", "use"])
def test_numbers_that_people_give_are_checked(wrong):
    with pytest.raises(IsoflopError):
        decide(budget_flops=1e21, n_opt=1e9, d_opt=1e11, surface=CHINCHILLA.surface, **wrong)
