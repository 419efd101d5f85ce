"""The optimizer step as one CUDA graph: recorded once, then replayed without the host.

A step of a small model is hundreds of kernels of a few microseconds, and a host takes longer to launch a kernel than
the device to run it (docs/benchmarks.md has both). Replayed, the step touches only what lies on the device: the
batches and learning rates of the next steps, a row number, and a log of loss and gradient norm that the host reads
once for many steps. On a CPU nothing is recorded and the same step runs as it stands.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from isoflop.train.optimizer import ensure_state
from isoflop.train.progress import StepUnavailable

# Steps between two readings of the log, at most: by number, by bytes of their batches, and by the time after which a
# request to stop is heard.
MOST_STEPS, MOST_BYTES, MOST_SECONDS = 64, 64 * 2**20, 0.1
# Steps before the recording, in which libraries make what they may not make during it.
WARM_UPS = 3


class StepGraph:
    """The step of one model and optimizer, for batches of one shape. Rows: the steps of a chunk, R at most.

    Once a loss or norm is not finite, `bad` is set and no later step changes a weight or a moment, so the host may
    find out late.
    """

    def __init__(
        self,
        gradient: Callable[[Tensor], Tensor],
        weights: Sequence[Tensor],
        optimizer: torch.optim.Optimizer,
        *,
        grad_clip: float,
        batch_shape: tuple[int, int],
    ) -> None:
        """`gradient` takes a batch (n, T + 1) of `batch_shape`, adds to the gradients and returns the mean loss."""
        self._gradient, self._weights, self._optimizer, self._grad_clip = gradient, weights, optimizer, grad_clip
        device = weights[0].device
        n_rows = max(1, min(MOST_STEPS, MOST_BYTES // (8 * batch_shape[0] * batch_shape[1])))
        self._tokens = torch.zeros((n_rows, *batch_shape), dtype=torch.int64, device=device)  # (R, n, T + 1)
        self._rates = torch.zeros((n_rows, len(optimizer.param_groups)), device=device)  # (R, groups)
        self._log = torch.zeros((n_rows, 2), device=device)  # (R, 2): loss, norm
        self._row = torch.zeros(1, dtype=torch.int64, device=device)
        self._bad = torch.zeros((), device=device)
        self._replay: Callable[[], object] = self._step
        ensure_state(optimizer)
        for group in optimizer.param_groups:
            group["lr"] = torch.zeros((), device=device)
            group["capturable"] = device.type == "cuda"
        if device.type == "cuda":
            self._replay = self._record().replay

    @property
    def n_rows(self) -> int:
        """Steps that fit one chunk."""
        return len(self._log)

    def take(self, tokens: Tensor, rates: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
        """Take a step for each batch of `tokens` (r, n, T + 1), r <= R, at the `rates` (r, groups).

        Returns each step's loss and gradient norm. The first that is not finite was not taken, nor any after it.
        """
        n_steps = len(tokens)
        self._tokens[:n_steps].copy_(tokens)
        self._rates[:n_steps].copy_(torch.tensor(rates))
        self._row.zero_()
        for _ in range(n_steps):
            self._replay()
        return [(loss, norm) for loss, norm in self._log[:n_steps].tolist()]

    def _step(self) -> None:
        """One step, and nothing of it on the host."""
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._gradient(self._tokens.index_select(0, self._row)[0])
        with torch.no_grad():
            norm = torch.nn.utils.get_total_norm([w.grad for w in self._weights if w.grad is not None])
            self._log.index_copy_(0, self._row, torch.stack((loss, norm))[None])
            self._bad.copy_(torch.maximum(self._bad, 1.0 - torch.isfinite(loss + norm).float()))
            rates = self._rates.index_select(0, self._row)[0]  # (groups,)
            for group, rate in zip(self._optimizer.param_groups, rates, strict=True):
                group["lr"].copy_(rate)
            # What the fused optimizer divides gradients by, and what keeps it from doing anything.
            fused: Any = self._optimizer
            fused.grad_scale = torch.clamp((norm + 1e-6) / self._grad_clip, min=1.0)
            fused.found_inf = self._bad
            self._optimizer.step()
            self._row.add_(1)

    def _record(self) -> torch.cuda.CUDAGraph:
        """The step as a graph. `bad` is set meanwhile: nothing moves.

        Raises:
            StepUnavailable: something in the step cannot be recorded.
            torch.OutOfMemoryError: the step does not fit.
        """
        self._bad.fill_(1.0)
        beside = torch.cuda.Stream()  # type: ignore[no-untyped-call] # as backward
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(WARM_UPS):
                self._row.zero_()
                self._step()
        torch.cuda.current_stream().wait_stream(beside)
        self._optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        torch.cuda.empty_cache()  # the graph keeps memory of its own
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self._step()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise StepUnavailable(str(error).splitlines()[0]) from error
        self._bad.zero_()
        return graph
