"""What the rest of the package needs to know of a corpus."""

from dataclasses import dataclass
from typing import Literal

# Held out as each document's hash says; so, but one document was moved to a side that would be empty; or, of an only
# document, its end; or as the sweep file names files.
SplitRule = Literal["by_hash", "one_moved", "by_position", "by_file"]


@dataclass(frozen=True)
class PartCounts:
    """A source of a mixture.

    Attributes:
        source: where it came from, in words.
        weight: its share of the tokens; those of all parts add up to 1.
        n_train_tokens, n_heldout_tokens: what it gives.
        n_train_unique, n_heldout_unique: what it has.
    """

    source: str
    weight: float
    n_train_tokens: int
    n_heldout_tokens: int
    n_train_unique: int
    n_heldout_unique: int


@dataclass(frozen=True)
class DocumentCounts:
    """What a text was found to be when it was read.

    Attributes:
        source: where it came from, in words.
        n_read: documents before any were dropped; a large file counts in parts.
        n_duplicates: documents dropped because an earlier one has the same bytes.
        n_near_duplicates: held-out documents dropped because most of their lines are in the training text.
        split: how the held-out documents were chosen, see `isoflop.corpus.builder.split`.
        n_empty: records without text, which were dropped and are in none of the other numbers.
        parts: of a mixture.
    """

    source: str
    n_files: int
    n_read: int
    n_duplicates: int
    n_near_duplicates: int
    n_train: int
    n_heldout: int
    split: SplitRule
    n_empty: int = 0
    parts: tuple[PartCounts, ...] = ()


@dataclass(frozen=True)
class EncodingCounts:
    """What a tokenizer could not keep of a text.

    Attributes:
        n_replaced_bytes: bytes that are not UTF-8, each run of which became U+FFFD; the byte tokenizer keeps all.
        n_checked: held-out documents that were decoded again.
        n_lossy: those of them that came back as another text.
    """

    n_replaced_bytes: int = 0
    n_checked: int = 0
    n_lossy: int = 0


@dataclass(frozen=True)
class CorpusFacts:
    """What a plan needs to know of the corpus.

    Attributes:
        fingerprint: hash of the tokens and of the held-out split.
        n_train_tokens: tokens available for training.
        n_heldout_tokens: tokens available for evaluation.
        bytes_per_token: UTF-8 bytes of text per token, for bits per byte; None where nobody knows them.
        documents: None where no text was read.
        tokenizer: its name, as runs record it.
        vocab_size: rows of the embedding and of the head of every model.
        encoding: what became of the text on its way to tokens.
    """

    fingerprint: str
    n_train_tokens: int
    n_heldout_tokens: int
    bytes_per_token: float | None
    documents: DocumentCounts | None = None
    tokenizer: str = "byte"
    vocab_size: int = 257
    encoding: EncodingCounts = EncodingCounts()

    @property
    def n_tokens(self) -> int:
        """Training and held-out tokens."""
        return self.n_train_tokens + self.n_heldout_tokens
