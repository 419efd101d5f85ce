"""The scorer against one item at a time, by hand; the metrics that are made of it."""

import json
import math
import random
import re

import numpy as np
import pytest
import torch

from isoflop.corpus import Corpus, Tokenizer, heldout_documents, tokenizer_of
from isoflop.corpus.tokenizers.bpe import train_bpe
from isoflop.corpus.tokenizers.tokenizer_file import file_tokenizer
from isoflop.errors import IsoflopError
from isoflop.probes import Item
from isoflop.train import abilities, foreign_text, score
from isoflop.train.abilities import choice_scores, probe_metrics, probe_set
from isoflop.train.foreign_text import ForeignText, text_metric, text_windows
from isoflop.train.metrics import bits_per_byte
from isoflop.train.model import Decoder, build_model
from isoflop.train.score import Continuation, log_likelihoods, window_losses
from tests.train.conftest import make_run


@pytest.fixture(scope="module")
def model(corpus: Corpus) -> Decoder:
    """Weights that tell tokens apart, as the initial ones do not."""
    made = build_model(make_run(corpus).shape, seed=0)
    torch.nn.init.normal_(made.lm_head.weight, std=0.3, generator=torch.Generator().manual_seed(1))
    return made.eval()


def naively(model: Decoder, context: list[int], tokens: list[int]) -> float:
    """One token after the other, in float64."""
    total = 0.0
    with torch.no_grad():
        for number, token in enumerate(tokens):
            seen = torch.tensor([context + tokens[:number]])
            total += float(torch.log_softmax(model(seen)[0, -1].double(), dim=0)[token])
    return total


def test_scores_in_batches_equal_those_of_one_item_at_a_time(model: Decoder) -> None:
    draw = random.Random(0)
    cases = [
        (
            [draw.randrange(257) for _ in range(draw.randint(1, 20))],
            [draw.randrange(257) for _ in range(draw.randint(1, 13))],
        )
        for _ in range(60)
    ]
    found = log_likelihoods(model, [Continuation(*case) for case in cases])
    assert found == pytest.approx([naively(model, *case) for case in cases], abs=1e-5)


def test_scores_do_not_depend_on_what_else_is_scored(model: Decoder) -> None:
    short, long = Continuation([1, 2, 3], [4, 5]), Continuation(list(range(20)), list(range(13)))
    alone = log_likelihoods(model, [short])
    assert log_likelihoods(model, [long, short])[1] == pytest.approx(alone[0], abs=1e-5)


def test_a_large_vocabulary_has_smaller_batches(monkeypatch: pytest.MonkeyPatch, model: Decoder) -> None:
    monkeypatch.setattr(score, "MOST_LOGITS", 257 * 100)
    read: list[int] = []
    hook = model.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].numel()))
    found = log_likelihoods(model, [Continuation([1, 2, 3], [4, 5])] * 60)
    assert max(read) == 100 and sum(read) == 60 * 4
    read.clear()
    sums = window_losses(model, torch.zeros((10, 33), dtype=torch.int64))
    assert read == [96, 96, 96, 32]
    monkeypatch.undo()
    hook.remove()
    assert found == pytest.approx(log_likelihoods(model, [Continuation([1, 2, 3], [4, 5])] * 60), abs=1e-5)
    assert sums == pytest.approx(window_losses(model, torch.zeros((10, 33), dtype=torch.int64)), abs=1e-4)


def test_equal_models_have_equal_metrics_to_the_last_bit(model: Decoder, corpus: Corpus) -> None:
    first, second = probe_metrics(model, corpus), probe_metrics(model, corpus)
    assert [m.model_dump(exclude={"evaluated_at"}) for m in first] == [
        m.model_dump(exclude={"evaluated_at"}) for m in second
    ]


def test_metrics_are_the_accuracy_and_the_bits_of_right_answers_with_errors(model: Decoder, corpus: Corpus) -> None:
    metrics = {metric.name: metric for metric in probe_metrics(model, corpus)}
    assert tuple(metrics) == probe_set(corpus, 32).metric_names
    [probe] = [one for one in probe_set(corpus, 32).probes if one.name == "continuation"]
    scores = choice_scores(model, probe.items, tokenizer_of(corpus))
    right = [int(np.argmax(found)) == item.answer for item, found in zip(probe.items, scores, strict=True)]
    share = sum(right) / len(right)
    accuracy = metrics["continuation_accuracy"]
    assert (accuracy.value, accuracy.chance, accuracy.n_items) == (share, 0.25, len(right))
    assert accuracy.standard_error == pytest.approx(math.sqrt(share * (1 - share) / len(right)))
    bits = [-found[item.answer] / math.log(2) / 12 for item, found in zip(probe.items, scores, strict=True)]
    of_answer = metrics["continuation_bits_per_byte"]
    assert of_answer.value == pytest.approx(np.mean(bits))
    assert of_answer.standard_error == pytest.approx(np.std(bits, ddof=1) / math.sqrt(len(bits)))
    assert not of_answer.higher_is_better and of_answer.chance is None


def test_a_model_that_knows_the_answers_is_always_right_and_one_that_knows_nothing_never(corpus: Corpus) -> None:
    blind = build_model(make_run(corpus).shape, seed=0).eval()  # a head of zeros: every token is as likely
    items = [Item(b"some text", (b"ab", b"cd"), 0)]
    [scores] = choice_scores(blind, items, tokenizer_of(corpus))
    assert scores == pytest.approx([-2 * math.log(257)] * 2)
    accuracy = probe_metrics(blind, corpus)[0]
    assert accuracy.value == 0.0  # a tie is no answer


def test_a_context_of_more_tokens_than_the_model_reads_loses_its_beginning(model: Decoder, corpus: Corpus) -> None:
    long, short = Item(b"x" * 50 + b"a" * 31, (b"bc", b"de"), 0), Item(b"a" * 31, (b"bc", b"de"), 0)
    found = choice_scores(model, [long, short], tokenizer_of(corpus))
    assert found[0] == pytest.approx(found[1], abs=1e-5)


@pytest.mark.parametrize("n_choice", [30, 33, 40])
def test_a_choice_that_fills_the_context_keeps_no_more_of_what_is_before(model, corpus, monkeypatch, n_choice) -> None:
    lengths: list[int] = []
    monkeypatch.setattr(
        abilities,
        "log_likelihoods",
        lambda _, choices, between: lengths.extend(len(one.context) for one in choices) or np.zeros(len(choices)),
    )
    choices = (b"a" * n_choice, b"b" * n_choice)
    choice_scores(model, [Item(b"some words before", choices, 0)], tokenizer_of(corpus))
    assert lengths == [max(0, 33 - n_choice)] * 2


def test_bits_per_byte_of_unequal_items_is_that_of_all_bytes_together() -> None:
    value, error = bits_per_byte(np.array([1.0, 4.0]) * math.log(2), np.array([1.0, 2.0]))
    assert value == pytest.approx(5 / 3)
    assert error == pytest.approx(np.std([1 - 5 / 3, 4 - 10 / 3], ddof=1) / 1.5 / math.sqrt(2))
    assert bits_per_byte(np.array([math.log(2)]), np.array([2.0])) == (0.5, 0.0)


def test_a_foreign_text_has_the_loss_of_its_windows_in_bits_per_byte(model: Decoder, corpus: Corpus) -> None:
    content = b"the quick brown fox jumps over the lazy dog " * 20
    metric = text_metric(model, ForeignText("fox", content), tokenizer_of(corpus))
    losses = [-naively(model, [content[at]], list(content[at + 1 : at + 33])) for at in range(0, len(content) - 32, 32)]
    assert metric.name == "text_fox_bits_per_byte"
    assert metric.n_items == len(losses)
    assert metric.value == pytest.approx(np.mean(losses) / 32 / math.log(2), abs=1e-5)


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    return file_tokenizer(train_bpe([b"some words and others " * 50], 300), kind="bpe", where="it")


def byte_lengths(tokenizer: Tokenizer, tokens: list[int]) -> list[int]:
    """Of a byte-level BPE, whose tokens are written with a character for each byte."""
    assert tokenizer.file is not None
    vocabulary = json.loads(tokenizer.file)["model"]["vocab"]
    written = {number: token for token, number in vocabulary.items()}
    return [len(written[token]) for token in tokens]


# Characters of one to four bytes, most of which are several tokens of that BPE.
MANY_BYTES = "some words, größer \u65e5\u672c\u8a9e \U0001f642 na\u00efve, others " * 30


def test_the_bytes_behind_tokens_are_those_of_the_text_whatever_a_token_cuts(bpe: Tokenizer) -> None:
    text = MANY_BYTES.encode()
    tokens, sizes = bpe.encode_with_sizes(text)
    assert tokens.tolist() == bpe.encode(text).tolist()
    assert (sizes.sum(), sizes[-1]) == (len(text), 0)
    ends, exact = np.cumsum(sizes[:-1]), np.cumsum(byte_lengths(bpe, tokens[:-1].tolist()))
    starts = {at for at, byte in enumerate(text) if byte & 0xC0 != 0x80} | {len(text)}
    assert [end for end in exact.tolist() if end in starts] == [
        e for e, x in zip(ends, exact, strict=True) if x in starts
    ]
    assert (ends - exact).min() >= 0 and (ends - exact).max() <= 3


def test_windows_of_a_text_have_its_bytes_and_not_those_of_replacement_characters(bpe: Tokenizer) -> None:
    text = ForeignText("many", MANY_BYTES.encode())
    windows = text_windows(text, bpe, 32)
    tokens = bpe.encode(text.content)[:-1].tolist()
    n_read = windows.tokens.shape[0] * 32
    exact = sum(byte_lengths(bpe, tokens[1 : n_read + 1]))
    assert windows.n_bytes.sum() == pytest.approx(exact, abs=6)
    assert windows.tokens[:, 1:].ravel().tolist() == tokens[1 : n_read + 1]


def test_of_a_long_text_pieces_from_all_over_it_are_read(bpe: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign_text, "_MOST_BYTES", 40_000)
    monkeypatch.setattr(foreign_text, "_PIECE_BYTES", 4000)
    lines = "".join(f"größer {number:06d}\n" for number in range(40_000))
    windows = text_windows(ForeignText("long", lines.encode()), bpe, 64)
    read = b"".join(bpe.decode(window.astype(bpe.dtype)) for window in windows.tokens)
    thousands = {int(found[:3]) for found in re.findall(rb" (\d{6})", read)}
    assert min(thousands) == 0 and max(thousands) == 39 and len(thousands) >= 10
    assert windows.n_bytes.sum() < 45_000
    assert len(windows.tokens) * 64 <= 131_072


def test_a_foreign_text_shorter_than_a_window_is_refused(model: Decoder, corpus: Corpus) -> None:
    with pytest.raises(IsoflopError, match="too few for a window of 32"):
        text_metric(model, ForeignText("short", b"a few words"), tokenizer_of(corpus))


def test_the_held_out_documents_are_those_that_were_held_out(corpus: Corpus) -> None:
    documents = heldout_documents(corpus)
    assert len(documents) == corpus.manifest.n_heldout_documents
    assert sum(map(len, documents)) == corpus.manifest.n_heldout_bytes
    assert all(document.startswith(b"document ") for document in documents)
