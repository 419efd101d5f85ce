"""Modules that a factory of the user's own builds: imported, built, held to what the loop needs of them.

Legend: B sequences, T tokens, V vocabulary.
"""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from isoflop.errors import IsoflopError
from isoflop.run_spec import OptimizerSpec, RunSpec
from isoflop.shape import SHAPE_NUMBERS, CountedShape, ModelShape
from isoflop.train.factory_source import SEE_PAGE, FactorySource, factory_source
from isoflop.train.weight_names import group_of

# What a module may define beside `forward`, and what the groups that it returns may say.
PARAM_GROUPS = "isoflop_param_groups"
GROUP_KEYS = ("params", "lr", "weight_decay")
CHANGED_HINT = "Bring back the file as it was to finish these runs; or plan again: with other code the runs are others."

# Where the modules that were imported here come from: path and hash.
_IMPORTED: dict[str, tuple[Path, str]] = {}


def load_factory(source: FactorySource, folder: Path) -> Callable[..., object]:
    """The factory, its module imported from exactly the code of `source`; what it imports in turn may lie in `folder`.

    Raises:
        IsoflopError: the module cannot be imported, or has no such function.
    """
    name = f"{source.module}:{source.function}"
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        module = _imported(source)
    except Exception as error:
        raise IsoflopError(
            f"model.factory = {name!r}: importing {str(source.path)!r} raised {said_of(error)}.", hint=SEE_PAGE
        ) from error
    factory = getattr(module, source.function, None)
    if not callable(factory):
        has = "no function" if factory is None else "something else than a function"
        raise IsoflopError(
            f"model.factory = {name!r}: {str(source.path)!r} has {has} {source.function!r}.", hint=SEE_PAGE
        )
    return factory  # type: ignore[no-any-return] # whatever it is, it is called


def _imported(source: FactorySource) -> ModuleType:
    known = sys.modules.get(source.module)
    at = source.path, source.code_hash
    if known is not None and (_IMPORTED.get(source.module) == at or _is_loaded_from(known, source)):
        return known
    if parent := source.module.rpartition(".")[0]:
        importlib.import_module(parent)
    spec = importlib.util.spec_from_file_location(source.module, source.path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[source.module] = module
    try:
        # Not by the loader, which may take an older compiled file of equal size and second.
        exec(compile(source.code, str(source.path), "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - the user's own code
    except BaseException:
        del sys.modules[source.module]
        raise
    _IMPORTED[source.module] = at
    return module


def _is_loaded_from(module: ModuleType, source: FactorySource) -> bool:
    """Whether something else than this module imported it, from the same file."""
    return source.module not in _IMPORTED and getattr(module, "__file__", None) == str(source.path)


def build(factory: Callable[..., object], name: str, shape: ModelShape | CountedShape) -> nn.Module:
    """What the factory builds for `shape`; whatever the factory raises passes through.

    Raises:
        IsoflopError: no nn.Module, or none that the loop can train.
    """
    module = factory(**{number: getattr(shape, number) for number in SHAPE_NUMBERS})
    if not isinstance(module, nn.Module):
        raise IsoflopError(
            f"model.factory = {name!r} returned {_article(module)}, not an nn.Module.",
            hint="A factory returns a module that maps token ids (B, T) to logits (B, T, V).",
        )
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not trained:
        raise IsoflopError(
            f"model.factory = {name!r} builds {type(module).__name__} without a parameter to train.",
            hint="Register weights as nn.Parameter, and layers as attributes or in an nn.ModuleList.",
        )
    odd = next((p for p in module.parameters() if p.dtype != torch.float32), None)
    if odd is not None:
        raise IsoflopError(
            f"model.factory = {name!r} builds parameters of {odd.dtype}; isoflop trains float32 ones.",
            hint="On a GPU the loop computes in bfloat16 by itself (autocast).",
        )
    return module


def logits_problem(output: object, tokens: Tensor, vocab_size: int) -> str | None:
    """What keeps `output` from being the logits (B, T, V) of `tokens` (B, T); None if nothing does."""
    expected = (*tokens.shape, vocab_size)
    if not isinstance(output, Tensor):
        return f"returned {_article(output)} where logits {expected} are wanted"
    if tuple(output.shape) != expected:
        return f"returned a tensor {tuple(output.shape)} where logits {expected} are wanted"
    if not output.is_floating_point():
        return f"returned logits of {output.dtype}, which are no floating-point numbers"
    return None


def factory_module(run: RunSpec, folder: Path) -> nn.Module:
    """The module of `run` with its initial weights, on the CPU, drawn after torch was seeded with the run's seed.

    Raises:
        IsoflopError: the factory is not the one that was planned, or none.
    """
    assert run.factory is not None
    source = factory_source(run.factory.name, folder)
    if source.code_hash != run.factory.code_hash:
        raise IsoflopError(
            f"The factory changed between attempts: {str(source.path)!r} has the hash {source.code_hash}, and run "
            f"{run.run_id} was planned with {run.factory.code_hash}.",
            hint=CHANGED_HINT,
        )
    factory = load_factory(source, folder)
    torch.manual_seed(run.seed)
    module = build(factory, run.factory.name, run.shape)
    n_params = sum(parameter.numel() for parameter in module.parameters())
    if n_params != run.shape.n_params_total:
        raise IsoflopError(
            f"The factory changed: it builds {n_params} parameters for {run.shape}, and the plan counted "
            f"{run.shape.n_params_total}.",
            hint="A file that it imports is another one now. Bring that back, or change the module's own file (a "
            "comment will do) and plan again: the runs are then others.",
        )
    return module


def checked(module: nn.Module, run: RunSpec) -> Callable[[Tensor], Tensor]:
    """The module's forward pass, (B, T) token ids to logits (B, T, V); it raises ValueError where it gives none."""

    def forward(tokens: Tensor) -> Tensor:
        output = module(tokens)
        problem = logits_problem(output, tokens, run.shape.vocab_size)
        if problem is not None:
            raise ValueError(f"the module that the factory built {problem}")
        return output  # type: ignore[no-any-return] # a tensor, as was seen

    return forward


def step_seed(run: RunSpec, step: int) -> int:
    """What torch's generators are seeded with before a step, so that dropout is the same after an interruption."""
    return int.from_bytes(hashlib.sha256(f"{run.seed} {step}".encode()).digest()[:7])


def factory_groups(module: nn.Module, spec: OptimizerSpec) -> list[dict[str, Any]]:
    """The trainable weights with peak rate and decay: as the module says, or by name and shape.

    Raises:
        IsoflopError: what the module says cannot be.
    """
    own = getattr(module, PARAM_GROUPS, None)
    if own is not None:
        return _own_groups(module, own(spec))
    rates = {
        "hidden": spec.learning_rate * spec.hidden_rate_scale,
        "head": spec.learning_rate * spec.head_rate_scale,
        "plain": spec.learning_rate,
    }
    weights: dict[str, list[nn.Parameter]] = {kind: [] for kind in rates}
    for name, weight in module.named_parameters():
        if weight.requires_grad:
            weights[_kind(name, weight)].append(weight)
    return [
        {
            "params": members,
            "lr": rates[kind],
            "weight_decay": 0.0 if kind == "plain" else spec.decay_per_step / rates[kind],
        }
        for kind, members in weights.items()
        if members
    ]


def _kind(name: str, weight: Tensor) -> str:
    group = group_of(name)
    if weight.dim() < 2 or group in ("embedding", "norm"):
        return "plain"
    return "head" if group == "head" else "hidden"


def _own_groups(module: nn.Module, groups: object) -> list[dict[str, Any]]:
    """What the module's `isoflop_param_groups` returned, checked.

    Raises:
        IsoflopError: it is not a list of groups that hold every trainable parameter once.
    """
    where = f"{type(module).__name__}.{PARAM_GROUPS}"
    hint = 'It returns a list of {"params": [...], "lr": peak rate, "weight_decay": 0.0}; docs/own-trainer.md has more.'
    if not isinstance(groups, list | tuple) or not all(isinstance(group, Mapping) for group in groups):
        raise IsoflopError(f"{where} returned {_article(groups)}, not a list of groups.", hint=hint)
    made: list[dict[str, Any]] = []
    for group in groups:
        odd = sorted(set(group) - set(GROUP_KEYS))
        if odd or not {"params", "lr"} <= set(group):
            problem = f"has the key {odd[0]!r}, which says nothing here" if odd else "lacks params or lr"
            raise IsoflopError(f"A group of {where} {problem}.", hint=hint)
        numbers = {"lr": group["lr"], "weight_decay": group.get("weight_decay", 0.0)}
        for key, value in numbers.items():
            if not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise IsoflopError(f"A group of {where} has {key} = {value!r}, which is not possible.", hint=hint)
        made.append({"params": list(group["params"]), **numbers})
    wanted = {id(weight): name for name, weight in module.named_parameters() if weight.requires_grad}
    given = [id(weight) for group in made for weight in group["params"]]
    if len(given) != len(set(given)) or set(given) != set(wanted):
        missing = next((name for key, name in wanted.items() if key not in given), None)
        problem = f"leave out {missing!r}" if missing else "name a parameter twice, or one that is not trained"
        raise IsoflopError(f"The groups of {where} {problem}.", hint=hint)
    return [group for group in made if group["params"]]


def _article(value: object) -> str:
    """`a tuple`, `None`: what kind of thing it is, in a sentence."""
    return "None" if value is None else f"a value of type {type(value).__name__}"


def said_of(error: BaseException) -> str:
    """`ValueError: no such width`, on one line."""
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first}".rstrip(": .")
