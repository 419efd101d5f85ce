"""How a text goes on: the next twelve bytes, and the second half of a line."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from isoflop.probes.item import Item
from isoflop.probes.places import LEAST_CONTEXT, Draw, Place, Text, is_text, items_at

N_CHOICES = 4
CONTINUATION_BYTES = 12
_BETWEEN_WORDS = re.compile(rb"(?<=\S) (?=\S)")
_LINE = re.compile(rb"\S[^\n]*\S")
_SHORTEST_LINE, _SHORTEST_HALF = 16, 6
# Wrong choices come from this many places: as many answers of one length as there are must be found there.
_POOL = 20_000


def continuation(text: Text, draw: Draw) -> Iterator[Item]:
    """Which twelve bytes follow; the others follow elsewhere. A question begins before the space before a word."""
    found = (
        Place(number, match.start(), match.start() + CONTINUATION_BYTES)
        for number, document in enumerate(text.documents)
        for match in _BETWEEN_WORDS.finditer(document, LEAST_CONTEXT)
        if match.start() + CONTINUATION_BYTES <= len(document)
    )
    return _asked(found, text, draw)


def second_half(text: Text, draw: Draw) -> Iterator[Item]:
    """How a line ends; the others are ends of as many bytes of other lines."""
    return _asked(_halves(text), text, draw)


def _halves(text: Text) -> Iterator[Place]:
    for number, document in enumerate(text.documents):
        for line in _LINE.finditer(document):
            start, end = line.span()
            if end - start >= _SHORTEST_LINE:
                middle = document.find(b" ", (start + end) // 2, end)
                if middle >= 0 and _SHORTEST_HALF <= end - middle <= text.room // 2:
                    yield Place(number, middle, end)


def _asked(found: Iterable[Place], text: Text, draw: Draw) -> Iterator[Item]:
    places = list(draw.in_turn(found, lambda place: place.document))
    pools: dict[int, list[bytes]] = defaultdict(list)
    for place in places[:_POOL]:
        answer = text.answer(place)
        if is_text(answer):
            pools[len(answer)].append(answer)
    return items_at(places, text, draw, lambda answer: pools[len(answer)], N_CHOICES)
