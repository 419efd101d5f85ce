"""Questions about words: which frequent one comes next, and how one is spelt."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from isoflop.probes.item import Item
from isoflop.probes.places import Draw, Place, Text, items_at

N_CHOICES = 4
# Letters, underscores and whatever is not ASCII, after a space, which belongs to the answer: tokenizers see it so.
_WORD = re.compile(rb" (?=[A-Za-z_\x80-\xff])[A-Za-z_\x80-\xff]{2,16}(?![A-Za-z0-9_\x80-\xff])")
_PLAIN_WORD = re.compile(rb" [a-z]{6,16}(?![A-Za-z0-9_\x80-\xff])")
_ANY_WORD = re.compile(rb"[A-Za-z]{6,16}")
# The words of a language that are met everywhere: `the`, `of`; `return`, `self`.
N_FREQUENT = 100
_LEAST_COUNT = 5


def frequent_word(text: Text, draw: Draw) -> Iterator[Item]:
    """Which of four frequent words of equal length comes next; the text itself says which words are frequent."""
    places = [
        Place(number, *match.span())
        for number, document in enumerate(text.documents)
        for match in _WORD.finditer(document)
    ]
    counts = Counter(map(text.answer, places))
    frequent = sorted((word for word in counts if counts[word] >= _LEAST_COUNT), key=lambda word: (-counts[word], word))
    alike: dict[int, list[bytes]] = defaultdict(list)
    for word in frequent[:N_FREQUENT]:
        alike[len(word)].append(word)
    asked = {word for words in alike.values() if len(words) >= N_CHOICES for word in words}
    turns = draw.in_turn((place for place in places if text.answer(place) in asked), text.answer)
    return items_at(turns, text, draw, lambda answer: alike[len(answer)], N_CHOICES)


def spelling(text: Text, draw: Draw) -> Iterator[Item]:
    """Which of two is a word: the one that stands there, or the same with two neighbouring letters exchanged."""
    places = (
        Place(number, *match.span())
        for number, document in enumerate(text.documents)
        for match in _PLAIN_WORD.finditer(document)
    )
    known = {word.lower() for document in text.documents for word in _ANY_WORD.findall(document)}
    turns = draw.in_turn(places, text.answer)
    return items_at(turns, text, draw, lambda word: _misspelt(word, known), 2)


def _misspelt(word: bytes, known: set[bytes]) -> list[bytes]:
    """The word with two neighbours exchanged, neither the first letter nor the last, where that is no word."""
    exchanged = (
        word[:i] + bytes((word[i + 1], word[i])) + word[i + 2 :]
        for i in range(2, len(word) - 2)
        if word[i] != word[i + 1]
    )
    return [other for other in exchanged if other.strip() not in known]
