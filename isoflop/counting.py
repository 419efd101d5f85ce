"""How parameters and the FLOPs of a training are counted."""

from enum import StrEnum
from typing import Literal

from isoflop.shape import ModelShape, ParamCount, Shape

# N in a table from elsewhere follows a convention that only its author knows; pooled sources may follow several.
Convention = ParamCount | Literal["as_given", "mixed"]


class FlopCount(StrEnum):
    """A convention of counting."""

    EXACT = "exact"  # as planned: every matrix product, attention included
    NO_ATTENTION = "no-attention"  # without QK^T and the weighted sum of values
    SIX_ND = "6nd"  # 6 N D, with N as parameters are counted


def flops_per_token(shape: Shape, flops: FlopCount, params: ParamCount) -> float:
    """Training FLOPs of one token, of a shape whose N counts as `params` say.

    Raises:
        ValueError: without attention, of a model that only its ladder counts.
    """
    if flops is FlopCount.SIX_ND:
        return 6 * shape.n_params(params)
    if flops is FlopCount.EXACT:
        return shape.flops_per_token
    if not isinstance(shape, ModelShape):
        raise ValueError(f"the attention of {shape} is not counted apart")
    return shape.flops_per_token - shape.attention_flops_per_token
