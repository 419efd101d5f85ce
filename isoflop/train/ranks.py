"""Ranks: processes that train one run together, each on rows of the same batch; one sum makes their gradients equal.

No network: they meet through a file, and gloo's and NCCL's own connections stay on the loopback interface.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from isoflop.rundir import DeviceKind
from isoflop.train.progress import Interrupted

BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
LOOPBACK = "lo" if sys.platform == "linux" else "lo0"
# A sum waits for as long as a coordinator may rest (Ctrl-Z); what hangs is for the coordinator to notice.
PATIENCE = timedelta(days=30)


class RankLost(Exception):  # noqa: N818 - what another process did
    """Another rank has ended, so that no step can be taken any more."""


class Ranks:
    """This process's place among the `size` that train a run.

    Attributes:
        asked_to_stop: whether this one was. All stop together, in the step whose sum says so.
    """

    def __init__(self, rank: int, size: int, device: torch.device) -> None:
        self.rank, self.size, self._device = rank, size, device
        self.asked_to_stop = False

    def rows(self, sequences: Tensor) -> Tensor:
        """This rank's rows of a batch (n, T + 1), n at least `size`."""
        return torch.tensor_split(sequences, self.size)[self.rank]

    def agree_on(self, step: int) -> None:
        """Nothing, where every rank begins at `step`.

        Raises:
            RankLost: another one begins elsewhere, or has ended.
        """
        bounds = torch.tensor([step, -step], device=self._device)
        self._all_reduce(bounds, dist.ReduceOp.MAX)
        if bounds.tolist() != [step, -step]:
            raise RankLost(f"rank {self.rank} begins at step {step}, another one elsewhere")

    def sum_up(self, weights: Sequence[Tensor], loss: Tensor) -> Tensor:
        """Replace the gradients by their sums over all ranks; returns that of `loss` (a scalar).

        One collective for all of it: one per tensor gives the same bits in twice the time.

        Raises:
            Interrupted: a rank was asked to stop; the step is not to be taken.
            RankLost: another rank has ended.
        """
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        asked = loss.new_full((1,), float(self.asked_to_stop))
        flat = torch.cat([*(gradient.flatten() for gradient in gradients), loss.view(1), asked])
        self._all_reduce(flat, dist.ReduceOp.SUM)
        *sums, total, n_asked = torch.split(flat, [*(gradient.numel() for gradient in gradients), 1, 1])
        if n_asked.item() > 0:
            raise Interrupted
        for gradient, summed in zip(gradients, sums, strict=True):
            gradient.copy_(summed.view_as(gradient))
        return torch.squeeze(total, 0)

    def _all_reduce(self, values: Tensor, how: dist.ReduceOp.RedOpType) -> None:
        try:
            dist.all_reduce(values, how)
        except RuntimeError as error:  # gloo: the connection was closed
            raise RankLost(str(error).partition("\n")[0]) from error


@contextlib.contextmanager
def joined(rank: int, size: int, kind: DeviceKind, meeting: Path) -> Iterator[Ranks]:
    """The ranks that meet through the file `meeting`, for the time of the block; this process is number `rank`.

    Raises:
        RankLost: they did not meet.
    """
    os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = LOOPBACK
    device = torch.device("cuda", 0) if kind == "cuda" else torch.device("cpu")
    store = dist.FileStore(str(meeting), size)  # type: ignore[attr-defined] # documented, not in its __all__
    try:
        dist.init_process_group(BACKENDS[kind], store=store, rank=rank, world_size=size, timeout=PATIENCE)
    except RuntimeError as error:
        raise RankLost(f"the ranks did not meet: {error}".partition("\n")[0]) from error
    try:
        yield Ranks(rank, size, device)
    except RankLost:
        raise  # leaving in good order would wait for who is gone
    except BaseException:
        dist.destroy_process_group()
        raise
    dist.destroy_process_group()
