"""What the rest of the package needs to know of a corpus."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CorpusFacts:
    """What a plan needs to know of the corpus.

    Attributes:
        fingerprint: hash of the tokens and of the held-out split.
        n_train_tokens: tokens available for training.
        n_heldout_tokens: tokens available for evaluation.
        bytes_per_token: UTF-8 bytes of text per token, for bits per byte.
    """

    fingerprint: str
    n_train_tokens: int
    n_heldout_tokens: int
    bytes_per_token: float
