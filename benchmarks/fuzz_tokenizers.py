"""Is every garbled tokenizer.json either a tokenizer or refused in one sentence, whatever the library does inside?

Files are damaged bytes, cut, or JSON with values exchanged or left out. A tokenizer that is accepted must encode and
decode a few texts, or refuse them in one sentence too.

    python benchmarks/fuzz_tokenizers.py [--cases 10000] [--seed 0]
"""

import argparse
import copy
import json
import random
import time
from collections import Counter
from collections.abc import Iterator

from isoflop.corpus.tokenizers.bpe import train_bpe
from isoflop.corpus.tokenizers.tokenizer_file import file_tokenizer
from isoflop.errors import IsoflopError

NAME = "'fuzz.json'"
SLOW_SECONDS = 5.0
TEXTS = (b"", b"some words", "caf\u00e9 \u4e2d <|endoftext|>".encode(), b"\n\t  a")
ODD = (
    None, True, False, 0, -1, 1, 2**31, 2**32, 2**64, 1e308, "", "x", "<|endoftext|>", [], {}, [[]], {"a": 1},
    "(" * 50, "(a+)+$", "\ud800", ["a", "b"], "BPE", "WordLevel", "Unigram", "WordPiece", "ByteLevel", "Sequence",
    "Split", "Metaspace", "BertNormalizer", "NFC", "Replace",
)  # fmt: skip


def main() -> None:
    """Prints how many files were accepted and refused; a file that is neither ends the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    counts = fuzz(given.seed, given.cases)
    print(", ".join(f"{number} {what}" for what, number in sorted(counts.items())))


def fuzz(seed: int, n_cases: int) -> Counter[str]:
    """What became of so many files: accepted, refused, slow.

    Raises:
        AssertionError: a sentence without the file's name or of several lines, or tokens outside the vocabulary.
    """
    drawn = random.Random(seed)
    good = train_bpe([b"some words and other words 123 \xc3\xa9\n" * 5, b"def f(x):\n    return x\n"], 270)
    whole = json.loads(good)
    places = list(_places(whole, ()))
    counts: Counter[str] = Counter()
    for _ in range(n_cases):
        begun = time.monotonic()
        counts[_outcome(_garbled(drawn, good, whole, places))] += 1
        counts["slow"] += time.monotonic() - begun > SLOW_SECONDS
    return counts


def _outcome(content: bytes) -> str:
    try:
        tokenizer = file_tokenizer(content, kind="file", where=NAME)
        for text in TEXTS:
            tokens = tokenizer.encode(text)
            assert tokens.max() < tokenizer.vocab_size
            tokenizer.decode(tokens)
    except IsoflopError as error:
        assert NAME in error.message, error.message
        assert "\n" not in error.message, error.message
        return "refused"
    return "accepted"


def _garbled(drawn: random.Random, good: bytes, whole: object, places: list[tuple[object, ...]]) -> bytes:
    kind = drawn.random()
    if kind < 0.2:
        damaged = bytearray(good)
        for _ in range(drawn.choice([1, 1, 3, 20])):
            damaged[drawn.randrange(len(damaged))] = drawn.randrange(256)
        return bytes(damaged)
    if kind < 0.3:
        return good[: drawn.randrange(len(good))]
    content = copy.deepcopy(whole)
    for _ in range(drawn.choice([1, 1, 2, 4])):
        _change(drawn, content, drawn.choice(places))
    return json.dumps(content).encode()


def _change(drawn: random.Random, content: object, place: tuple[object, ...]) -> None:
    inside = content
    try:
        for key in place[:-1]:
            inside = inside[key]  # type: ignore[index]
        if drawn.random() < 0.25:
            del inside[place[-1]]  # type: ignore[attr-defined]
        else:
            inside[place[-1]] = copy.deepcopy(drawn.choice(ODD))  # type: ignore[index]
    except (LookupError, TypeError):
        return  # an earlier change took the place away


def _places(content: object, path: tuple[object, ...]) -> Iterator[tuple[object, ...]]:
    """Every place in the document but those deep in the vocabulary, of which some will do."""
    if path:
        yield path
    if isinstance(content, dict):
        for key, value in list(content.items())[:40]:
            yield from _places(value, (*path, key))
    elif isinstance(content, list):
        for index, value in enumerate(content[:20]):
            yield from _places(value, (*path, index))


if __name__ == "__main__":
    main()
