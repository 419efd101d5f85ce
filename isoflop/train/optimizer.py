"""The optimizers, each with a rate per kind of weight (muP).

To the three roads of a step (eager, recorded, C++) all look alike: torch's `Optimizer`, whose groups name their peak
rate, their decay and their moments, and whose `step` heeds `grad_scale` and `found_inf` as torch's fused ones do.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from isoflop.errors import IsoflopError
from isoflop.run_spec import OptimizerSpec
from isoflop.train.muon import MuonAndAdamW
from isoflop.train.sgd import DecayedSGD, Uncompiled

ADAMW_MOMENTS, MOMENTUM = ("exp_avg", "exp_avg_sq"), ("momentum_buffer",)


class AdamW(Uncompiled, torch.optim.AdamW):
    """torch's."""


def build_optimizer(model: nn.Module, spec: OptimizerSpec) -> torch.optim.Optimizer:
    """The optimizer of `spec`; each group keeps its peak rate under `peak_lr` and its weights' moments under `moments`.

    Rates differ by kind of weight (Yang et al. 2022, arXiv 2203.03466, table 8). Only hidden matrices and the head
    decay, apart from the gradient (Loshchilov & Hutter 2019, arXiv 1711.05101).

    Raises:
        IsoflopError: this torch has no Muon.
    """
    adamw: dict[str, Any] = {"betas": (spec.beta1, spec.beta2), "eps": spec.epsilon, "fused": True}
    groups = _groups(model, spec)
    if spec.kind == "sgd":
        return DecayedSGD(groups.values(), momentum=spec.momentum)
    if spec.kind == "adamw":
        return AdamW(groups.values(), **adamw)
    if not hasattr(torch.optim, "Muon"):
        raise IsoflopError(
            f"torch {torch.__version__} has no Muon, which recipe.optimizer = 'muon' asks for.",
            hint="Install torch 2.9 or later, or choose another optimizer.",
        )
    matrices = [groups.pop("hidden"), groups.pop("writing")]
    return MuonAndAdamW(matrices, [*groups.values()], momentum=spec.momentum, adamw=adamw)


def factory_optimizer(groups: Iterable[dict[str, Any]], spec: OptimizerSpec) -> torch.optim.Optimizer:
    """AdamW of the `groups` of somebody's own module, each with "params", "lr" (its peak) and "weight_decay".

    Every weight has its moments from the start: one that never gets a gradient is in checkpoints like the others.
    """
    known = [{**group, "peak_lr": group["lr"], "moments": ADAMW_MOMENTS} for group in groups]
    optimizer = AdamW(known, betas=(spec.beta1, spec.beta2), eps=spec.epsilon, fused=True)
    ensure_state(optimizer)
    return optimizer


def _groups(model: nn.Module, spec: OptimizerSpec) -> dict[str, dict[str, Any]]:
    """The weights by kind, in the order of the groups: what differs in rate, decay or moments."""
    hidden = spec.learning_rate * spec.hidden_rate_scale
    rates = {
        "hidden": hidden,
        "writing": hidden * spec.writing_rate_scale,
        "head": spec.learning_rate * spec.head_rate_scale,
        "plain": spec.learning_rate,
        "shared": hidden if spec.kind == "sgd" else spec.learning_rate,
    }
    weights: dict[str, list[nn.Parameter]] = {kind: [] for kind in rates}
    for name, weight in model.named_parameters():
        weights[_kind(name, weight, spec)].append(weight)
    groups = {}
    for kind in (kind for kind, members in weights.items() if members):
        decay = 0.0 if kind in ("plain", "shared") else spec.decay_per_step / rates[kind]
        momentum = spec.kind == "sgd" or (spec.kind == "muon" and kind in ("hidden", "writing"))
        groups[kind] = {
            "params": weights[kind],
            "lr": rates[kind],
            "peak_lr": rates[kind],
            "weight_decay": decay,
            "moments": MOMENTUM if momentum else ADAMW_MOMENTS,
        }
    return groups


def _kind(name: str, weight: Tensor, spec: OptimizerSpec) -> str:
    """AdamW has three as a rule. Beside them: matrices that write to the residual stream, and for SGD gains of heads.

    All heads share their gains, so that a gain's gradient keeps its size in width as a hidden matrix's effect does.
    """
    if name.endswith(("q_norm.weight", "k_norm.weight")) and spec.kind == "sgd":
        return "shared"
    if weight.dim() == 1 or name == "embed_tokens.weight":
        return "plain"
    if name == "lm_head.weight":
        return "head"
    writes = name.endswith(("o_proj.weight", "down_proj.weight"))
    apart = spec.kind != "adamw" or spec.writing_rate_scale != 1.0
    return "writing" if writes and apart else "hidden"


def ensure_state(optimizer: torch.optim.Optimizer) -> None:
    """Give every weight that has taken no step yet its moments, zero, as its first step would."""
    for group in optimizer.param_groups:
        for weight in group["params"]:
            if not optimizer.state[weight]:
                shapes = state_shapes(group, weight)
                state = {name: torch.zeros(shape, device=weight.device) for name, shape in shapes.items()}
                optimizer.state[weight] = state


def state_shapes(group: dict[str, Any], weight: Tensor) -> dict[str, torch.Size]:
    """What an optimizer keeps of a weight of `group` after its first step: moments, and AdamW the number of steps."""
    shapes = dict.fromkeys(group["moments"], weight.shape)
    return shapes | ({"step": torch.Size()} if group["moments"] == ADAMW_MOMENTS else {})


def rates(optimizer: torch.optim.Optimizer, factor: float) -> list[float]:
    """Every group's rate at `factor` of its peak."""
    return [group["peak_lr"] * factor for group in optimizer.param_groups]


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's rate to `factor` of its peak."""
    for group, rate in zip(optimizer.param_groups, rates(optimizer, factor), strict=True):
        group["lr"] = rate


def clip_gradients(weights: Iterable[Tensor], norm: Tensor, largest: float) -> None:
    """Scale all gradients so that their global norm, given, is at most `largest`."""
    torch.nn.utils.clip_grads_with_norm_(weights, largest, norm)
