"""Tables that say how often their runs read their tokens."""

from pathlib import Path

import pytest

from isoflop.errors import IsoflopError
from isoflop.fit import Question
from isoflop.sources.load import load_source
from isoflop.sources.source import Row, fit_source

HEADER = "budget_flops,n_params,n_tokens,loss"


def load(folder: Path, *lines: str):
    path = folder / "runs.csv"
    path.write_text("\n".join(lines) + "\n")
    return load_source(str(path), db=folder / "none.db", sweep=None)


def unique_of(source) -> tuple[float, ...]:
    return source.columns_of_fit["unique_tokens"]


def test_unique_tokens_are_read_and_unknown_where_the_cell_is_empty(tmp_path: Path) -> None:
    source = load(tmp_path, f"{HEADER},unique_tokens", "1e18,1e8,2e9,2.5,1e9", "1e18,2e8,1e9,2.5,")
    assert [row.unique_tokens for row in source.rows] == [1e9, None]
    assert unique_of(source) == (1e9, 0.0)


def test_epochs_say_the_same(tmp_path: Path) -> None:
    source = load(tmp_path, f"{HEADER},epochs", "1e18,1e8,2e9,2.5,4", "1e18,2e8,1e9,2.5,", "1e18,2e8,1e9,2.5,0.5")
    assert unique_of(source) == (5e8, 0.0, 2e9)


def test_of_both_unique_tokens_count_and_epochs_fill_their_gaps(tmp_path: Path) -> None:
    source = load(tmp_path, f"{HEADER},epochs,unique_tokens", "1e18,1e8,2e9,2.5,4,1e9", "1e18,2e8,1e9,2.5,2,")
    assert unique_of(source) == (1e9, 5e8)


@pytest.mark.parametrize("column", ["unique_tokens", "epochs"])
def test_what_is_no_such_number_is_refused_with_its_place(tmp_path: Path, column: str) -> None:
    with pytest.raises(IsoflopError, match=f"line 2: {column} = '-1'"):
        load(tmp_path, f"{HEADER},{column}", "1e18,1e8,2e9,2.5,-1")


def test_a_run_put_at_another_budget_repeats_its_tokens_as_often() -> None:
    row = Row(1e18, 1e8, 2.02e9, 2.5, as_read=(9.9e17, 2e9, 2.5), unique_tokens=5e8)
    assert row.n_tokens / row.fresh_tokens == pytest.approx(4, rel=1e-12)


def test_a_table_of_repeated_data_is_fitted_without_its_repeats() -> None:
    path = Path(__file__).parents[1] / "data" / "cases" / "24-repeated-data" / "input.csv"
    source = load_source(str(path), db=Path("none.db"), sweep=None)
    fit = fit_source(source, Question(targets=(1e20,)))
    assert fit.estimators.recommended is not None
    assert fit.estimators.recommended.estimate.exponent_a == pytest.approx(0.5, abs=0.001)
    assert "epochs_left_out" in {finding.code for finding in fit.findings}


@pytest.mark.parametrize("name", ["num_epochs", "Epoch", "train_epochs", "n_epochs"])
def test_epochs_are_known_by_their_usual_names(tmp_path: Path, name: str) -> None:
    source = load(tmp_path, f"{HEADER},{name}", "1e18,1e8,2e9,2.5,4", "1e18,2e8,1e9,2.5,1")
    assert unique_of(source) == (5e8, 1e9)
    assert name in {finding.code: finding.message for finding in source.findings}["columns_matched"]


@pytest.mark.parametrize("name", ["dataset_tokens", "num_unique_tokens", "Unique Tokens"])
def test_unique_tokens_are_known_by_their_usual_names(tmp_path: Path, name: str) -> None:
    assert unique_of(load(tmp_path, f"{HEADER},{name}", "1e18,1e8,2e9,2.5,1e9")) == (1e9,)


def test_of_several_columns_of_epochs_none_is_guessed(tmp_path: Path) -> None:
    assert unique_of(load(tmp_path, f"{HEADER},epoch,num_epochs", "1e18,1e8,2e9,2.5,4,2")) == (0.0,)


def test_unique_tokens_in_another_unit_are_named_as_not_read_until_they_are_scaled(tmp_path: Path) -> None:
    source = load(tmp_path, f"{HEADER},unique_tokens_B", "1e18,1e8,2e9,2.5,1", "1e18,2e8,1e9,2.5,0.5")
    (found,) = (finding for finding in source.findings if finding.code == "unread_repeats")
    assert "--column unique_tokens='unique_tokens_B*1e9'" in found.hint


def test_unique_tokens_that_would_be_read_a_billion_times_are_refused_with_their_unit(tmp_path: Path) -> None:
    with pytest.raises(IsoflopError, match="as if they were in billions") as refused:
        load(tmp_path, f"{HEADER},unique_tokens", "1e18,1e8,2e9,2.5,1", "1e18,2e8,1e9,2.5,0.5")
    assert "--column unique_tokens='unique_tokens*1e9'" in refused.value.hint
