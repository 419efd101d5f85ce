"""AdamW with a rate per kind of weight (muP)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from isoflop.run_spec import OptimizerSpec


def build_optimizer(model: nn.Module, spec: OptimizerSpec) -> torch.optim.AdamW:
    """AdamW over three groups; each keeps its peak rate under `peak_lr`.

    Hidden matrices and head: rates scaled with width (and depth), decayed. Embedding and norm gains: the plain
    rate, not decayed (Yang et al. 2022, arXiv 2203.03466, table 8, Adam column).
    """
    groups: dict[str, list[nn.Parameter]] = {"hidden": [], "head": [], "plain": []}
    for name, weight in model.named_parameters():
        groups[_kind(name, weight)].append(weight)
    rates = {
        "hidden": spec.learning_rate * spec.hidden_rate_scale,
        "head": spec.learning_rate * spec.head_rate_scale,
        "plain": spec.learning_rate,
    }
    return torch.optim.AdamW(
        [
            {
                "params": weights,
                "lr": rates[kind],
                "peak_lr": rates[kind],
                "weight_decay": 0.0 if kind == "plain" else spec.decay_per_step / rates[kind],
            }
            for kind, weights in groups.items()
        ],
        betas=(spec.beta1, spec.beta2),
        eps=spec.epsilon,
        fused=True,
    )


def _kind(name: str, weight: Tensor) -> str:
    if weight.dim() == 1 or name == "embed_tokens.weight":
        return "plain"
    return "head" if name == "lm_head.weight" else "hidden"


def ensure_state(optimizer: torch.optim.AdamW) -> None:
    """Give every weight that has taken no step yet its moments, zero, as its first step would."""
    for group in optimizer.param_groups:
        for weight in group["params"]:
            if not optimizer.state[weight]:
                optimizer.state[weight] = {
                    "step": torch.zeros((), device=weight.device),
                    "exp_avg": torch.zeros_like(weight),
                    "exp_avg_sq": torch.zeros_like(weight),
                }


def rates(optimizer: torch.optim.AdamW, factor: float) -> list[float]:
    """Every group's rate at `factor` of its peak."""
    return [group["peak_lr"] * factor for group in optimizer.param_groups]


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's rate to `factor` of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor


def clip_gradients(weights: Iterable[Tensor], norm: Tensor, largest: float) -> None:
    """Scale all gradients so that their global norm, given, is at most `largest`."""
    torch.nn.utils.clip_grads_with_norm_(weights, largest, norm)
