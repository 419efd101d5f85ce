"""The decoder that is trained: pre-norm, RMSNorm, rotary positions, QK-norm, SwiGLU, untied head.

Every weight has one counterpart in Hugging Face's Qwen3 (same names, same layout).

Legend: B sequences, T tokens, V vocabulary, D width, H heads, K head_dim, F hidden size of the MLP.
"""

import math
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from isoflop.shape import NORM_EPSILON, ROPE_THETA, ModelShape


class RMSNorm(nn.Module):
    """x / rms(x) * gain over the last dimension (Zhang & Sennrich 2019, arXiv 1910.07467)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size))

    def forward(self, x: Tensor) -> Tensor:
        """(..., size) -> (..., size)."""
        weight = self.weight.to(x.dtype)  # under autocast, queries and keys come in bfloat16
        return F.rms_norm(x, (weight.numel(),), weight, NORM_EPSILON)


class Attention(nn.Module):
    """Causal softmax(Q K^T / sqrt(K)) V with normalised, rotated queries and keys."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.n_heads, self.head_dim = shape.n_heads, shape.head_dim
        inner = shape.n_heads * shape.head_dim
        self.q_proj = nn.Linear(shape.width, inner, bias=False)
        self.k_proj = nn.Linear(shape.width, inner, bias=False)
        self.v_proj = nn.Linear(shape.width, inner, bias=False)
        self.o_proj = nn.Linear(inner, shape.width, bias=False)
        self.q_norm = RMSNorm(shape.head_dim)
        self.k_norm = RMSNorm(shape.head_dim)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D); cos and sin are (T, K)."""
        heads = (*x.shape[:2], self.n_heads, self.head_dim)
        q = rotate(self.q_norm(self.q_proj(x).view(heads)).transpose(1, 2), cos, sin)  # (B, H, T, K)
        k = rotate(self.k_norm(self.k_proj(x).view(heads)).transpose(1, 2), cos, sin)  # (B, H, T, K)
        v = self.v_proj(x).view(heads).transpose(1, 2)  # (B, H, T, K)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, T, K)
        return cast(Tensor, self.o_proj(mixed.transpose(1, 2).flatten(2)))  # (B, T, D)


class MLP(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x)) (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.d_ff, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.d_ff, bias=False)
        self.down_proj = nn.Linear(shape.d_ff, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return cast(Tensor, self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x)))


class Block(nn.Module):
    """Attention and MLP, each behind a norm and added to the residual stream."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(shape.width)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = RMSNorm(shape.width)
        self.mlp = MLP(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return cast(Tensor, x + self.mlp(self.post_attention_layernorm(x)))


class Decoder(nn.Module):
    """Tokens to logits."""

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.width)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.n_layers))
        self.norm = RMSNorm(shape.width)
        self.lm_head = nn.Linear(shape.width, shape.vocab_size, bias=False)
        cos, sin = rotary_tables(shape.context_length, shape.head_dim)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T) token ids -> (B, T, V) logits; T at most the context length."""
        length = tokens.shape[1]
        cos, sin = self.cos[:length], self.sin[:length]  # (T, K)
        x = self.embed_tokens(tokens)  # (B, T, D)
        for block in self.layers:
            x = block(x, cos, sin)
        return cast(Tensor, self.lm_head(self.norm(x)))  # (B, T, V)


def rotary_tables(context_length: int, head_dim: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of position times frequency, each (T, K), halves repeated (Qwen3's layout)."""
    frequency = ROPE_THETA ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)  # (K/2,)
    angle = torch.arange(context_length, dtype=torch.float64)[:, None] * frequency  # (T, K/2)
    angle = torch.cat((angle, angle), dim=-1)  # (T, K)
    return angle.cos().float(), angle.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions applied to (B, H, T, K): pairs (i, i + K/2) turn by their angle."""
    first, second = x.chunk(2, dim=-1)
    return x * cos.to(x.dtype) + torch.cat((-second, first), dim=-1) * sin.to(x.dtype)


def build_model(shape: ModelShape, seed: int) -> Decoder:
    """A decoder with its initial weights, drawn on the CPU so that every device starts alike.

    muP (Yang et al. 2022, arXiv 2203.03466): hidden matrices N(0, 1/fan-in), embedding N(0, 1), head zero;
    matrices that write to the residual stream are divided by sqrt(2 n_layers).
    """
    model = Decoder(shape)
    generator = torch.Generator().manual_seed(seed)
    residual_scale = 1.0 / math.sqrt(2 * shape.n_layers)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 1:
                weight.fill_(1.0)
            elif name == "lm_head.weight":
                weight.zero_()
            elif name == "embed_tokens.weight":
                weight.normal_(0.0, 1.0, generator=generator)
            else:
                writes = name.endswith(("o_proj.weight", "down_proj.weight"))
                std = weight.shape[1] ** -0.5 * (residual_scale if writes else 1.0)
                weight.normal_(0.0, std, generator=generator)
    return model
