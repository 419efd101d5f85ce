"""Text to tokens to memory-mapped shards, and batches out of them. No torch."""

from isoflop.corpus.builder.open_corpus import count_corpus, open_corpus
from isoflop.corpus.builder.stages import OnProgress, Progress
from isoflop.corpus.corpus import Corpus, Manifest, corpus_tokenizer, load_corpus
from isoflop.corpus.findings import (
    absence_finding,
    facts_by_token_count,
    token_count_findings,
    tokenizer_findings,
)
from isoflop.corpus.heldout_text import heldout_documents, tokenizer_of
from isoflop.corpus.integrity import load_intact
from isoflop.corpus.ready_tokens import as_stated
from isoflop.corpus.sequences import batch, batch_starts, heldout_sequences
from isoflop.corpus.sources import is_absent
from isoflop.corpus.tokenizers.tokenizer import Tokenizer
from isoflop.corpus.tokenizers.tokenizer_choice import make_tokenizer, stated_tokenizer

__all__ = [
    "Corpus",
    "Manifest",
    "OnProgress",
    "Progress",
    "Tokenizer",
    "absence_finding",
    "as_stated",
    "batch",
    "batch_starts",
    "corpus_tokenizer",
    "count_corpus",
    "facts_by_token_count",
    "heldout_documents",
    "heldout_sequences",
    "is_absent",
    "load_corpus",
    "load_intact",
    "make_tokenizer",
    "open_corpus",
    "stated_tokenizer",
    "token_count_findings",
    "tokenizer_findings",
    "tokenizer_of",
]
