"""Scores of which more is better, perplexities and bits: told, fitted as what they are, and called that."""

import math

import pytest

from isoflop.finding import Severity
from isoflop.report.fit_document import fit_document
from isoflop.report.reproduce import reproduction
from isoflop.sources.columns.header import REQUIRED
from isoflop.sources.columns.loss_scale import LossUnit
from isoflop.sources.grouping import Grouping, grouped
from tests.report_examples import summary_of
from tests.sources.tables import BASE_A, DATA, RUNS, case, codes, exponents, finding, load, refusal, write


def with_losses(folder, name, change):
    return write(folder, (*REQUIRED[:3], name), [(*run[:3], change(run[3])) for run in RUNS])


def accuracy(loss):
    return 1 - loss / 4.6


def test_a_score_is_not_taken_for_a_loss_without_being_told():
    assert "--column loss=accuracy --higher-is-better" in refusal(case(22)).hint
    found = finding(load(case(22), columns=["loss=accuracy"]), "looks_like_score")
    assert found.severity is Severity.ERROR
    assert "is this a score where higher is better?" in found.message
    assert "--higher-is-better" in found.hint


@pytest.mark.parametrize("columns", [["loss=accuracy"], []], ids=["told", "found"])
def test_of_a_score_in_0_to_1_the_complement_is_fitted_and_named(columns):
    source = load(case(22), columns=columns, higher_is_better=True)
    assert exponents(source)[0] == pytest.approx(BASE_A, abs=2e-3)
    assert finding(source, "loss_scale").message == "The loss that is fitted is 1 - accuracy."
    assert "looks_like_score" not in codes(source)
    summary = summary_of(grouped(source, Grouping()), targets=(1e20,))
    assert any("tokens per parameter, 1 - accuracy 0.568" in sentence for sentence in summary.answer.sentences)
    [document] = fit_document(summary)["sources"]
    assert (document["loss"], document["loss_unit"]) == ("1 - accuracy", None)
    assert dict(summary.provenance.rows)["loss"] == "1 - accuracy"
    assert "--higher-is-better" in reproduction(summary)[0]


def test_a_score_that_is_asked_for_is_read_beside_a_loss(tmp_path):
    path = write(tmp_path, (*REQUIRED, "accuracy"), [(*run, accuracy(run[3])) for run in RUNS])
    assert finding(load(path, higher_is_better=True), "loss_scale").values["formula"] == "1 - accuracy"
    assert load(path).findings == ()
    told = load(path, columns=["loss=loss"], higher_is_better=True)
    assert "falls as compute rises" in finding(told, "looks_like_score").message


@pytest.mark.parametrize(
    ("name", "change", "formula"),
    [
        ("y", accuracy, "1 - y"),
        ("acc pct", lambda loss: 100 * accuracy(loss), "100 - acc_pct"),
        ("reward", lambda loss: -loss, "-reward"),
        ("eval/arc_easy/acc_norm", accuracy, "1 - acc_norm"),
    ],
)
def test_scores_of_any_range_are_noticed_and_turned_over(tmp_path, name, change, formula):
    path = with_losses(tmp_path, name, change)
    assert "looks_like_score" in codes(load(path, columns=[f"loss={name}"]))
    source = load(path, columns=[f"loss={name}"], higher_is_better=True)
    assert finding(source, "loss_scale").values["formula"] == formula
    assert exponents(source)[0] == pytest.approx(BASE_A, abs=1e-3)


def test_one_budget_of_a_score_is_noticed_by_its_name_and_its_peak(tmp_path):
    rows = [(*run[:3], accuracy(run[3])) for run in RUNS[:7]] + [
        (*run[:3], accuracy(run[3]) - 1e-4) for run in RUNS[:7]
    ]
    path = write(tmp_path, (*REQUIRED[:3], "acc"), rows)
    assert "looks_like_score" in codes(load(path, columns=["loss=acc"]))


def test_a_loss_that_is_called_a_score_is_noticed_too(tmp_path):
    found = finding(load(with_losses(tmp_path, "loss", lambda x: x), higher_is_better=True), "looks_like_score")
    assert (found.severity, "falls as compute rises" in found.message) == (Severity.WARNING, True)


@pytest.mark.parametrize("path", sorted(DATA.glob("*.csv")), ids=lambda path: path.stem)
def test_losses_of_published_tables_look_like_neither(path):
    assert not codes(load(str(path))) & {"looks_like_score", "looks_like_perplexity", "loss_scale"}


@pytest.mark.parametrize("name", ["perplexity", "ppl", "val_ppl", "eval/perplexity"])
def test_a_perplexity_is_told_by_its_name_and_its_logarithm_fitted(tmp_path, name):
    source = load(with_losses(tmp_path, name, math.exp))
    assert [row.loss for row in source.rows] == pytest.approx([run[3] for run in RUNS], rel=1e-12)
    found = finding(source, "loss_scale")
    assert (found.values["formula"], found.values["unit"]) == (f"ln {name}", "nats per token")


def test_a_perplexity_of_another_name_is_asked_for_and_told_by_an_option(tmp_path):
    path = with_losses(tmp_path, "loss", lambda loss: math.exp(loss) + 1)
    assert "Is 'loss' a perplexity?" in finding(load(path), "looks_like_perplexity").message
    source = load(path, loss_unit=LossUnit.PERPLEXITY)
    assert source.rows[0].loss == math.log(math.exp(RUNS[0][3]) + 1)
    assert "looks_like_perplexity" not in codes(source)


def test_a_sum_over_a_sequence_has_a_way_out_that_works(tmp_path):
    path = with_losses(tmp_path, "nll", lambda loss: 2048 * loss)
    assert "--column loss=nll/2048." in finding(load(path), "looks_like_perplexity").hint
    source = load(path, columns=["loss=nll/2048"])
    assert [row.loss for row in source.rows] == pytest.approx([run[3] for run in RUNS], rel=1e-12)


def test_errors_of_perplexities_become_those_of_logarithms(tmp_path):
    path = write(tmp_path, (*REQUIRED[:3], "ppl", "loss_se"), [(*run[:3], 20.0, 0.2) for run in RUNS])
    assert load(path).rows[0].loss_se == pytest.approx(0.01)


@pytest.mark.parametrize(("name", "unit"), [("bpb", "bits per byte"), ("val_bits_per_byte", "bits per byte")])
def test_bits_stay_bits_and_the_outputs_say_so(tmp_path, name, unit):
    source = load(with_losses(tmp_path, name, lambda loss: loss / 3))
    assert source.rows[0].loss == RUNS[0][3] / 3
    assert unit in finding(source, "loss_scale").message
    noisy = write(
        tmp_path, (*REQUIRED[:3], name), [(*run[:3], run[3] + 0.5 * (-1) ** i) for i, run in enumerate(2 * RUNS)]
    )
    summary = summary_of(grouped(load(noisy), Grouping()))
    said = " ".join([*summary.answer.sentences, *(one.message for one in summary.findings)])
    assert " nats" not in said
    [document] = fit_document(summary)["sources"]
    assert document["loss_unit"] == unit


def test_units_of_scores_are_refused(tmp_path):
    path = with_losses(tmp_path, "acc", accuracy)
    assert "cannot be combined" in refusal(path, higher_is_better=True, loss_unit=LossUnit.NATS).message
    assert (
        "perplexities are positive"
        in refusal(with_losses(tmp_path, "loss", lambda loss: -loss), loss_unit=LossUnit.PERPLEXITY).message
    )


def test_sources_in_different_units_are_no_one_fit(tmp_path):
    bits = write(tmp_path, (*REQUIRED[:3], "bpb"), RUNS, "bits.csv")
    nats = write(tmp_path, (*REQUIRED[:3], "ppl"), RUNS, "nats.csv")
    silent = write(tmp_path, REQUIRED, RUNS, "silent.csv")
    assert finding(load(bits, nats), "mixed_loss_units").severity is Severity.ERROR
    assert "mixed_loss_units" not in codes(load(bits, silent))
