"""Text out of a trained decoder, a token at a time, with the keys and values of the tokens before kept.

Legend: T tokens of context, V vocabulary, H heads, K head_dim.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from isoflop.corpus import Tokenizer
from isoflop.errors import IsoflopError
from isoflop.train.model import Attention, Block, Decoder, rotate

# How many tokens are decoded anew with each further one, and how many of them are kept when more are there: the first
# token of a text may be decoded otherwise than the same one within.
_WINDOW, _OVERLAP = 64, 8


class Cache:
    """Keys and values of the tokens so far, in every block.

    Attributes:
        length: tokens so far, at most T.
    """

    def __init__(self, model: Decoder) -> None:
        shape = model.shape
        size = (1, shape.n_heads, shape.context_length, shape.head_dim)  # (1, H, T, K)
        self.keys = [torch.empty(size) for _ in range(shape.n_layers)]
        self.values = [torch.empty(size) for _ in range(shape.n_layers)]
        self.length = 0


def generate(model: Decoder, prompt: Sequence[int], *, temperature: float, seed: int) -> Iterator[int]:
    """Tokens that go on from `prompt` (at least one), without end; temperature 0 takes the likeliest.

    The model sees at most T tokens. Where they are full it goes on from the last half of them, as a new start.
    """
    generator = torch.Generator().manual_seed(seed)
    length = model.shape.context_length
    seen = within_context(prompt, length)
    fresh, cache = seen, Cache(model)
    while True:
        token = _choose(_next_logits(model, fresh, cache), temperature, generator)
        yield token
        seen = [*seen, token]
        fresh = [token]
        if len(seen) > length:
            seen = within_context(seen, length)
            fresh, cache = seen, Cache(model)


def within_context(tokens: Sequence[int], length: int) -> list[int]:
    """All of `tokens`, or of more than `length` the last half of so many."""
    return list(tokens if len(tokens) <= length else tokens[-max(1, length // 2) :])


def _choose(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    if temperature == 0:
        return int(logits.argmax())
    # From the largest down, and in float64: a temperature near 0 would make infinities of which softmax makes NaN.
    below = ((logits - logits.max()).double() / temperature).float()
    return int(torch.multinomial(torch.softmax(below, dim=0), 1, generator=generator))


@torch.no_grad()
def _next_logits(model: Decoder, fresh: Sequence[int], cache: Cache) -> Tensor:
    """The logits (V,) of the token after the `fresh` ones, which come after those of the cache and join it."""
    start, stop = cache.length, cache.length + len(fresh)
    turn = model.cos[start:stop], model.sin[start:stop]  # (t, K) each
    x = model.embed_tokens(torch.tensor([list(fresh)]))  # (1, t, D)
    for number, layer in enumerate(model.layers):
        block = cast(Block, layer)
        x = x + block.self_attn.o_proj(_attend(block.self_attn, block.input_layernorm(x), turn, cache, number))
        x = x + block.mlp(block.post_attention_layernorm(x))
    cache.length = stop
    logits: Tensor = model.lm_head(model.norm(x[:, -1]))[0]
    return logits.float()


def _attend(attention: Attention, x: Tensor, turn: tuple[Tensor, Tensor], cache: Cache, number: int) -> Tensor:
    """What the fresh tokens (1, t, D), turned by cosines and sines, gather from themselves and those before."""
    start, stop = cache.length, cache.length + x.shape[1]
    heads = (1, x.shape[1], attention.n_heads, attention.head_dim)
    q = rotate(attention.q_norm(attention.q_proj(x).view(heads)).transpose(1, 2), *turn)  # (1, H, t, K)
    keys, values = cache.keys[number], cache.values[number]
    keys[:, :, start:stop] = rotate(attention.k_norm(attention.k_proj(x).view(heads)).transpose(1, 2), *turn)
    values[:, :, start:stop] = attention.v_proj(x).view(heads).transpose(1, 2)
    # Several tokens come only at the start, where the mask is the triangle; a single one sees all before it.
    mixed = F.scaled_dot_product_attention(q, keys[:, :, :stop], values[:, :, :stop], is_causal=start == 0)
    return mixed.transpose(1, 2).flatten(2)  # (1, t, H K)


def text_after(
    model: Decoder, tokenizer: Tokenizer, prompt: str, *, n_tokens: int, temperature: float, seed: int
) -> Iterator[str]:
    """Pieces of the text that goes on from `prompt`, at most `n_tokens` tokens or to the end of the document.

    A character comes when all its bytes are there; bytes that are none are U+FFFD, as `bytes.decode` replaces them.

    Raises:
        IsoflopError: an empty prompt, where no token starts a document.
    """
    read = prompt_tokens(tokenizer, prompt)
    window, told = list[int](), ""  # the last tokens, and what of their text is out
    for token in islice(generate(model, read, temperature=temperature, seed=seed), n_tokens):
        if token == tokenizer.separator:
            break
        window.append(token)
        whole = _text(tokenizer, window)
        text = whole.rstrip("\ufffd")  # more bytes may make a character of its end
        if text.startswith(told) and len(text) > len(told):
            yield text[len(told) :]
            told = text
        if len(window) > _WINDOW and whole == told:
            window = window[-_OVERLAP:]
            told = _text(tokenizer, window)
    yield _text(tokenizer, window)[len(told) :]


def prompt_tokens(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The tokens of `prompt`; of an empty one, the token that ends the document before.

    Raises:
        IsoflopError: an empty prompt, where no token ends a document.
    """
    tokens = [int(token) for token in tokenizer.encode(prompt.encode())]
    if tokenizer.separator is not None and tokens and tokens[-1] == tokenizer.separator:
        tokens = tokens[:-1] or tokens
    if not tokens:
        raise IsoflopError(
            "The prompt is empty, and no token of this model starts a document.", hint="Give a --prompt."
        )
    return tokens


def _text(tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
    return tokenizer.decode(np.array(tokens, tokenizer.dtype)).decode("utf-8", "replace")
