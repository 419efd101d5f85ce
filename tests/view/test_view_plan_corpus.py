from isoflop.corpus_facts import CorpusFacts, DocumentCounts
from isoflop.view.plan_corpus import corpus_document, corpus_lines

READ = DocumentCounts("files a", 3, 7, n_duplicates=1, n_near_duplicates=2, n_train=3, n_heldout=1, split="by_hash")
ONLY = DocumentCounts("files a", 1, 1, n_duplicates=0, n_near_duplicates=0, n_train=1, n_heldout=1, split="by_position")


def facts(documents: DocumentCounts | None) -> CorpusFacts:
    return CorpusFacts("0" * 16, 1_500_000, 40_000, 1.0, documents)


def test_documents_of_each_side_and_those_dropped_are_counted() -> None:
    assert list(corpus_lines(facts(READ))) == [
        "corpus: files a; 7 documents in 3 files",
        "1.50M tokens in 3 documents to train on, 40.0k in 1 document held out",
        "dropped from the corpus: 1 duplicate and 2 near-duplicates",
    ]


def test_the_end_of_an_only_document_is_no_document() -> None:
    assert list(corpus_lines(facts(ONLY))) == [
        "corpus: files a; 1 document in 1 file",
        "1.50M tokens to train on; 40.0k held out, the end of the only document",
    ]


def test_of_a_text_that_is_elsewhere_only_the_tokens_are_known() -> None:
    assert list(corpus_lines(facts(None))) == ["corpus: 1.50M tokens to train on, 40.0k held out, by corpus.tokens"]
    document = corpus_document(facts(None))
    assert {key for key, value in document.items() if value is not None} == {
        "fingerprint", "n_train_tokens", "n_heldout_tokens", "bytes_per_token", "tokenizer", "vocab_size",
    }  # fmt: skip
    assert document.keys() == corpus_document(facts(READ)).keys()


def test_a_name_of_a_source_stays_on_its_line() -> None:
    documents = DocumentCounts("files a\nb", 3, 7, 0, 0, 3, 1, "by_hash")
    assert "\n" not in next(corpus_lines(facts(documents)))
