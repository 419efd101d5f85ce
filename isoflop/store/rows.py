"""What the store hands out: frozen rows, each number with its unit."""

from collections.abc import Mapping
from dataclasses import dataclass

from isoflop.plan.types import Role
from isoflop.result import Status
from isoflop.shape import ModelShape


@dataclass(frozen=True)
class SweepCell:
    """One cell of a sweep with its run and what came of it.

    Attributes:
        sweep: name of the sweep.
        budget_flops: planned training FLOPs of the cell, the grouping key.
        role: why the sweep asks for it; None for a dropped cell.
        drop_reason: why no run was planned, one sentence; None for a planned cell. The fields of run and result
            of a dropped cell are None.
        run_id: hash of the run's content.
        shape: the model.
        n_params_total, n_params_non_embedding, n_params_matmul: N under each convention.
        n_tokens: planned training tokens, D.
        n_steps: planned optimizer steps.
        planned_flops: training FLOPs of the run as planned, C.
        epochs: passes over the training corpus.
        batch_tokens: tokens per optimizer step.
        learning_rate: peak rate of embedding and norm gains; others scale with width and depth.
        seed: initial weights and order of the data.
        status: how the run ended; None while it is pending.
        reason: why it did not complete, one sentence.
        val_loss, val_loss_se: nats per token, held-out, and its standard error. `val_loss` is there exactly when
            the run completed.
        bits_per_byte: the same loss in bits per byte of text.
        achieved_flops: training FLOPs by the trainer's own counters.
        spent_flops: FLOPs paid for the result.
        seconds: training and evaluation.
        tokens_per_second: training throughput.
        model_flops_utilisation: training FLOPs per second over the device's measured peak.
        execution: what may change a bit of the result, as the worker was told; empty while pending.
        achieved_tokens: training tokens by the trainer's own counter.
        simulated: true when no model was trained; None while pending.
        host, device, git_commit, git_dirty, isoflop_version, torch_version, finished_at: where the result comes from.
        log_path: log of the latest attempt.
        n_attempts: attempts known.
        excluded: a person's reason for leaving the run out of every fit; None when it counts.
    """

    sweep: str
    budget_flops: float
    role: Role | None
    drop_reason: str | None
    run_id: str | None
    shape: ModelShape
    n_params_total: int
    n_params_non_embedding: int
    n_params_matmul: int
    n_tokens: int | None
    n_steps: int | None
    planned_flops: float | None
    epochs: float | None
    batch_tokens: int | None
    learning_rate: float | None
    seed: int | None
    status: Status | None
    reason: str | None
    val_loss: float | None
    val_loss_se: float | None
    bits_per_byte: float | None
    achieved_flops: float | None
    spent_flops: float | None
    seconds: float | None
    tokens_per_second: float | None
    model_flops_utilisation: float | None
    execution: Mapping[str, object]
    achieved_tokens: int | None
    simulated: bool | None
    host: str | None
    device: str | None
    git_commit: str | None
    git_dirty: bool | None
    isoflop_version: str | None
    torch_version: str | None
    finished_at: str | None
    log_path: str | None
    n_attempts: int
    excluded: str | None


@dataclass(frozen=True)
class Timing:
    """What a completed run cost, to estimate others.

    Attributes:
        shape: the model.
        n_steps: optimizer steps taken.
        achieved_flops: training FLOPs by the trainer's own counters.
        seconds: training and evaluation, process start excluded.
        device: name of the device.
    """

    shape: ModelShape
    n_steps: int
    achieved_flops: float
    seconds: float
    device: str


@dataclass(frozen=True)
class KnownRun:
    """A run that some sweep asks for, or once asked for.

    Attributes:
        asked_for: whether any sweep asks for it now.
        corpus_fingerprint: of the tokens it reads.
        status, finished_at: of its recorded result; None without one.
    """

    run_id: str
    asked_for: bool
    corpus_fingerprint: str
    status: Status | None
    finished_at: str | None
