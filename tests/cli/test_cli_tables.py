"""Tables on the command line: options that choose and turn them, in `fit` and `report` alike."""

import json
from pathlib import Path

import pytest

from tests.commands import isoflop
from tests.sources.tables import REQUIRED, RUNS, case, write


def fit(*words: str, folder: Path, code: int = 0):
    return isoflop("fit", *words, folder=folder, code=code)


def test_a_table_in_other_units_ends_in_an_error_with_its_hint(tmp_path):
    columns = "--column", "n_params=params_M", "--column", "n_tokens=tokens_B"
    said = fit(case(6), *columns, folder=tmp_path, code=1).stderr
    assert "C / (6 N D) is 1e15 in every row" in said
    assert "--column n_params='params_M*1e6' --column n_tokens='tokens_B*1e9'" in said
    document = json.loads(fit(case(6), *columns, "--no-unit-check", "--json", folder=tmp_path).stdout)
    assert document["sources"][0]["n_rows"] == 21


def test_swapped_columns_and_mixed_corpora_fail_a_strict_fit(tmp_path):
    path = write(tmp_path, REQUIRED, [(c, d, n, loss) for c, n, d, loss in RUNS])
    assert "swapped" in fit(path, "--strict", folder=tmp_path, code=4).stdout
    assert "--group corpus" in fit(case(23), "--strict", folder=tmp_path, code=4).stdout
    assert (
        "--higher-is-better" in fit(case(22), "--column", "loss=accuracy", "--strict", folder=tmp_path, code=4).stdout
    )


def test_groups_are_fitted_one_after_the_other_or_compared(tmp_path):
    one_by_one = fit(case(23), "--group", "corpus", "--target", "1e20", folder=tmp_path).stdout
    assert one_by_one.index("IsoFLOP fit of code") < one_by_one.index("IsoFLOP fit of web")
    document = json.loads(fit(case(23), "--group", "corpus", "--json", folder=tmp_path).stdout)
    assert [one["sources"][0]["label"] for one in document["fits"]] == ["code", "web"]
    assert document["comparisons"] == []
    compared = json.loads(fit(case(23), "--group", "corpus", "--compare", "--json", folder=tmp_path).stdout)
    assert [(one["source"], one["baseline"]) for one in compared["comparisons"]] == [("web", "code")]
    assert compared["comparisons"][0]["exponent_a"] == pytest.approx(0, abs=1e-3)


@pytest.mark.slow(6)
def test_a_report_of_groups_has_a_folder_for_each(tmp_path):
    rows = [(*run, name) for name in ("a/b", "a b", "..") for run in RUNS]
    path = write(tmp_path, (*REQUIRED, "corpus"), rows)
    isoflop("report", path, "--group", "corpus", "--out", "out", folder=tmp_path)
    folders = sorted(folder.name for folder in (tmp_path / "out").iterdir())
    assert folders == ["a-b", "a-b-2", "group"]
    titles = {(tmp_path / "out" / folder / "report.md").read_text().partition("\n")[0] for folder in folders}
    assert titles == {"# IsoFLOP fit of a/b", "# IsoFLOP fit of a b", "# IsoFLOP fit of .."}


def test_the_words_of_a_report_follow_what_is_fitted(tmp_path):
    options = "--higher-is-better", "--where", "accuracy!=9", "--target", "1e20"
    isoflop("report", case(22), *options, "--out", "out", folder=tmp_path)
    page = (tmp_path / "out" / "report.md").read_text()
    assert "1 - accuracy" in page
    assert "| rows read | accuracy!=9 |" in page
    assert "1 - accuracy" in (tmp_path / "out" / "index.html").read_text()


@pytest.mark.parametrize(
    "option",
    [("--where", "a=b"), ("--group", "a"), ("--loss-unit", "bits"), ("--higher-is-better",), ("--no-unit-check",)],
    ids=lambda option: option[0],
)
def test_options_for_tables_are_refused_where_there_is_none(simulated, tmp_path, option):
    [sweep] = simulated.glob("*.toml")
    said = isoflop("fit", sweep.name, *option, folder=simulated, code=1).stderr
    assert f"{option[0]} is for tables" in said


def test_a_condition_without_a_value_is_refused(tmp_path):
    assert "does not have the form COLUMN=VALUE" in fit(case(23), "--where", "corpus", folder=tmp_path, code=1).stderr
