"""Text to tokens to memory-mapped shards, and batches out of them. No torch."""

from isoflop.corpus.batches import batch, batch_starts, heldout_sequences
from isoflop.corpus.build import open_corpus
from isoflop.corpus.corpus import Corpus, Manifest, load_corpus
from isoflop.corpus.sources import is_absent
from isoflop.corpus.stated import corpus_absent, stated_facts, tokens_differ
from isoflop.corpus.tokenizer import Tokenizer, make_tokenizer, vocab_size

__all__ = [
    "Corpus",
    "Manifest",
    "Tokenizer",
    "batch",
    "batch_starts",
    "corpus_absent",
    "heldout_sequences",
    "is_absent",
    "load_corpus",
    "make_tokenizer",
    "open_corpus",
    "stated_facts",
    "tokens_differ",
    "vocab_size",
]
