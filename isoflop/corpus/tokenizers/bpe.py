"""Trains a byte-level BPE with the library `tokenizers`; the same text gives the same file, on one thread or more."""

import re
import zlib
from collections.abc import Iterable, Iterator

from isoflop.corpus.tokenizers.tokenizer_file import tokenizers_library

SEPARATOR = "<|endoftext|>"
# Qwen2's, without its NFC normaliser: more bytes per token than GPT-2's on source text, and the only one of those tried
# whose ids and text llama.cpp gives too (docs/decisions.md).
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Training text that is counted at most, enough for 65,536 tokens.
SAMPLE_BYTES = 64 << 20
# Letters of distinct words. The trainer takes about 95 bytes for each (861 MB for a million words of 8 random letters).
MOST_LETTERS = 2_000_000
_LETTERS = re.compile(r"[^\W\d_]+")
# One in so many words is counted; the sample is halved at most so often.
_COUNTED, _HALVINGS = 16, 10


def train_bpe(texts: Iterable[bytes], vocab_size: int) -> bytes:
    """The tokenizer.json of a BPE of at most `vocab_size` tokens: fewer where the texts have no more pairs to merge.

    All byte values are tokens, so every UTF-8 text can be encoded. What is not UTF-8 counts as U+FFFD.

    Raises:
        IsoflopError: the library is not installed, or as the texts do.
    """
    library = tokenizers_library()
    from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

    made = library(models.BPE())
    split = pre_tokenizers.Split(Regex(WORDS), behavior="isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[SEPARATOR],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator((text.decode(errors="replace") for text in texts), trainer)
    return made.to_str().encode()


def evenly_spaced(texts: Iterable[bytes], *, n_bytes: int, most: int = SAMPLE_BYTES) -> Iterator[bytes]:
    """Those of `texts`, of about `n_bytes` in all, that make up `most` bytes when spread evenly; all where they fit."""
    seen = taken = 0
    for text in texts:
        if taken * n_bytes <= seen * most:
            taken += len(text)
            yield text
        seen += len(text)


def step_within_memory(texts: Iterable[bytes], most: int = MOST_LETTERS) -> int:
    """Of `texts` every so manyth can be trained on: 1 where all have at most `most` letters in their distinct words.

    Words are counted by a share of their hashes, so memory has a bound here too.
    """
    counted: list[dict[int, int]] = [{} for _ in range(_HALVINGS + 1)]
    for place, text in enumerate(texts):
        words = set(_LETTERS.findall(text.decode(errors="replace")))
        hashes = {zlib.crc32(word.encode()): len(word) for word in words}
        drawn = {number: letters for number, letters in hashes.items() if number % _COUNTED == 0}
        for halvings, letters_by_word in enumerate(counted):
            if place % (1 << halvings) == 0:
                letters_by_word.update(drawn)
    n_letters = [sum(letters_by_word.values()) * _COUNTED for letters_by_word in counted]
    return 1 << next((halvings for halvings, number in enumerate(n_letters) if number <= most), _HALVINGS)
