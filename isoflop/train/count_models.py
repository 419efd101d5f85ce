"""Sizes of the modules that a factory builds: `python -m isoflop.train.count_models`, lines of JSON in and out.

A process of its own: plans load no torch, and whatever the factory does stays outside of them.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from isoflop.errors import IsoflopError
from isoflop.shape import GROUPS, TRAINING_PASSES, ModelShape
from isoflop.train.factory import build, load_factory, logits_problem, said_of
from isoflop.train.factory_source import factory_source
from isoflop.train.weight_names import group_of


def main() -> None:
    """Answer each line of standard input, {"factory", "folder", "shapes"}, by {"sizes"} or by {"problem", "hint"}."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the user's code prints is none of the answer
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            said: dict[str, Any] = {"sizes": counted_sizes(asked["factory"], Path(asked["folder"]), asked["shapes"])}
        except IsoflopError as error:
            said = {"problem": error.message, "hint": error.hint}
        print(json.dumps(said), file=answers, flush=True)


def counted_sizes(name: str, folder: Path, shapes: Iterable[Sequence[int]]) -> list[dict[str, Any]]:
    """Counts of what the factory builds for each of `shapes`, the numbers of ModelShape; {"refused"} where it raised.

    Raises:
        IsoflopError: there is no such factory, or what it builds cannot be trained.
    """
    factory = load_factory(factory_source(name, folder), folder)
    return [_size(factory, name, ModelShape(*numbers)) for numbers in shapes]


def _size(factory: Callable[..., object], name: str, shape: ModelShape) -> dict[str, Any]:
    """Counts of one module, or {"refused"} with what the factory raised.

    Raises:
        IsoflopError: it can be trained for no shape.
    """
    with torch.device("meta"):
        try:
            module = build(factory, name, shape)
        except IsoflopError:
            raise
        except Exception as error:  # the factory's word on this shape
            return {"refused": said_of(error)}
        flops = forward_flops(module, name, shape)
    if not flops:
        raise IsoflopError(
            f"model.factory = {name!r} builds a module in which torch counts no FLOPs.",
            hint="Only matrix products, convolutions and attention count; a model without any has no budget.",
        )
    flops_per_token = round(TRAINING_PASSES * flops / shape.context_length)
    return {"flops_per_token": flops_per_token, **_parameters(module)}


def forward_flops(module: nn.Module, name: str, shape: ModelShape) -> int:
    """FLOPs of the forward pass of one whole sequence, matrix products and attention, by torch's counter.

    The math kernel of attention, because the fused ones are not counted on every device.

    Raises:
        IsoflopError: the pass fails, or gives no logits.
    """
    tokens = torch.zeros(1, shape.context_length, dtype=torch.int64)
    module.requires_grad_(requires_grad=False)  # the counter looks for the gradient of what a module returns
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        try:
            output = module(tokens)
        except Exception as error:
            raise IsoflopError(
                f"model.factory = {name!r}: for {shape} the module's forward pass raised {said_of(error)}.",
                hint="FLOPs are counted on torch's meta device: forward must read no values of tensors (.item(), if) "
                "and make new tensors on the device of its input.",
            ) from error
    problem = logits_problem(output, tokens, shape.vocab_size)
    if problem is not None:
        raise IsoflopError(
            f"model.factory = {name!r}: for {shape} the module {problem}.",
            hint="forward maps token ids (B, T), int64, to logits (B, T, vocab_size) and returns nothing else.",
        )
    return int(counter.get_total_flops())


def _parameters(module: nn.Module) -> dict[str, Any]:
    """N, tied parameters once; by group where every name tells its own, else the first name that does not."""
    named = {name: parameter.numel() for name, parameter in module.named_parameters()}
    groups = {name: group_of(name) for name in named}
    untold = next((name for name, group in groups.items() if group is None), None)
    counts = {
        f"n_params_{group}": None if untold else sum(named[name] for name in named if groups[name] == group)
        for group in GROUPS
    }
    return {"n_params_total": sum(named.values()), **counts, "untold": untold}


if __name__ == "__main__":
    main()
