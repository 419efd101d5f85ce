import math
from dataclasses import replace

import pytest

from isoflop.finding import Finding, Severity
from isoflop.report.answer import answer
from isoflop.sources.load import load_source
from tests.report_examples import LLAMA3, column, points_of, summary_of


@pytest.fixture(scope="module")
def llama3():
    return summary_of(load_source(str(LLAMA3), db=LLAMA3.parent / "none.db", sweep=None), targets=(3.8e25,))


def test_the_answer_is_the_published_law_and_its_reading(llama3):
    """Llama 3 report (2024): D_opt = 0.299 C^0.537; at 3.8e25 FLOPs 402B parameters on 16.55T tokens.

    The points are read off its figure, and its own law is rounded: 3 %.
    """
    law, beside, reading = llama3.answer.sentences
    assert law.startswith("Compute-optimal: N_opt = 0.271 C^0.479 parameters")
    assert law.endswith("by the joint valley through 131 runs.")
    assert "D_opt = 0.299 C^0.537 tokens" in beside
    assert "10 of 10 budgets" in beside
    assert "an extrapolation, 3.6 decades above the largest fitted budget" in reading
    assert "farther out than this sweep's own forecasts proved right" in reading
    assert float(column(llama3.readings, "parabola")[0].removesuffix("B")) == pytest.approx(402, rel=0.03)
    low, high = llama3.targets[0].n_opt_ci
    assert low < 402e9 < high


def test_every_estimator_stands_beside_the_recommended_one(llama3):
    names = column(llama3.estimators, "estimator")
    assert names == [
        "recommended (joint)", "parabola", "robust parabola", "cubic", "surface (huber)", "joint, all runs",
    ]  # fmt: skip
    assert column(llama3.estimators, "a")[1] == "0.463"


def test_bands_and_scorecard_are_tables(llama3):
    assert [column.heading for column in llama3.bands.columns][2:] == [
        "within the noise", "within 0.1 %", "within 0.5 %", "within 1 %",
    ]  # fmt: skip
    assert column(llama3.scorecard, "budgets fitted") == ["3", "4", "5", "7", "8", "9"]
    assert sum(map(int, column(llama3.scorecard, "held"))) == sum(one.held for one in llama3.fit.scorecard)


def test_without_targets_the_largest_budget_and_ten_times_it_are_read():
    summary = summary_of(points_of(1e12, 1e13, 1e14))
    assert [target.budget_flops for target in summary.targets] == [1e14, 1e15]
    assert summary.fit.targets == ()
    assert "extrapolation" not in summary.answer.sentences[2]
    assert "an extrapolation, 1.0 decades above" in summary.answer.sentences[3]
    assert "No target was given" in summary.readings.note
    assert {finding.code for finding in summary.findings} == {"surface_rejected"}  # parabolas are no surface


def test_a_notably_different_second_reading_has_a_sentence_of_its_own():
    name = str(LLAMA3.with_name("porian_short_warmup.csv"))
    source = load_source(name, db=LLAMA3.parent / "none.db", sweep=None)
    summary = summary_of(source, targets=(1e21, 1e17))
    *_, reading, below, second = summary.answer.sentences
    assert reading.startswith("For 1.00e21 FLOPs")
    assert below.startswith("For 1.00e17 FLOPs")
    assert second.startswith("A second reading for 1.00e21 FLOPs, with the exponent a shrunk towards 0.5")
    assert not second.startswith(summary.answer.decision)


def test_nothing_reassures_beside_an_error():
    summary = summary_of(points_of(1e12, 2e12, 4e12, 8e12))
    assert "credible_extrapolation" in {finding.code for finding in summary.findings}
    source = replace(summary.source, findings=(Finding("flops_mismatch", Severity.ERROR, "Off.", "Check."),))
    assert "credible_extrapolation" not in {finding.code for finding in summary_of(source).findings}


def test_a_target_below_the_data_is_called_that():
    summary = summary_of(points_of(1e12, 1e13, 1e14), targets=(1e11,))
    assert summary.answer.sentences[2].endswith("an extrapolation, 1.0 decades below the smallest fitted budget.")


def test_a_budget_near_the_end_of_floats_is_read_without_its_tenfold():
    summary = summary_of(points_of(1e306, 1e307, 1.5e308))
    assert [target.budget_flops for target in summary.targets] == [1.5e308]


def test_one_floor_is_reported_alone():
    summary = summary_of(points_of(1e12, 1e13, floors=(0.0, 0.9)))
    assert summary.answer.sentences[0].startswith("No compute-optimal frontier: 1 of 2 budgets has a floor inside")
    assert summary.answer.sentences[1].startswith("At 1.00e12 FLOPs alone: 56.2k parameters (90 % interval")
    assert (summary.estimators, summary.readings, summary.bands, summary.targets) == (None, None, None, ())


def test_an_unanswerable_target_is_said_to_be_that():
    summary = summary_of(points_of(1e12, 1e13, 1e14), targets=(1e300,))
    assert "1.00e300 FLOPs" in summary.answer.sentences[2]
    summary = summary_of(points_of(1e12), targets=(1e14,))
    assert column(summary.readings, "N_opt") == ["-"]


def test_rows_that_were_never_grouped_are_counted_and_mostly_not_shown():
    source = points_of(*(10 ** (12 + k / 100) for k in range(240)), n_sizes=1)
    summary = summary_of(source)
    assert "0 of 240 budgets have a floor" in summary.answer.sentences[0]
    assert len(summary.profiles.rows) == 5
    assert "Not shown: 235 more budgets." in summary.profiles.note


def test_the_answer_gives_the_loss_with_its_interval_and_doubts_what_the_scorecard_does_not_reach(llama3):
    (target,), fit = llama3.targets, llama3.fit
    low, high = target.loss_ci
    assert f"tokens per parameter, loss {target.loss:.4f} ({low:.4f} to {high:.4f}); " in llama3.answer.sentences[-1]
    doubts = {}
    for credible, loss_credible in ((True, True), (True, False), (False, False)):
        doubted = replace(target, credible=credible, loss_credible=loss_credible)
        doubts[credible, loss_credible] = answer(fit, (doubted,), 10).sentences[-1]
    assert "farther out" not in doubts[True, True]
    assert "farther out than this sweep's own forecasts of losses proved right" in doubts[True, False]
    assert "farther out than this sweep's own forecasts proved right" in doubts[False, False]


def test_the_scorecard_counts_the_losses_that_held(llama3):
    held = [card.n_fitted for card in llama3.fit.scorecard if card.loss_held]
    cuts = column(llama3.scorecard, "budgets fitted")
    assert column(llama3.scorecard, "losses held") == [str(held.count(int(cut))) for cut in cuts]
    assert 20 <= len(held) < len(llama3.fit.scorecard) == 24


def test_one_target_has_one_number_of_tokens_and_one_loss_where_flops_are_not_6nd(tmp_path):
    """A ladder: C = 10 N D at 190M parameters, 7.2 N D at 3B; no two runs have the same budget."""
    lines = ["budget_flops,n_params,n_tokens,loss"]
    for n_params in (190e6, 370e6, 760e6, 1.28e9, 3.17e9):
        per_token = 10 * n_params * (n_params / 190e6) ** (math.log(0.72) / math.log(3.17e9 / 190e6))
        for per_param in (10, 20, 40, 100, 200):
            n_tokens = per_param * n_params
            loss = 1.6 + 410 * n_params**-0.34 + 1200 * n_tokens**-0.35 + 1e-4 * math.sin(n_tokens)
            lines.append(f"{per_token * n_tokens!r},{n_params!r},{n_tokens!r},{loss!r}")
    (tmp_path / "ladder.csv").write_text("\n".join(lines))
    source = load_source(str(tmp_path / "ladder.csv"), db=tmp_path / "none.db", sweep=None)
    summary = summary_of(source, targets=(1e22,))
    (target,), (decision,) = summary.targets, summary.decisions
    own = decision.smaller[0]
    assert own.n_tokens == pytest.approx(target.d_opt)
    assert own.loss_same_budget == pytest.approx(target.loss)
    for built in decision.buildable:
        slope = 1 + math.log(0.72) / math.log(3.17e9 / 190e6)
        assert built.n_tokens == pytest.approx(target.d_opt * (target.n_opt / built.n_params) ** slope, rel=1e-6)
