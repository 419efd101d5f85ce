"""Rows that do not belong into one valley are a finding."""

import pytest

from isoflop.finding import Severity
from isoflop.sources.load import load_sources
from isoflop.spec import FitSpec, RecipeSpec, SweepSpec
from tests.report_examples import grid, make_result, planned_otherwise, save_sweep

HEADER = "budget_flops,n_params,n_tokens,loss"
ROW = "1e18,1e8,2e9,2.5"


def save_table(path, column, *values):
    path.write_text("\n".join([f"{HEADER},{column}", *(f"{ROW},{value}" for value in values)]) + "\n")
    return path


def save_db(path, *, count="total", optimizer="adamw", **changes):
    cells = [planned_otherwise(cell, learning_rate=0.01, **changes) for cell in grid(1e12, 1e13)]
    spec = SweepSpec(
        name=path.stem, budgets=(1e12, 1e13), fit=FitSpec(params=count), recipe=RecipeSpec(optimizer=optimizer)
    )
    save_sweep(path, cells, map(make_result, cells), spec=spec)
    return path


def findings(*sources):
    """All but that some source does not say what it is."""
    found = load_sources([str(source) for source in sources], db=None, sweep=None).findings
    return tuple(finding for finding in found if finding.code != "unnamed_conventions")


def test_a_source_that_does_not_say_what_others_say_is_named(tmp_path):
    ours, silent = save_db(tmp_path / "ours.db"), save_table(tmp_path / "b.csv", "note", "x")
    [finding] = load_sources([str(ours), str(silent)], db=None, sweep=None).findings
    assert (finding.code, finding.severity) == ("unnamed_conventions", Severity.INFO)
    assert finding.message.startswith("b.csv does not say how parameters are counted nor which tokenizer was used")
    assert finding.values == {"sources": ["b.csv"]}
    assert load_sources([str(silent)], db=None, sweep=None).findings == ()


def test_conventions_that_differ_in_a_file_are_a_finding(tmp_path):
    [finding] = findings(save_table(tmp_path / "a.csv", "param_count", "total", "", "non_embedding", "Total"))
    assert (finding.code, finding.severity) == ("mixed_param_counts", Severity.WARNING)
    assert finding.message.endswith("different conventions: total (a.csv); non_embedding (a.csv).")
    assert finding.values == {"param_counts": {"a.csv": ["total", "non_embedding"]}, "n": 2}
    assert finding.hint


def test_conventions_that_differ_between_sources_are_a_finding(tmp_path):
    sources = save_db(tmp_path / "ours.db", count="matmul"), save_table(tmp_path / "a.csv", "param_count", "total")
    [finding] = findings(*sources, save_table(tmp_path / "b.csv", "note", "none"))
    assert finding.code == "mixed_param_counts"
    assert finding.values["param_counts"] == {"ours": ["matmul"], "a.csv": ["total"], "b.csv": []}


def test_one_convention_or_none_named_is_no_finding(tmp_path):
    assert findings(save_table(tmp_path / "a.csv", "param_count", "total", "", "TOTAL")) == ()
    assert findings(save_db(tmp_path / "ours.db"), tmp_path / "a.csv") == ()
    assert findings(tmp_path / "ours.db", save_table(tmp_path / "b.csv", "note", "x")) == ()


def test_tokenizers_that_differ_are_a_finding(tmp_path):
    table = save_table(tmp_path / "a.csv", "tokenizer", "gpt2", "llama", "gpt2")
    [finding] = findings(save_db(tmp_path / "ours.db"), table)
    assert (finding.code, finding.severity) == ("mixed_tokenizers", Severity.WARNING)
    assert finding.message.endswith("different tokenizers: byte (ours); gpt2 (a.csv); llama (a.csv).")
    assert finding.values == {"tokenizers": {"ours": ["byte"], "a.csv": ["gpt2", "llama"]}, "n": 3}


def test_one_tokenizer_is_no_finding(tmp_path):
    assert findings(save_db(tmp_path / "ours.db"), save_table(tmp_path / "a.csv", "tokenizer", "byte", "")) == ()


def test_a_column_of_other_things_than_tokenizers_does_not_flood_the_finding(tmp_path):
    [finding] = findings(save_table(tmp_path / "a.csv", "tokenizer", *range(1000)))
    assert "4 (a.csv) and 995 more." in finding.message
    assert (finding.values["n"], len(finding.values["tokenizers"]["a.csv"])) == (1000, 20)


@pytest.mark.parametrize(("fingerprint", "codes"), [("decaf", ["mixed_corpora"]), ("c0ffee", [])])
def test_sweeps_on_different_corpora_are_a_finding(tmp_path, fingerprint, codes):
    ours = save_db(tmp_path / "ours.db")
    theirs = save_db(tmp_path / "theirs.db", seed=1, corpus_fingerprint=fingerprint)
    assert [finding.code for finding in findings(ours, theirs)] == codes


@pytest.mark.parametrize(("optimizer", "codes"), [("muon", ["mixed_optimizers"]), ("adamw", [])])
def test_sweeps_of_different_optimizers_are_a_finding(tmp_path, optimizer, codes):
    ours = save_db(tmp_path / "ours.db")
    theirs = save_db(tmp_path / "theirs.db", seed=1, optimizer=optimizer)
    found = findings(ours, theirs)
    assert [finding.code for finding in found] == codes
    assert all(sorted(finding.values["optimizers"].values()) == [["adamw"], ["muon"]] for finding in found)


def test_devices_that_differ_between_databases_are_a_finding(tmp_path):
    ours, theirs = save_db(tmp_path / "ours.db"), tmp_path / "theirs.db"
    cells = grid(1e14)
    results = [make_result(cell) for cell in cells]
    provenance = {**results[0].provenance.model_dump(), "device": "Other GPU"}
    save_sweep(theirs, cells, [make_result(cell, provenance=provenance) for cell in cells])
    assert [finding.code for finding in findings(theirs)] == []
    assert [finding.code for finding in findings(ours, theirs)] == ["mixed_execution"]
