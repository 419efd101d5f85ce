"""Why a held-out text is short: every reason that the numbers give, and a share that would do."""

from dataclasses import replace

import pytest

from isoflop.corpus_facts import CorpusFacts, DocumentCounts
from isoflop.errors import IsoflopError
from isoflop.finding import Finding
from isoflop.plan.heldout import heldout_findings
from isoflop.plan.planner import make_plan
from isoflop.spec import SweepSpec, parse_spec

DOCUMENTS = DocumentCounts(
    "files a", n_files=40, n_read=50, n_duplicates=0, n_near_duplicates=0, n_train=48, n_heldout=2, split="by_hash"
)


def spec(**corpus: object) -> SweepSpec:
    return parse_spec({"name": "s", "budgets": [1e10], "corpus": corpus}, source="x")


def facts(n_tokens: int, n_heldout: int, documents: DocumentCounts | None = DOCUMENTS) -> CorpusFacts:
    return CorpusFacts("0" * 16, n_tokens - n_heldout, n_heldout, 1.0, documents)


def short(corpus: CorpusFacts, **options: object) -> Finding:
    [finding] = heldout_findings(spec(**options), corpus)
    assert finding.code == "short_heldout"
    return finding


def test_a_held_out_text_as_long_as_the_evaluation_is_no_finding() -> None:
    assert not list(heldout_findings(spec(), facts(10**7, 131_072)))


def test_a_share_too_small_for_the_corpus_is_named_with_one_that_would_do() -> None:
    finding = short(facts(1_000_000, 20_000))
    assert finding.message == (
        "The held-out text has 20000 tokens, fewer than evaluation.tokens = 131072: "
        "corpus.heldout_fraction = 0.02 of 1.00M tokens is 20.0k."
    )
    assert "set corpus.heldout_fraction to 0.145 or more" in finding.hint
    assert 0.145 * 1_000_000 > 131_072
    assert finding.values["n_heldout_documents"] == 2


def test_a_corpus_too_short_for_any_share_needs_more_text() -> None:
    assert short(facts(200_000, 4000)).hint.endswith("use a larger corpus.")
    assert "fraction to" not in short(facts(200_000, 4000)).hint


def test_documents_dropped_as_near_duplicates_are_named() -> None:
    documents = replace(DOCUMENTS, n_near_duplicates=6)
    finding = short(facts(10**7, 50_000, documents))
    assert finding.message.endswith(
        "131072: 6 of 8 held-out documents had most lines in the training text and were dropped."
    )
    assert finding.values["n_near_duplicates_dropped"] == 6
    both = short(facts(10**6, 5000, documents)).message
    assert "0.02 of 1.00M tokens is 20.0k, and 6 of 8 held-out documents" in both


def test_short_documents_that_chance_chose_are_named() -> None:
    finding = short(facts(10**7, 50_000))
    assert finding.message.endswith("131072: the hashes of 50 documents happened to choose 2 short ones.")


@pytest.mark.parametrize("documents", [None, replace(DOCUMENTS, n_train=1, n_heldout=1, split="by_position")])
def test_where_the_numbers_do_not_say_nothing_is_made_up(documents: DocumentCounts | None) -> None:
    assert short(facts(10**7, 50_000, documents)).message.endswith("fewer than evaluation.tokens = 131072.")


def test_a_held_out_text_shorter_than_a_sequence_is_refused_with_the_same_reason() -> None:
    with pytest.raises(IsoflopError, match=r"79 tokens, .* of 256: corpus.heldout_fraction = 0.02 of 3.95k"):
        make_plan(spec(), facts(3950, 79))
    alone = short(facts(10**7, 50_000, replace(DOCUMENTS, n_train=49, n_heldout=1)))
    assert alone.message.endswith("happened to choose a short one.")
