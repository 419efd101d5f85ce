"""What transformers makes of an exported folder."""

import random
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3ForCausalLM

from isoflop.train.generate import generate
from tests.hf.exports import SHAPES, Example, make_example

pytestmark = pytest.mark.filterwarnings("default")  # not ours to mend


@pytest.fixture(scope="module", params=list(SHAPES))
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Example:
    return make_example(request.param, tmp_path_factory.mktemp("export") / "model")


def load(folder: Path) -> Qwen3ForCausalLM:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    assert type(model) is Qwen3ForCausalLM
    return model.eval()


def batches(example: Example) -> list[torch.Tensor]:
    """A sequence of real tokens, and eight of random ones."""
    length, vocab_size = example.run.shape.context_length, example.run.shape.vocab_size
    drawn = torch.randint(vocab_size, (8, length), generator=torch.Generator().manual_seed(0))
    return [torch.tensor([example.real_tokens]), drawn]


def test_logits_are_ours_within_a_ten_thousandth(example: Example) -> None:
    theirs = load(example.folder)
    with torch.no_grad():
        for tokens in batches(example):
            own, other = example.model(tokens), theirs(tokens).logits
            assert own.abs().max() > 1  # not a head of zeros
            assert (own - other).abs().max() < 1e-4
            assert own.argmax(-1).equal(other.argmax(-1))


def test_logits_are_ours_to_the_bit_once_both_turn_by_the_same_tables(example: Example) -> None:
    theirs = load(example.folder)
    length = example.run.shape.context_length
    cos, sin = theirs.model.rotary_emb(torch.zeros(1), torch.arange(length)[None])
    own_tables = example.model.cos.clone(), example.model.sin.clone()
    assert (example.model.cos - cos[0]).abs().max() < 2e-5  # theirs in float32
    try:
        example.model.cos.copy_(cos[0])
        example.model.sin.copy_(sin[0])
        with torch.no_grad():
            for tokens in batches(example):
                assert example.model(tokens).equal(theirs(tokens).logits)
    finally:
        example.model.cos.copy_(own_tables[0])
        example.model.sin.copy_(own_tables[1])


def test_greedy_text_is_ours_with_and_without_a_cache(example: Example) -> None:
    theirs = load(example.folder)
    length = example.run.shape.context_length
    prompt = example.real_tokens[: length // 4]
    n_tokens = length // 2
    own = generate(example.model, prompt, temperature=0.0, seed=0)
    expected = prompt + [next(own) for _ in range(n_tokens)]
    for use_cache in (True, False):
        made = theirs.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=n_tokens,
            min_new_tokens=n_tokens,
            use_cache=use_cache,
        )[0].tolist()
        separator = example.tokenizer.separator
        if separator not in expected[len(prompt) :]:  # which they are told not to take
            assert made == expected


def test_tokens_of_two_thousand_strings_are_ours(example: Example) -> None:
    theirs = AutoTokenizer.from_pretrained(example.folder)
    letters = random.Random(0)
    ranges = [(0x20, 0x7E), (0x09, 0x0D), (0xA0, 0x17F), (0x400, 0x4FF), (0x4E00, 0x9FFF), (0x1F300, 0x1F6FF)]
    for _ in range(2000):
        spans = letters.choices(ranges, weights=[8, 1, 2, 1, 1, 1], k=letters.randint(0, 40))
        text = "".join(chr(letters.randint(*span)) for span in spans)
        own = example.tokenizer.encode(text.encode())[:-1].tolist()
        assert theirs(text).input_ids == own
        assert theirs.decode(own) == text
    assert theirs.eos_token_id == theirs.bos_token_id == theirs.pad_token_id == example.tokenizer.separator
    assert theirs.model_max_length == example.run.shape.context_length


def test_what_transformers_saves_again_has_the_same_bytes(example: Example, tmp_path: Path) -> None:
    load(example.folder).save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == (example.folder / "model.safetensors").read_bytes()


def test_a_left_padded_batch_gives_what_single_prompts_give(tmp_path: Path) -> None:
    example = make_example("64k", tmp_path / "model")
    theirs, tokenizer = load(example.folder), AutoTokenizer.from_pretrained(example.folder)
    prompts = ["def f(", "import os, sys", "x"]
    together = theirs.generate(**tokenizer(prompts, return_tensors="pt", padding=True), max_new_tokens=20)
    for prompt, row in zip(prompts, together, strict=True):
        alone = theirs.generate(**tokenizer([prompt], return_tensors="pt"), max_new_tokens=20)[0]
        n_kept = min(20, len(alone) - len(prompt))
        assert row[-20:][:n_kept].tolist() == alone[len(prompt) :][:n_kept].tolist()


def test_bfloat16_weights_are_rounded_as_torch_rounds_and_keep_the_loss(tmp_path: Path) -> None:
    example = make_example("bpe 512", tmp_path / "model", dtype="bfloat16")
    theirs = load(example.folder)
    assert theirs.dtype is torch.bfloat16
    for name, weight in example.model.named_parameters():
        key = name if name.startswith("lm_head") else f"model.{name}"
        assert theirs.state_dict()[key].equal(weight.to(torch.bfloat16))
    tokens = torch.tensor([example.real_tokens])
    with torch.no_grad():
        own = example.model(tokens)[0, :-1]
        other = theirs.float()(tokens).logits[0, :-1]
    losses = [torch.nn.functional.cross_entropy(logits, tokens[0, 1:]) for logits in (own, other)]
    assert abs(losses[0] - losses[1]) < 0.02  # random weights; a trained model's moved by 2e-4
