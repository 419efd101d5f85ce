"""Places in the held-out text where a question can be asked, and the draws that choose among them."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from random import Random
from typing import NamedTuple, TypeVar

from isoflop.probes.item import Item

_T = TypeVar("_T")

# A context of less says too little to answer anything by.
LEAST_CONTEXT = 8
# Draws of a wrong choice before an item is given up: choices that differ are nearly always there.
_TRIES = 40
_NOT_A_START = 0b1100_0000, 0b1000_0000  # of a UTF-8 character: the two highest bits are 10


class Place(NamedTuple):
    """Where an answer stands: bytes `start` to `end` of a document."""

    document: int
    start: int
    end: int


@dataclass(frozen=True)
class Text:
    """Documents as bytes, and how many bytes of them a question may have."""

    documents: Sequence[bytes]
    room: int

    def answer(self, place: Place) -> bytes:
        """What stands there."""
        return self.documents[place.document][place.start : place.end]

    def context(self, place: Place) -> bytes | None:
        """What stands before it, as much as there is room for; None where that is too little or is not UTF-8."""
        document, n_answer = self.documents[place.document], place.end - place.start
        first = max(0, place.start - (self.room - n_answer))
        mask, value = _NOT_A_START
        while first < place.start and document[first] & mask == value:
            first += 1
        context = document[first : place.start]
        usable = len(context.strip()) >= LEAST_CONTEXT and is_text(context) and is_text(self.answer(place))
        return context if usable else None


def is_text(content: bytes) -> bool:
    """Whether it is whole UTF-8."""
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


class Draw:
    """Choices that are the same for equal seeds, on every machine and Python: they rest on `Random.random` alone."""

    def __init__(self, seed: str) -> None:
        self._random = Random(seed)  # noqa: S311 - no secret

    def index(self, n: int) -> int:
        """One of 0 .. n - 1."""
        return int(self._random.random() * n)

    def shuffled(self, values: Iterable[_T]) -> list[_T]:
        """The values in another order."""
        keyed = [(self._random.random(), index, value) for index, value in enumerate(values)]
        return [value for _, _, value in sorted(keyed, key=lambda one: one[:2])]

    def in_turn(self, places: Iterable[Place], group: Callable[[Place], Hashable]) -> Iterator[Place]:
        """The places in another order in which every group has its turn, so that none of them is most of the first."""
        groups: dict[Hashable, list[Place]] = defaultdict(list)
        for place in places:
            groups[group(place)].append(place)
        mixed = [self.shuffled(members) for members in self.shuffled(groups.values())]
        return (place for turn in zip_longest(*mixed) for place in turn if place is not None)

    def others(self, answer: bytes, among: Sequence[bytes], n: int) -> list[bytes] | None:
        """`n` of `among` that differ from the answer and from each other; None where they are not found."""
        found: list[bytes] = []
        for _ in range(_TRIES if among else 0):
            one = among[self.index(len(among))]
            if one != answer and one not in found:
                found.append(one)
            if len(found) == n:
                return found
        return None

    def item(self, context: bytes, answer: bytes, others: Sequence[bytes]) -> Item:
        """The question, the right choice anywhere among the others."""
        at = self.index(len(others) + 1)
        return Item(context, (*others[:at], answer, *others[at:]), at)


def items_at(
    places: Iterable[Place], text: Text, draw: Draw, wrong: Callable[[bytes], Sequence[bytes]], n_choices: int
) -> Iterator[Item]:
    """A question at each place that gives one; `wrong` has what may stand beside an answer, all of its bytes."""
    for place in places:
        context, answer = text.context(place), text.answer(place)
        others = None if context is None else draw.others(answer, wrong(answer), n_choices - 1)
        if context is not None and others is not None:
            yield draw.item(context, answer, others)
