"""Stochastic gradient descent with momentum, weight decay apart from the gradient."""

from collections.abc import Callable, Iterable
from typing import Any

import torch


class Uncompiled:
    """Has an optimizer of torch not load torch's compiler when it is made, which takes a second of a core and more.

    torch wraps `add_param_group` so that compiled code leaves it alone, and imports its compiler for that.
    """

    add_param_group = getattr(
        torch.optim.Optimizer.add_param_group, "__wrapped__", torch.optim.Optimizer.add_param_group
    )


class DecayedSGD(Uncompiled, torch.optim.SGD):
    """torch's fused SGD; `weight_decay` shrinks the weights and stays out of momentum, as AdamW's does."""

    grad_scale: torch.Tensor | None = None
    """What gradients are divided by."""
    found_inf: torch.Tensor | None = None
    """Above zero, nothing moves."""

    def __init__(self, groups: Iterable[dict[str, Any]], *, momentum: float) -> None:
        super().__init__(groups, momentum=momentum, fused=True)
        for group in self.param_groups:
            group["decay"], group["weight_decay"] = group["weight_decay"], 0.0

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override] # torch overloads it
        """Take a step. Rates may be numbers or tensors on the weights' device: nothing is read back from it."""
        for group in self.param_groups:
            if group["decay"]:
                torch._foreach_mul_(group["params"], kept_share(group["lr"], group["decay"], self.found_inf))
        super().step(closure)


def kept_share(rate: Any, decay: float, bad: torch.Tensor | None) -> Any:
    """What a step leaves of a weight, by its rate (number or tensor); all of it where `bad`."""
    return 1.0 - (rate if bad is None else rate * (1.0 - bad)) * decay
