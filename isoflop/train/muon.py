"""Muon for hidden matrices, AdamW for the rest.

Muon: momentum whose matrix is then made orthogonal (Jordan et al. 2024, kellerjordan.github.io/posts/muon).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from isoflop.train.sgd import kept_share


class MuonAndAdamW(torch.optim.Optimizer):
    """torch's Muon and torch's fused AdamW as one optimizer, with the groups and the state of both.

    torch's Muon takes its rate from the host, which a recorded step cannot. So it steps, at rate 1 and without decay,
    on parameters that are zero before: they then hold minus its update, which rates and decay are applied to here.
    """

    grad_scale: Tensor | None = None
    """What gradients are divided by."""
    found_inf: Tensor | None = None
    """Above zero, nothing moves."""

    def __init__(
        self,
        matrices: Sequence[dict[str, Any]],
        rest: Sequence[dict[str, Any]],
        *,
        momentum: float,
        adamw: dict[str, Any],
    ) -> None:
        """`matrices` are Muon's groups, `rest` those of AdamW, which `adamw` configures."""
        super().__init__([*matrices, *rest], {})
        self._matrices = self.param_groups[: len(matrices)]
        self._adamw = torch.optim.AdamW(self.param_groups[len(matrices) :], **adamw)  # the same groups, not copies
        self._adamw.state = self.state
        weights = [weight for group in self._matrices for weight in group["params"]]
        self._updates = {weight: nn.Parameter(torch.zeros_like(weight), requires_grad=False) for weight in weights}
        self._muon = torch.optim.Muon(
            self._updates.values(), lr=1.0, weight_decay=0.0, momentum=momentum, adjust_lr_fn="original"
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override] # torch overloads it
        """Take a step. Rates may be numbers or tensors on the weights' device: nothing is read back from it."""
        assert closure is None
        for weight, update in self._updates.items():
            self._muon.state[update] = self.state[weight]  # a checkpoint replaces it
            update.grad = self._gradient(weight)
        torch._foreach_zero_([*self._updates.values()])
        self._muon.step()  # type: ignore[no-untyped-call] # torch ships no type for it
        for group in self._matrices:
            weights = group["params"]
            updates: list[Tensor] = [self._updates[weight] for weight in weights]
            bad = self.found_inf
            torch._foreach_mul_(updates, group["lr"] if bad is None else group["lr"] * (1.0 - bad))
            if group["weight_decay"]:
                torch._foreach_mul_(weights, kept_share(group["lr"], group["weight_decay"], bad))
            torch._foreach_add_(weights, updates)
        rest: Any = self._adamw
        rest.grad_scale, rest.found_inf = self.grad_scale, self.found_inf
        self._adamw.step()

    def _gradient(self, weight: Tensor) -> Tensor | None:
        """What Muon is told. Where the step is bad that is its momentum, so that this keeps every bit."""
        if weight.grad is None or self.grad_scale is None or self.found_inf is None:
            return weight.grad
        momentum = self.state[weight]["momentum_buffer"]
        return torch.where(self.found_inf > 0, momentum, weight.grad / self.grad_scale)
