"""The optimizer step in C++ (`native/step.cc`), on one thread of a CPU, through ctypes.

Weights and moments stay in the tensors of the model and its optimizer: the library is told where they lie. A chunk of
steps is one call, so that Python costs a small model nothing. Muon's update is torch's, with the gradients found here.
"""

import ctypes
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from isoflop.shape import ModelShape
from isoflop.step_library import Instructions, library_path
from isoflop.train.model import Decoder
from isoflop.train.optimizer import AdamW, clip_gradients, ensure_state
from isoflop.train.progress import StepUnavailable
from isoflop.train.sgd import DecayedSGD

VERSION = 5  # of the C functions: step.cc has the same number
MOST_STEPS = 1024
MOST_GROUPS = 5  # step.cc's, as are these
KINDS = {AdamW: 0, DecayedSGD: 1}
ELSEWHERE = 2
# The model's parameters in the order in which step.cc asks for them.
BEFORE, AFTER = ("embed_tokens",), ("norm", "lm_head")
OF_A_LAYER = (
    "input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "self_attn.q_norm", "self_attn.k_norm", "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj",
    "mlp.down_proj",
)  # fmt: skip


class _Shape(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_int32)
        for name in (
            "n_layers", "width", "n_heads", "head_dim", "d_ff", "vocab_size", "context_length", "most_sequences",
        )
    )  # fmt: skip


class _Optimizer(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_double) for name in ("momentum", "beta1", "beta2", "epsilon", "grad_clip")),
        ("decay", ctypes.c_double * MOST_GROUPS),
        *((name, ctypes.c_int32) for name in ("n_groups", "kind")),
    )


class NativeStep:
    """The step of one model and optimizer, for batches of `batch_sequences`, `at_once` of them per forward pass.

    Legend: r steps of a chunk, n sequences of a batch, T tokens.
    """

    n_rows = MOST_STEPS
    """Steps that one chunk may have."""

    def __init__(
        self,
        model: Decoder,
        optimizer: torch.optim.Optimizer,
        instructions: Instructions,
        *,
        grad_clip: float,
        at_once: int,
        between: Callable[[], None],
    ) -> None:
        """`between` is called between two forward passes of one step.

        Raises:
            StepUnavailable: no library for `instructions` is here, or this CPU would not run it.
            MemoryError: the step does not fit.
        """
        self._library = _load(instructions)
        self._optimizer, self._at_once, self._between = optimizer, at_once, between
        self._shape = model.shape
        ensure_state(optimizer)
        weights = dict(model.named_parameters())
        self.gradients = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        names = parameter_names(model.shape)
        assert set(names) == set(weights)
        group_of = {weight: i for i, group in enumerate(optimizer.param_groups) for weight in group["params"]}
        self._here = type(optimizer) in KINDS
        self._grad_clip = grad_clip
        # Held: the library writes into these for as long as it lives.
        self._tensors = [
            tensor
            for name in names
            for tensor in (weights[name].detach(), self.gradients[name], *self._moments(weights[name]))
        ]
        held = [tensor for tensor in self._tensors if tensor is not None]
        assert all(t.is_contiguous() and t.dtype == torch.float32 and t.device.type == "cpu" for t in held)
        self._step = self._library.isoflop_step_new(
            ctypes.byref(_Shape(**model.shape.as_dict(), most_sequences=at_once)),
            ctypes.byref(_structure(optimizer, grad_clip)),
            (ctypes.c_void_p * len(self._tensors))(*(t.data_ptr() if t is not None else None for t in self._tensors)),
            (ctypes.c_int32 * len(names))(*(group_of[weights[name]] for name in names)),
            model.cos.data_ptr(),
            model.sin.data_ptr(),
        )
        if not self._step:
            raise MemoryError("the buffers of the optimizer step")
        if not self._here:
            for name, weight in weights.items():
                weight.grad = self.gradients[name]

    def _moments(self, weight: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """The two places that the library has for them; none where torch takes the step."""
        state = self._optimizer.state[weight]
        if not self._here:
            return None, None
        return state.get("exp_avg", state.get("momentum_buffer")), state.get("exp_avg_sq")

    def __del__(self) -> None:
        if getattr(self, "_step", None):
            self._library.isoflop_step_free(self._step)

    def take(self, tokens: Tensor, rates: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
        """Take a step for each batch of `tokens` (r, n, T + 1), int64, at the `rates` (r, groups).

        Returns the loss and gradient norm of each step, up to the first that is not finite: it was not taken.
        """
        tokens = self._checked(tokens)
        number = self._n_taken() + 1
        whole = self._here and tokens.shape[1] <= self._at_once
        log = self._whole(tokens, rates, number) if whole else self._in_parts(tokens, rates, number)
        taken = len(log) if all(map(math.isfinite, log[-1])) else len(log) - 1
        for state in self._optimizer.state.values():
            if "step" in state:
                state["step"].fill_(number - 1 + taken)
        return log

    def losses(self, tokens: Tensor) -> Tensor:
        """The mean loss of each sequence of `tokens` (n, T + 1), int64, by the weights as they are; (n,), float64."""
        tokens = self._checked(tokens)
        found = torch.empty(len(tokens), dtype=torch.float64)
        self._library.isoflop_step_losses(self._step, tokens.data_ptr(), len(tokens), found.data_ptr())
        return found

    def _checked(self, tokens: Tensor) -> Tensor:
        """`tokens` (..., T + 1) as the library reads them, without looking whether it has a weight for each."""
        assert tokens.dtype == torch.int64
        assert tokens.shape[-1] == self._shape.context_length + 1
        low, high = torch.aminmax(tokens)
        if low < 0 or high >= self._shape.vocab_size:
            raise IndexError(f"a token outside the vocabulary of {self._shape.vocab_size}")
        return tokens.contiguous()

    def _whole(self, tokens: Tensor, rates: Sequence[Sequence[float]], number: int) -> list[tuple[float, float]]:
        """All steps in one call."""
        log = torch.empty(len(tokens), 2)
        table = torch.tensor(rates, dtype=torch.float64)  # (r, groups)
        written = self._library.isoflop_step_take(
            self._step, tokens.data_ptr(), *tokens.shape[:2], table.data_ptr(), number, log.data_ptr()
        )
        return [(loss, norm) for loss, norm in log[:written].tolist()]

    def _in_parts(self, tokens: Tensor, rates: Sequence[Sequence[float]], number: int) -> list[tuple[float, float]]:
        """A call per forward pass, after which a request to stop may be heard: the step is then as if not begun."""
        log: list[tuple[float, float]] = []
        for batch, at in zip(tokens, rates, strict=True):  # (n, T + 1)
            loss = 0.0
            for i, part in enumerate(torch.split(batch, self._at_once)):
                if i:
                    self._between()
                loss += self._library.isoflop_step_gradient(self._step, part.data_ptr(), len(part), len(batch), i > 0)
            norm = self._library.isoflop_step_update(
                self._step, loss, (ctypes.c_double * MOST_GROUPS)(*at), number + len(log)
            )
            log.append((ctypes.c_float(loss).value, norm))
            if not (math.isfinite(log[-1][0]) and math.isfinite(norm)):
                break
            if not self._here:
                self._update(norm, at)
        return log

    def _update(self, norm: float, rates: Sequence[float]) -> None:
        """torch's step with the gradients that were found."""
        clip_gradients(self.gradients.values(), torch.tensor(norm), self._grad_clip)
        for group, rate in zip(self._optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self._optimizer.step()

    def _n_taken(self) -> int:
        """Steps so far, where the optimizer counts them."""
        return next((int(state["step"]) for state in self._optimizer.state.values() if "step" in state), 0)


def parameter_names(shape: ModelShape) -> list[str]:
    """Names of the model's parameters in the library's order."""
    layers = (f"layers.{layer}.{name}" for layer in range(shape.n_layers) for name in OF_A_LAYER)
    return [f"{name}.weight" for name in (*BEFORE, *layers, *AFTER)]


def native_product(instructions: Instructions) -> Callable[[Tensor, Tensor, Tensor], None]:
    """What multiplies two square float32 matrices into a third as the step does; their side in steps of 16.

    Raises:
        StepUnavailable: no library for `instructions` is here, or this CPU would not run it.
    """
    library = _load(instructions)

    def multiply(a: Tensor, b: Tensor, out: Tensor) -> None:
        side = len(a)
        assert all(t.shape == (side, side) and t.is_contiguous() and t.dtype == torch.float32 for t in (a, b, out))
        assert side % 16 == 0
        library.isoflop_step_product(side, a.data_ptr(), b.data_ptr(), out.data_ptr())

    return multiply


def _structure(optimizer: torch.optim.Optimizer, grad_clip: float) -> _Optimizer:
    groups, kind = optimizer.param_groups, KINDS.get(type(optimizer), ELSEWHERE)
    decay = (ctypes.c_double * MOST_GROUPS)(*(group.get("decay", group["weight_decay"]) for group in groups))
    (beta1, beta2), epsilon = groups[-1].get("betas", (0.0, 0.0)), groups[-1].get("eps", 0.0)
    return _Optimizer(groups[0].get("momentum", 0.0), beta1, beta2, epsilon, grad_clip, decay, len(groups), kind)


def _load(instructions: Instructions) -> Any:
    """The library with its functions' types.

    Raises:
        StepUnavailable: it is not here, or of another version.
    """
    path = library_path(instructions)
    if path is None:
        raise StepUnavailable(
            f"no library of the step for {instructions or 'this CPU'} is installed, or the CPU lacks it"
        )
    library = ctypes.CDLL(str(path))
    if library.isoflop_step_version() != VERSION:
        raise StepUnavailable(f"{path.name} is of another version of isoflop")
    pointer, int32, int64, double = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64, ctypes.c_double
    library.isoflop_step_new.restype = pointer
    library.isoflop_step_new.argtypes = [pointer] * 6
    library.isoflop_step_free.restype = None
    library.isoflop_step_free.argtypes = [pointer]
    library.isoflop_step_losses.restype = None
    library.isoflop_step_losses.argtypes = [pointer, pointer, int32, pointer]
    library.isoflop_step_gradient.restype = double
    library.isoflop_step_gradient.argtypes = [pointer, pointer, int32, int32, int32]
    library.isoflop_step_update.restype = ctypes.c_float
    library.isoflop_step_update.argtypes = [pointer, double, pointer, int64]
    library.isoflop_step_take.restype = int32
    library.isoflop_step_take.argtypes = [pointer, pointer, int32, int32, pointer, int64, pointer]
    library.isoflop_step_product.restype = None
    library.isoflop_step_product.argtypes = [int32, pointer, pointer, pointer]
    return library
