"""A frontier on a metric of the models, and losses in bits per byte."""

import json
import math
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from isoflop.cli.request import Request, read_and_fit
from isoflop.errors import IsoflopError
from isoflop.report.fit_document import fit_document
from isoflop.report.loss_words import scale_of_losses, valley_title
from isoflop.report.page.html import render_html
from isoflop.report.write import write_report
from isoflop.result import Metric
from isoflop.sources.load import load_each, load_sources
from isoflop.sources.measure import Measure
from isoflop.sources.remeasure import Wanted
from isoflop.store import open_store, run_cells
from isoflop.view.document import dumps
from isoflop.view.metrics_view import metrics_tables
from tests.commands import isoflop
from tests.report_examples import DATA, grid, make_cell, make_result, planned_otherwise, save_sweep
from tests.test_docs_reference import unlike

BUDGETS = (1e12, 3e12, 1e13)
BITS, ACCURACY = "continuation_bits_per_byte", "continuation_accuracy"


def metric(name: str, value: float) -> Metric:
    is_share = name.endswith("_accuracy")
    return Metric(
        name=name,
        value=value,
        standard_error=0.01,
        n_items=1000,
        unit="share" if is_share else "bits per byte",
        higher_is_better=is_share,
        probe_version=1,
        corpus_fingerprint="c0ffee",
        evaluated_at="2026-01-02T03:04:05+00:00",
    )


def save(path: Path, *, n_without: int = 0, tokenizer: str = "byte", bits_per_nat: float | None = 0.5) -> Path:
    """Runs whose loss has its floor at C^0.5, and whose metrics have theirs at C^0.6; the first lack metrics."""
    cells = [planned_otherwise(cell, learning_rate=0.01, tokenizer=tokenizer) for cell in grid(*BUDGETS)]
    results = []
    for number, cell in enumerate(cells):
        off = math.log10(cell.run.shape.n_params_total) - (0.6 * math.log10(cell.budget_flops) - 2.5)
        height = 0.5 - 0.05 * math.log10(cell.budget_flops / 1e12) + 0.1 * off**2
        metrics = () if number < n_without else (metric(BITS, 2 * height), metric(ACCURACY, 1 - height))
        result = make_result(cell, metrics=metrics)
        bits = None if bits_per_nat is None else result.val_loss * bits_per_nat
        results.append(result.model_copy(update={"bits_per_byte": bits}))
    save_sweep(path, cells, results)
    return path


def fitted(path: Path, **asked: object):
    return read_and_fit([str(path)], Request(db=path, **asked))


@pytest.mark.parametrize("name", [BITS, ACCURACY])
def test_the_frontier_on_a_metric_is_its_own_and_stands_beside_that_on_loss(tmp_path, name):
    summary = fitted(save(tmp_path / "x.db"), metric=name)
    assert summary.fit.frontier.exponent_a == pytest.approx(0.6, abs=1e-6)
    on_loss, on_metric = summary.measure_fits
    assert on_loss.exponent_a == pytest.approx(0.5, abs=1e-6)
    assert on_metric.exponent_a == summary.fit.frontier.exponent_a
    assert on_loss.exponent_a == pytest.approx(fitted(tmp_path / "x.db").fit.frontier.exponent_a)
    assert {row.loss_se for row in summary.source.rows} == {0.01}
    document = fit_document(summary)
    assert list(unlike(json.loads(dumps(document)), "fit", "fit")) == []
    assert document["metric"] == name
    assert [one["on"] for one in document["measures"]] == ["loss (nats per token)", summary.source.fitted.scale.axis]
    assert len(document["run_metrics"]) == 21


def test_of_an_accuracy_the_complement_is_fitted_and_said(tmp_path):
    summary = fitted(save(tmp_path / "x.db"), metric=ACCURACY)
    assert summary.title == "IsoFLOP fit of demo on 1 - continuation_accuracy"
    assert fit_document(summary)["sources"][0]["loss"] == "1 - continuation_accuracy"
    assert valley_title(scale_of_losses(summary.source)) == "1 - continuation_accuracy at equal compute"
    assert Measure(ACCURACY).higher_is_better and not Measure(BITS).higher_is_better


def test_without_a_metric_documents_say_null_and_nothing_else_changes(tmp_path):
    document = fit_document(fitted(save(tmp_path / "x.db")))
    assert (document["metric"], document["measures"]) == (None, [])
    assert document["sources"][0]["loss_unit"] == "nats per token"


def test_runs_without_the_metric_are_left_out_and_counted(tmp_path):
    summary = fitted(save(tmp_path / "x.db", n_without=2), metric=BITS)
    [finding] = [one for one in summary.findings if one.code == "runs_without_metric"]
    assert finding.message.startswith("2 of 21 runs do not have the metric")
    assert len(summary.source.rows) == 19 and len(finding.values["run_ids"]) == 2


def test_an_unknown_metric_is_refused_with_the_nearest_and_all_names(tmp_path):
    path = save(tmp_path / "x.db")
    with pytest.raises(IsoflopError) as error:
        fitted(path, metric="continuation_acuracy")
    assert f"Did you mean {ACCURACY}? It has: {ACCURACY}, {BITS}." in error.value.hint
    with pytest.raises(IsoflopError, match="no effect with --metric"):
        fitted(path, metric=BITS, loss="nats")


def replace_metric(path: Path, name: str, run: int, **changes: object) -> None:
    """The metric of that run, changed in the database by hand."""
    with closing(sqlite3.connect(path)) as db:
        ids = [row[0] for row in db.execute("select run_id from metrics where name = ? order by run_id", [name])]
        for column, value in changes.items():
            db.execute(f"update metrics set {column} = ? where run_id = ? and name = ?", [value, ids[run], name])
        db.commit()


def test_runs_that_were_asked_something_else_are_never_fitted_together(tmp_path):
    replace_metric(save(tmp_path / "version.db"), BITS, 3, probe_version=2)
    with pytest.raises(IsoflopError, match="older questions in some runs"):
        fitted(tmp_path / "version.db", metric=BITS)
    for name, text in (("a", "c0ffee"), ("b", "feedc0de")):
        with closing(sqlite3.connect(save(tmp_path / f"{name}.db"))) as db:
            db.execute(
                "update metrics set name = 'text_x_bits_per_byte', corpus_fingerprint = ? where name = ?", [text, BITS]
            )
            db.commit()
    paths = [f"{name}={tmp_path}/{name}.db" for name in "ab"]
    text = Wanted(metric="text_x_bits_per_byte")
    assert load_sources(paths[:1], db=None, sweep=None, wanted=text).fitted.metric == "text_x_bits_per_byte"
    for read in (load_sources, load_each):
        with pytest.raises(IsoflopError, match="stands for 2 texts: runs of a, b"):
            read(paths, db=None, sweep=None, wanted=text)
    replace_metric(tmp_path / "a.db", "text_x_bits_per_byte", 3, corpus_fingerprint="another")
    with pytest.raises(IsoflopError, match="stands for 2 texts: runs of demo were"):
        fitted(tmp_path / "a.db", metric="text_x_bits_per_byte")


@pytest.mark.slow(4)
def test_equal_accuracies_of_different_runs_are_no_copies(tmp_path):
    cells = grid(*BUDGETS)
    cells += [planned_otherwise(cell, learning_rate=0.01, seed=7) for cell in cells[:3]]
    metrics = [metric(ACCURACY, 0.5 - 0.01 * (number % 21 - 10) ** 2 / 10) for number in range(len(cells))]
    results = [make_result(cell, metrics=(one,)) for cell, one in zip(cells, metrics, strict=True)]
    save_sweep(tmp_path / "x.db", cells, results)
    codes = {finding.code for finding in fitted(tmp_path / "x.db", metric=ACCURACY).findings}
    assert "identical_rows" not in codes
    assert "identical_rows" in {finding.code for finding in fitted(tmp_path / "x.db").findings}


def test_a_named_text_is_the_first_column_and_probes_follow_in_one_order(tmp_path):
    text = "text_x_bits_per_byte"
    cells = [make_cell(1e12, 16), make_cell(1e12, 32)]
    known = [[metric("spelling_bits_per_byte", 2), metric(BITS, 3)], [metric(BITS, 3), metric(text, 2)]]
    results = [make_result(cell, metrics=tuple(metrics)) for cell, metrics in zip(cells, known, strict=True)]
    save_sweep(tmp_path / "x.db", cells, results)
    with open_store(tmp_path / "x.db", write=False) as store:
        [table] = metrics_tables(run_cells(store.cells("demo")))
    assert [column.heading for column in table.columns[4:]] == ["text x", "continuation", "spelling"]
    assert [column.spare for column in table.columns[4:]] == [0, 1, 2]


def test_of_a_simulated_sweep_nobody_is_sent_to_measure_models(tmp_path):
    cells = [make_cell(1e12, width, trainer="simulated") for width in (16, 32, 48, 64)]
    save_sweep(tmp_path / "x.db", cells, list(map(make_result, cells)))
    with pytest.raises(IsoflopError, match="has the metric") as error:
        fitted(tmp_path / "x.db", metric=BITS)
    assert "evaluate" not in error.value.hint and "No model was trained" in error.value.hint
    with pytest.raises(IsoflopError, match="is simulated: its losses are of no text"):
        fitted(tmp_path / "x.db", loss="bits-per-byte")


def test_what_is_lowest_at_a_floor_is_called_by_its_name(tmp_path):
    page = render_html(fitted(save(tmp_path / "x.db"), metric=ACCURACY), svg="<svg/>")
    assert "1 - continuation_accuracy 0.5" in page
    assert r"\u003cbr\u003eloss 0.5" not in page


@pytest.mark.slow(6)
def test_a_report_on_a_metric_does_not_take_the_place_of_that_on_the_loss(tmp_path):
    path = save(tmp_path / "x.db")
    write_report(fitted(path), tmp_path / "out")
    on_bits = fitted(path, metric=BITS)
    with pytest.raises(IsoflopError, match="holds the report of the sweep 'demo'"):
        write_report(on_bits, tmp_path / "out")
    write_report(on_bits, tmp_path / "on")
    write_report(on_bits, tmp_path / "on")
    with pytest.raises(IsoflopError, match=f"holds the report of the sweep 'demo' on {BITS}"):
        write_report(fitted(path, metric=ACCURACY), tmp_path / "on")


def test_a_metric_of_a_table_is_refused_with_the_option_that_reads_it():
    with pytest.raises(IsoflopError, match="is a table") as error:
        load_sources([str(DATA / "llama3.csv")], db=None, sweep=None, wanted=Wanted(metric=BITS))
    assert f"--column loss={BITS}" in error.value.hint


def test_losses_in_bits_per_byte_have_errors_and_curves_in_them_too(tmp_path):
    source = load_sources([str(save(tmp_path / "x.db"))], db=None, sweep=None, wanted=Wanted(loss_in="bits-per-byte"))
    for row in source.rows:
        assert row.cell is not None and row.cell.completed is not None
        assert row.loss == pytest.approx(0.5 * row.cell.completed.val_loss)
        assert row.loss_se == pytest.approx(0.005)
    assert source.sweeps[0].scale.axis == "loss (bits per byte)"


def test_runs_without_bits_per_byte_are_refused(tmp_path):
    path = save(tmp_path / "x.db", bits_per_nat=None)
    with pytest.raises(IsoflopError, match="No bits per byte are known of 21 runs"):
        fitted(path, loss="bits-per-byte")


def pooled(paths: list[str]):
    return [load_sources(paths, db=None, sweep=None)]


def compared(paths: list[str]):
    return load_each(paths, db=None, sweep=None)


@pytest.mark.parametrize("read", [pooled, compared])
def test_sources_of_two_tokenizers_are_in_bits_per_byte_and_say_why(tmp_path, read):
    paths = [str(save(tmp_path / "a.db")), str(save(tmp_path / "b.db", tokenizer="bpe-4096", bits_per_nat=0.2))]
    for source in read([f"a={paths[0]}", f"b={paths[1]}"]):
        assert {part.scale.unit for part in source.each} == {"bits per byte"}
        [finding] = [one for one in source.findings if one.code == "losses_in_bits_per_byte"]
        assert "byte (a); bpe-4096 (b)" in finding.message
        hints = [one.hint for one in source.findings if one.code == "mixed_tokenizers"]
        assert all("in bits per byte compare" in hint for hint in hints)
    as_asked = load_sources(paths, db=None, sweep=None, wanted=Wanted(loss_in="nats"))
    assert {part.scale.unit for part in as_asked.each} == {"nats per token"}


@pytest.mark.slow(4)
def test_a_comparison_says_what_is_fitted_and_why(tmp_path):
    save(tmp_path / "a.db")
    save(tmp_path / "b.db", tokenizer="bpe-4096", bits_per_nat=0.2)
    shown = isoflop("fit", "a=a.db", "b=b.db", "--compare", folder=tmp_path).stdout
    assert "Fitted: loss (bits per byte)." in shown
    assert "because the tokenizers differ" in " ".join(shown.split())
    on_metric = isoflop("fit", "a=a.db", "b=b.db", "--compare", "--metric", BITS, folder=tmp_path).stdout
    assert "Fitted: continuation loss (bits per byte)." in on_metric
    save(tmp_path / "c.db", tokenizer="tokens-300", bits_per_nat=None)
    unknown = " ".join(isoflop("fit", "a=a.db", "c=c.db", "--compare", folder=tmp_path).stdout.split())
    assert "do not compare: they are per token, and the tokenizers differ: byte, tokens-300." in unknown
    save(tmp_path / "d.db")
    alike = isoflop("fit", "a=a.db", "d=d.db", "--compare", folder=tmp_path).stdout
    assert "do not compare" not in alike


def test_sources_of_one_tokenizer_stay_in_nats_and_so_do_those_that_cannot_be_converted(tmp_path):
    one, other = str(save(tmp_path / "a.db")), str(save(tmp_path / "b.db", tokenizer="bpe", bits_per_nat=None))
    assert load_sources([one], db=None, sweep=None).fitted == Measure()
    mixed = load_sources([f"a={one}", f"b={other}"], db=None, sweep=None)
    assert mixed.fitted == Measure()
    assert "mixed_tokenizers" in {finding.code for finding in mixed.findings}


def test_a_table_in_another_unit_than_asked_for_is_refused():
    with pytest.raises(IsoflopError, match="--loss bits-per-byte is for sweeps"):
        load_sources([str(DATA / "llama3.csv")], db=None, sweep=None, wanted=Wanted(loss_in="bits-per-byte"))
