"""A question with its choices, and the questions of one kind."""

from collections import Counter
from dataclasses import dataclass
from statistics import fmean


@dataclass(frozen=True)
class Item:
    """A text and ways in which it may go on, of which one is right.

    Attributes:
        context: UTF-8 text.
        choices: UTF-8 texts, all different and of equal bytes: the likeliest is so per byte too.
        answer: index of the right one.
    """

    context: bytes
    choices: tuple[bytes, ...]
    answer: int

    @property
    def right(self) -> bytes:
        """The right choice."""
        return self.choices[self.answer]


@dataclass(frozen=True)
class Probe:
    """Questions of one kind, each within the context length."""

    name: str
    items: tuple[Item, ...]

    @property
    def chance(self) -> float:
        """Accuracy of a guess among the choices."""
        return fmean(1 / len(item.choices) for item in self.items)

    @property
    def majority(self) -> float:
        """Accuracy of who always names the text that is right most often."""
        return max(Counter(item.right for item in self.items).values()) / len(self.items)


@dataclass(frozen=True)
class LeftOut:
    """A kind of questions that the text does not give, and why, in one sentence."""

    name: str
    reason: str
