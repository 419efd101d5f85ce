"""AdamW with a rate per kind of weight (muP)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from isoflop.run_spec import OptimizerSpec


def build_optimizer(model: nn.Module, spec: OptimizerSpec) -> torch.optim.AdamW:
    """AdamW over two groups; each keeps its peak rate under `peak_lr`.

    Hidden matrices and head: rate scaled by base width / width, decayed. Embedding and norm gains: the plain
    rate, not decayed (Yang et al. 2022, arXiv 2203.03466, table 8, Adam column).
    """
    scaled: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, weight in model.named_parameters():
        is_matrix = weight.dim() == 2 and "embed_tokens" not in name
        (scaled if is_matrix else plain).append(weight)
    groups = [
        _group(scaled, spec.learning_rate * spec.matrix_rate_scale, spec.weight_decay),
        _group(plain, spec.learning_rate, 0.0),
    ]
    return torch.optim.AdamW(groups, betas=(spec.beta1, spec.beta2), eps=spec.epsilon, fused=True)


def _group(weights: list[nn.Parameter], peak: float, weight_decay: float) -> dict[str, object]:
    return {"params": weights, "lr": peak, "peak_lr": peak, "weight_decay": weight_decay}


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's rate to `factor` of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor


def clip_gradients(weights: Iterable[Tensor], norm: Tensor, largest: float) -> None:
    """Scale all gradients so that their global norm, given, is at most `largest`."""
    torch.nn.utils.clip_grads_with_norm_(weights, largest, norm)
