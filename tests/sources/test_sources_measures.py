"""A frontier on a metric of the models, and losses in bits per byte."""

import json
import math
from pathlib import Path

import pytest

from isoflop.cli.request import Request, read_and_fit
from isoflop.errors import IsoflopError
from isoflop.report.fit_document import fit_document
from isoflop.result import Metric
from isoflop.sources.load import load_each, load_sources
from isoflop.sources.measure import Measure
from isoflop.sources.remeasure import Wanted
from isoflop.view.document import dumps
from tests.commands import isoflop
from tests.report_examples import DATA, grid, make_result, planned_otherwise, save_sweep
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
