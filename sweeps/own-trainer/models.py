"""A model of one's own under isoflop's loop: GPT-2's layout, small (learned positions, LayerNorm, GELU, tied head).

factory.toml names `gpt`. It is called with seven numbers and returns a module from token ids to logits.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, width: int, n_heads: int, n_layers: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"up": nn.Linear(width, 4 * width), "down": nn.Linear(4 * width, width)})
        for linear in (*self.attn.values(), *self.mlp.values()):
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
            nn.init.zeros_(linear.bias)
        with torch.no_grad():  # what writes to the residual stream
            for linear in (self.attn["proj"], self.mlp["down"]):
                linear.weight /= math.sqrt(2 * n_layers)

    def forward(self, x: Tensor) -> Tensor:
        B, T, D = x.shape
        q, k, v = self.attn["qkv"](self.ln_1(x)).view(B, T, 3, self.n_heads, D // self.n_heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, T, K)
        x = x + self.attn["proj"](mixed.transpose(1, 2).flatten(2))
        return x + self.mlp["down"](F.gelu(self.mlp["up"](self.ln_2(x))))


class GPT(nn.Module):
    def __init__(self, n_layers: int, width: int, n_heads: int, vocab_size: int, context_length: int) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab_size, width), nn.Embedding(context_length, width)
        self.h = nn.ModuleList(Block(width, n_heads, n_layers) for _ in range(n_layers))
        self.ln_f = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, vocab_size, bias=False)
        nn.init.normal_(self.wte.weight, std=0.1)
        nn.init.normal_(self.wpe.weight, std=0.1)
        self.lm_head.weight = self.wte.weight  # tied: counted once, as embedding

    def forward(self, tokens: Tensor) -> Tensor:
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.wte(tokens) + self.wpe(positions)  # (B, T, D)
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x)) / math.sqrt(x.shape[-1])  # (B, T, V)


def gpt(
    *, n_layers: int, width: int, n_heads: int, head_dim: int, d_ff: int, vocab_size: int, context_length: int
) -> nn.Module:
    """The factory. head_dim and d_ff are left aside: heads share the width, the MLP is four times as wide."""
    return GPT(n_layers, width, n_heads, vocab_size, context_length)
