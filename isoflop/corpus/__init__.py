"""Text to tokens to memory-mapped shards, and batches out of them. No torch."""

from isoflop.corpus.build import count_corpus, open_corpus
from isoflop.corpus.corpus import Corpus, Manifest, load_corpus
from isoflop.corpus.findings import absence_finding, facts_by_token_count, token_count_findings
from isoflop.corpus.heldout_text import heldout_documents, tokenizer_of
from isoflop.corpus.sequences import batch, batch_starts, heldout_sequences
from isoflop.corpus.sources import is_absent
from isoflop.corpus.tokenizer import Tokenizer, make_tokenizer, vocab_size

__all__ = [
    "Corpus",
    "Manifest",
    "Tokenizer",
    "absence_finding",
    "batch",
    "batch_starts",
    "count_corpus",
    "facts_by_token_count",
    "heldout_documents",
    "heldout_sequences",
    "is_absent",
    "load_corpus",
    "make_tokenizer",
    "open_corpus",
    "token_count_findings",
    "tokenizer_of",
    "vocab_size",
]
