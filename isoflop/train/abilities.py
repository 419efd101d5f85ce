"""What a trained model makes of the built-in probes of its held-out text."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from isoflop.corpus import Corpus, Tokenizer, heldout_documents, tokenizer_of
from isoflop.probes import PROBE_VERSION, Item, LeftOut, Probe, make_probes
from isoflop.result import Metric
from isoflop.train.metrics import bits_per_byte, in_bits, now
from isoflop.train.model import Decoder
from isoflop.train.score import Continuation, Floats, log_likelihoods

Between = Callable[[], None]


@dataclass(frozen=True)
class ProbeSet:
    """The probes of a corpus at a context length, and those that its text does not give."""

    probes: tuple[Probe, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def metric_names(self) -> tuple[str, ...]:
        """What its metrics are called."""
        return tuple(name for probe in self.probes for name in _names(probe))


# A process that trains run after run makes the questions once.
_MADE: dict[tuple[str, int], ProbeSet] = {}


def probe_set(corpus: Corpus, context_length: int) -> ProbeSet:
    """The probes for models of that context length."""
    key = corpus.manifest.fingerprint, context_length
    if key not in _MADE:
        made = make_probes(heldout_documents(corpus), context_length)
        probes = tuple(one for one in made if isinstance(one, Probe))
        _MADE.clear()  # a sweep has one corpus and one context length
        _MADE[key] = ProbeSet(probes, tuple(one for one in made if isinstance(one, LeftOut)))
    return _MADE[key]


def probe_metrics(model: Decoder, corpus: Corpus, between: Between = lambda: None) -> tuple[Metric, ...]:
    """Accuracy and bits per byte of the right answer of every probe; `model` in float32, on any device."""
    tokenizer = tokenizer_of(corpus)
    return tuple(
        metric
        for probe in probe_set(corpus, model.shape.context_length).probes
        for metric in _of_probe(probe, choice_scores(model, probe.items, tokenizer, between), corpus)
    )


def choice_scores(
    model: Decoder, items: Sequence[Item], tokenizer: Tokenizer, between: Between = lambda: None
) -> list[Floats]:
    """The log likelihood of every choice of every question, nats, (n choices,) each.

    Context and choice become tokens each by itself, so that the choices of a question follow the same tokens.
    """
    choices = [one for item in items for one in _continuations(item, tokenizer, model.shape.context_length)]
    found = log_likelihoods(model, choices, between)
    ends = np.cumsum([len(item.choices) for item in items])
    return np.split(found, ends[:-1])


def _continuations(item: Item, tokenizer: Tokenizer, context_length: int) -> list[Continuation]:
    """The choices after their context, which loses its beginning where a tokenizer makes more tokens than bytes."""
    choices = [_tokens(tokenizer, choice) for choice in item.choices]
    context = _tokens(tokenizer, item.context)
    first = max(0, len(context) + max(map(len, choices)) - context_length - 1)
    return [Continuation(context[first:], choice) for choice in choices]


def _tokens(tokenizer: Tokenizer, text: bytes) -> list[int]:
    """Without the separator: a question stands in the middle of a text."""
    return [int(token) for token in tokenizer.encode(text)[:-1]]


def _names(probe: Probe) -> tuple[str, str]:
    return f"{probe.name}_accuracy", f"{probe.name}_bits_per_byte"


def _of_probe(probe: Probe, scores: Sequence[Floats], corpus: Corpus) -> tuple[Metric, Metric]:
    n_items = len(probe.items)
    right = sum(_is_right(item, found) for item, found in zip(probe.items, scores, strict=True)) / n_items
    nats = np.array([-found[item.answer] for item, found in zip(probe.items, scores, strict=True)])
    bits, error = bits_per_byte(nats, np.array([len(item.right) for item in probe.items], np.float64))
    accuracy, of_answer = _names(probe)
    fingerprint = corpus.manifest.fingerprint
    return (
        Metric(
            name=accuracy,
            value=right,
            standard_error=math.sqrt(right * (1 - right) / n_items),
            n_items=n_items,
            unit="share",
            higher_is_better=True,
            chance=probe.chance,
            majority=probe.majority,
            probe_version=PROBE_VERSION,
            corpus_fingerprint=fingerprint,
            evaluated_at=now(),
        ),
        in_bits(of_answer, bits, error, n_items, fingerprint),
    )


def _is_right(item: Item, scores: Floats) -> bool:
    """Whether the right choice is likelier than each other, in total and, of equal bytes, per byte. A tie is wrong."""
    return bool((np.delete(scores, item.answer) < scores[item.answer]).all())
