"""Text to tokens to memory-mapped shards, and batches out of them. No torch."""

from isoflop.corpus.batches import batch, heldout_sequences
from isoflop.corpus.build import open_corpus
from isoflop.corpus.corpus import Corpus, Manifest, load_corpus
from isoflop.corpus.tokenizer import Tokenizer, make_tokenizer

__all__ = [
    "Corpus",
    "Manifest",
    "Tokenizer",
    "batch",
    "heldout_sequences",
    "load_corpus",
    "make_tokenizer",
    "open_corpus",
]
