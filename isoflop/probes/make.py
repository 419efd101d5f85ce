"""The built-in probes of a held-out text."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType

from isoflop.probes.brackets import bracket
from isoflop.probes.continuations import continuation, second_half
from isoflop.probes.item import Item, LeftOut, Probe
from isoflop.probes.places import Draw, Text
from isoflop.probes.words import frequent_word, spelling

# Raised when a change asks other questions, so that what was measured with the old ones is measured again.
PROBE_VERSION = 1

N_ITEMS = 1000
# A standard error of 0.07 at a half: fewer questions say nothing.
FEWEST_ITEMS = 50
# Longer questions cost more and do not tell models of this size apart better.
MOST_BYTES, FEWEST_BYTES = 128, 32

_MAKERS: Mapping[str, Callable[[Text, Draw], Iterator[Item]]] = MappingProxyType(
    {
        "continuation": continuation,
        "second_half": second_half,
        "frequent_word": frequent_word,
        "bracket": bracket,
        "spelling": spelling,
    }
)
PROBE_NAMES = tuple(_MAKERS)


def make_probes(documents: Sequence[bytes], context_length: int, seed: int = 0) -> tuple[Probe | LeftOut, ...]:
    """The probes of the documents, each with about 1000 questions, in a fixed order; equal arguments give equal ones.

    A question and any of its choices together have at most `context_length` bytes (and 128), so at most as many tokens
    of any tokenizer that makes no more tokens than there are bytes.
    """
    if context_length < FEWEST_BYTES:
        reason = f"a context of {context_length} tokens is too short for a question of {FEWEST_BYTES} bytes"
        return tuple(LeftOut(name, reason) for name in PROBE_NAMES)
    text = Text(documents, min(context_length, MOST_BYTES))
    return tuple(_made(name, text, seed) for name in PROBE_NAMES)


def _made(name: str, text: Text, seed: int) -> Probe | LeftOut:
    items = tuple(islice(_MAKERS[name](text, Draw(f"{name} {seed}")), N_ITEMS))
    if len(items) >= FEWEST_ITEMS:
        return Probe(name, items)
    return LeftOut(name, f"the held-out text gives {len(items)} questions of this kind; {FEWEST_ITEMS} are needed")
