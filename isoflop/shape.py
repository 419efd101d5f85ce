"""The shape of a decoder and what follows from it in closed form: parameters and FLOPs.

No torch here: `plan`, `fit` and `report` need these numbers without a model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal

ParamCount = Literal["total", "non_embedding", "matmul"]

# Training = forward + backward; the backward pass of a matrix product is two products of the same size
# (Kaplan et al. 2020, arXiv 2001.08361, section 2.1).
TRAINING_PASSES = 3
FLOPS_PER_MULTIPLY_ADD = 2

# The same in every shape.
NORM_EPSILON = 1e-6  # Qwen3's
ROPE_THETA = 10_000.0  # base of the rotary positions: Su et al. 2021, arXiv 2104.09864


@dataclass(frozen=True)
class ModelShape:
    """A pre-norm decoder with rotary positions, QK-norm, SwiGLU and an untied head (the Qwen3 layout).

    Attributes:
        n_layers: blocks.
        width: size of the residual stream.
        n_heads: attention heads per block (keys and values have as many).
        head_dim: size of one head, even; n_heads * head_dim need not equal width.
        d_ff: hidden size of the gated MLP.
        vocab_size: rows of the embedding and of the head.
        context_length: tokens per training sequence, T.
    """

    n_layers: int
    width: int
    n_heads: int
    head_dim: int
    d_ff: int
    vocab_size: int
    context_length: int

    @property
    def n_params_embedding(self) -> int:
        """Parameters of the token embedding."""
        return self.vocab_size * self.width

    @property
    def n_params_attention(self) -> int:
        """Parameters of the query, key, value and output projections of all layers."""
        return self.n_layers * 4 * self.width * self.n_heads * self.head_dim

    @property
    def n_params_mlp(self) -> int:
        """Parameters of the gate, up and down projections of all layers."""
        return self.n_layers * 3 * self.width * self.d_ff

    @property
    def n_params_norm(self) -> int:
        """Gains of the RMS norms: two per block, query and key norm per block, one at the end."""
        return self.n_layers * (2 * self.width + 2 * self.head_dim) + self.width

    @property
    def n_params_head(self) -> int:
        """Parameters of the untied output head."""
        return self.vocab_size * self.width

    @cached_property
    def n_params_non_embedding(self) -> int:
        """N without embedding and head (Kaplan et al. 2020)."""
        return self.n_params_attention + self.n_params_mlp + self.n_params_norm

    @cached_property
    def n_params_matmul(self) -> int:
        """N of the weights that enter every token's forward pass: non-embedding plus head."""
        return self.n_params_non_embedding + self.n_params_head

    @cached_property
    def n_params_total(self) -> int:
        """Every parameter (Hoffmann et al. 2022)."""
        return self.n_params_matmul + self.n_params_embedding

    def n_params(self, count: ParamCount) -> int:
        """N under the named convention."""
        return {
            "total": self.n_params_total,
            "non_embedding": self.n_params_non_embedding,
            "matmul": self.n_params_matmul,
        }[count]

    @property
    def attention_flops_per_token(self) -> int:
        """Training FLOPs per token of QK^T and of the weighted sum of values.

        Counted over the full context, not halved for causality, as in Hoffmann et al. 2022, appendix F.
        """
        products_per_layer = 2 * self.context_length * self.n_heads * self.head_dim
        return TRAINING_PASSES * FLOPS_PER_MULTIPLY_ADD * self.n_layers * products_per_layer

    @cached_property
    def flops_per_token(self) -> int:
        """Training FLOPs per token: all matrix products, forward and backward, attention and head included.

        Embedding look-up, norms, rotary and softmax are left out (about 1 % except at the smallest widths).
        Sources: Kaplan et al. 2020 table 1; Hoffmann et al. 2022 appendix F; PaLM (arXiv 2204.02311) appendix B.
        """
        weights = self.n_params_attention + self.n_params_mlp + self.n_params_head
        return TRAINING_PASSES * FLOPS_PER_MULTIPLY_ADD * weights + self.attention_flops_per_token

    def as_dict(self) -> dict[str, Any]:
        """The seven numbers as a JSON object."""
        return {name: getattr(self, name) for name in SHAPE_NUMBERS}

    def __str__(self) -> str:
        return f"{self.n_layers}x{self.width} (heads {self.n_heads}x{self.head_dim}, ff {self.d_ff})"


# What an entry of a ladder may say of a model, for the program that trains it.
Argument = bool | int | float | str
GROUPS = ("embedding", "attention", "mlp", "norm", "head")


# What a shape is; what follows from it is kept beside once it was asked for: a plan asks ten times.
SHAPE_NUMBERS = tuple(number.name for number in fields(ModelShape))


@dataclass(frozen=True)
class _ByGroup:
    """Counts of a model that isoflop did not define: the total, and groups that add up to it or are None."""

    n_params_total: int
    flops_per_token: int
    n_params_embedding: int | None = field(default=None, kw_only=True)
    n_params_attention: int | None = field(default=None, kw_only=True)
    n_params_mlp: int | None = field(default=None, kw_only=True)
    n_params_norm: int | None = field(default=None, kw_only=True)
    n_params_head: int | None = field(default=None, kw_only=True)

    @property
    def is_grouped(self) -> bool:
        """Whether the groups are known."""
        return self.n_params_embedding is not None

    @property
    def n_params_non_embedding(self) -> int | None:
        """N without embedding and head; None where the groups are not known."""
        return self._sum("attention", "mlp", "norm")

    @property
    def n_params_matmul(self) -> int | None:
        """N without the embedding; None where the groups are not known."""
        return self._sum("attention", "mlp", "norm", "head")

    def _sum(self, *groups: str) -> int | None:
        return sum(getattr(self, f"n_params_{group}") for group in groups) if self.is_grouped else None

    def n_params(self, count: ParamCount) -> int:
        """N under the named convention.

        Raises:
            ValueError: the groups it needs are not known.
        """
        counts = {
            "total": self.n_params_total,
            "non_embedding": self.n_params_non_embedding,
            "matmul": self.n_params_matmul,
        }
        if (found := counts[count]) is None:
            raise ValueError(f"{self} is not counted by group")
        return found


@dataclass(frozen=True)
class LadderModel(_ByGroup):
    """A model that a program of the user's own builds, as the user's ladder counts it.

    Attributes:
        n_params_total: every parameter, or whichever the user counts.
        flops_per_token: training FLOPs of one token, forward and backward.
        arguments: what else the entry says; the program is handed it.
        n_params_embedding, n_params_attention, n_params_mlp, n_params_norm, n_params_head: groups that add up to the
            total; None where the ladder gives the total alone.
    """

    arguments: Mapping[str, Argument] = field(default_factory=dict, hash=False)

    def as_dict(self) -> dict[str, Any]:
        """The model as a JSON object."""
        return {**vars(self), "arguments": dict(self.arguments)}

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self.arguments.items()) or f"N={self.n_params_total}"


@dataclass(frozen=True)
class CountedShape(_ByGroup):
    """A model that a factory of the user's own builds for seven numbers, as torch counts it.

    Attributes:
        n_params_total: every parameter, tied ones once.
        flops_per_token: training FLOPs of one token, forward and backward.
        n_layers, width, n_heads, head_dim, d_ff, vocab_size, context_length: what the factory is called with.
        n_params_embedding, n_params_attention, n_params_mlp, n_params_norm, n_params_head: groups that add up to the
            total; None where a parameter's name does not tell its group.
    """

    n_layers: int
    width: int
    n_heads: int
    head_dim: int
    d_ff: int
    vocab_size: int
    context_length: int

    @property
    def asked(self) -> ModelShape:
        """The seven numbers, as the shape rule gave them; its own counts are those of our decoder."""
        return ModelShape(**{name: getattr(self, name) for name in SHAPE_NUMBERS})

    def as_dict(self) -> dict[str, Any]:
        """The model as a JSON object."""
        return dict(vars(self))

    def __str__(self) -> str:
        return str(self.asked)


TrainableShape = ModelShape | CountedShape
"""What isoflop's own loop trains: our decoder, or a module that a factory of the user's own builds."""

Shape = ModelShape | CountedShape | LadderModel
"""What a run trains: one of these, or a model of a program's own."""
