"""Training as a function of its RunSpec: tokens in, a held-out loss out."""

import contextlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from isoflop.corpus import Corpus, heldout_sequences
from isoflop.run_spec import RunSpec
from isoflop.rundir import Execution
from isoflop.rundir.layout import checkpoint_path, weights_path
from isoflop.shape import ModelShape
from isoflop.train.batches import training_batches
from isoflop.train.checkpoint import load_checkpoint, save_checkpoint, save_weights
from isoflop.train.divergence import average_loss, explosion, heldout_problem, step_problem
from isoflop.train.evaluate import SequenceLosses, heldout_loss, torch_losses
from isoflop.train.factory import checked, factory_groups, factory_module, step_seed
from isoflop.train.model import Decoder, build_model
from isoflop.train.native_step import NativeStep
from isoflop.train.optimizer import build_optimizer, clip_gradients, factory_optimizer, rates, set_rate
from isoflop.train.precision import compile_blocks, configure, errors_of_the_compiler, forward_context, uncompiled
from isoflop.train.progress import Ending, HeldoutLoss, Interrupted, Progress, StepUnavailable, Trained, Watcher
from isoflop.train.ranks import Ranks
from isoflop.train.schedule import rate_factor
from isoflop.train.step_graph import MOST_SECONDS, StepGraph

CURVE_POINTS = 64
# A checkpoint at most this often, and never more than 1 % of the time spent writing them.
CHECKPOINT_SECONDS = 15.0
CHECKPOINT_SHARE = 0.01
# Steps of the first chunk, by which the pace is told.
FIRST_CHUNK = 4


def train(
    run: RunSpec,
    corpus: Corpus,
    execution: Execution,
    *,
    checkpoints: Path,
    watcher: Watcher,
    ranks: Ranks | None = None,
    folder: Path | None = None,
) -> Trained:
    """Train `run` to exactly its planned tokens, from its checkpoint if there is one, and evaluate it.

    Equal RunSpec, corpus and execution give equal bits on one machine, however often it was interrupted. Of several
    `ranks` this is the first, which evaluates and writes; None for one process alone. `folder` is where a factory of
    the user's own is looked for.

    Raises:
        IsoflopError: the factory is another than was planned.
        RankLost: another of the ranks has ended.
    """
    training = Training(run, corpus, execution, configure(execution), watcher, ranks=ranks, folder=folder)
    saved = checkpoint_path(checkpoints, run.run_id)
    training.resume(saved)
    try:
        problem = _take_steps(training, saved)
        heldout = None if problem else training.evaluate()
    except Interrupted:
        if training.progress.step:
            training.save(saved)
        return Trained(Ending.INTERRUPTED, training.progress)
    if heldout is not None:
        problem = heldout_problem(heldout.nats_per_token, run.shape.vocab_size)
    if problem is not None:
        return Trained(Ending.DIVERGED, training.progress, reason=problem)
    save_weights(weights_path(checkpoints, run.run_id), run.run_id, training.model)
    return Trained(Ending.COMPLETED, training.progress, heldout=heldout)


def take_part(
    run: RunSpec, corpus: Corpus, execution: Execution, *, checkpoints: Path, watcher: Watcher, ranks: Ranks
) -> None:
    """Take the steps of `run` as one of the `ranks` that is not the first; nothing is evaluated or written.

    Raises:
        RankLost: another of the ranks has ended.
    """
    training = Training(run, corpus, execution, configure(execution), watcher, ranks=ranks)
    training.resume(checkpoint_path(checkpoints, run.run_id))
    with contextlib.suppress(Interrupted):
        _take_steps(training, None)


def _take_steps(training: "Training", saved: Path | None) -> str | None:
    """Take the steps that are left, with a checkpoint (if `saved`) now and then; why they could not be, or None."""
    next_save = time.monotonic() + CHECKPOINT_SECONDS
    while training.progress.step < training.run.n_steps:
        training.between()
        problem = training.advance()
        if problem is not None:
            return problem
        training.watcher.after_step(training.progress, training.last_loss)
        if saved is not None and time.monotonic() >= next_save:
            next_save = training.save(saved)
    return None


def _decoder(run: RunSpec, execution: Execution, device: torch.device) -> tuple[nn.Module, torch.optim.Optimizer]:
    assert isinstance(run.shape, ModelShape)
    model = build_model(run.shape, run.seed).to(device)
    if execution.compile:
        compile_blocks(model)
    return model, build_optimizer(model, run.optimizer)


def _own_module(run: RunSpec, folder: Path | None, device: torch.device) -> tuple[nn.Module, torch.optim.Optimizer]:
    module = factory_module(run, folder or Path.cwd()).to(device)
    return module, factory_optimizer(factory_groups(module, run.optimizer), run.optimizer)


class Training:
    """Model, optimizer, data and counters of one run on one device; `ranks` share its batches with other processes."""

    def __init__(
        self,
        run: RunSpec,
        corpus: Corpus,
        execution: Execution,
        device: torch.device,
        watcher: Watcher,
        *,
        ranks: Ranks | None = None,
        folder: Path | None = None,
    ) -> None:
        self.run, self.corpus, self.execution, self.device, self.watcher = run, corpus, execution, device, watcher
        self.ranks = ranks
        self.model, self.optimizer = (
            _own_module(run, folder, device) if run.factory else _decoder(run, execution, device)
        )
        self.forward = checked(self.model, run) if run.factory else self.model
        self.weights = list(self.model.parameters())
        self.batches = training_batches(run, corpus, device)
        self.progress = Progress()
        self.last_loss = math.nan
        self.fast: StepGraph | NativeStep | None = None
        self.n_at_once = FIRST_CHUNK

    def resume(self, saved: Path) -> None:
        """Go on from the checkpoint `saved`, if there is one; every rank from the same step."""
        self.progress = load_checkpoint(saved, self.run.run_id, self.model, self.optimizer) or Progress()
        if self.ranks is not None:
            self.ranks.agree_on(self.progress.step)

    def between(self) -> None:
        """Say that a piece of work lies behind; among ranks a request to stop waits for the sum that all of them see.

        Raises:
            Interrupted: this process, alone, was asked to stop.
        """
        try:
            self.watcher.between()
        except Interrupted:
            if self.ranks is None:
                raise
            self.ranks.asked_to_stop = True

    def advance(self) -> str | None:
        """Take one step, or where a fast one is had as many as take a tenth of a second; why not on, or None.

        A step whose numbers are not finite is not taken. An interruption leaves the step it falls into untaken.

        Raises:
            StepUnavailable: the fast step, or the compiler in it, is not to be had here.
        """
        try:
            return self.step() if self.execution.step == "eager" else self._chunk()
        except errors_of_the_compiler() as error:  # its first call, and its only one
            raise StepUnavailable(str(error).splitlines()[0]) from error

    def step(self) -> str | None:
        """Take one optimizer step, operation by operation, and count it; why the run cannot go on, or None."""
        started = time.perf_counter()
        at, run = self.progress, self.run
        if run.factory is not None:
            torch.manual_seed(step_seed(run, at.step))
        loss = self._accumulate(self.batches(at.step), self.between)
        if self.ranks is not None:
            loss = self.ranks.sum_up(self.weights, loss)
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        loss_value, norm_value = torch.stack((loss, norm)).tolist()  # one transfer from the device
        problem = step_problem(loss_value, norm_value)
        if problem is not None:
            return f"step {at.step + 1} of {run.n_steps}: {problem}"
        clip_gradients(self.weights, norm, run.optimizer.grad_clip)
        set_rate(self.optimizer, rate_factor(at.step, run.n_steps, run.schedule))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        exploded = self._count(loss_value)
        at.seconds += time.perf_counter() - started
        return exploded

    def _chunk(self) -> str | None:
        """Take the fast step some times, then count what came of each."""
        started = time.perf_counter()
        at, run = self.progress, self.run
        if self.fast is None:  # not before: it holds on to the tensors that a checkpoint replaces
            self.fast = self._native() if self.execution.step == "native" else self._record()
        steps = range(at.step, min(at.step + self.n_at_once, run.n_steps))
        factors = (rate_factor(step, run.n_steps, run.schedule) for step in steps)
        sequences = self.batches(at.step, len(steps))
        sequences = sequences.view(len(steps), run.batch_sequences, -1)  # (r, n, T + 1)
        begun = time.perf_counter()
        log = self.fast.take(sequences, [rates(self.optimizer, factor) for factor in factors])
        per_step = (time.perf_counter() - begun) / len(steps)
        self.n_at_once = max(1, min(self.fast.n_rows, int(MOST_SECONDS / per_step)))
        at.seconds += time.perf_counter() - started
        return next(filter(None, map(self._note, log)), None)

    def _record(self) -> StepGraph:
        return StepGraph(
            self._accumulate,
            self.weights,
            self.optimizer,
            grad_clip=self.run.optimizer.grad_clip,
            batch_shape=(self.run.batch_sequences, self.run.shape.context_length + 1),
        )

    def _native(self) -> NativeStep:
        return NativeStep(
            cast(Decoder, self.model),
            self.optimizer,
            self.execution.instructions,
            grad_clip=self.run.optimizer.grad_clip,
            at_once=min(self.execution.micro_batch_sequences, self.run.batch_sequences),
            between=self.watcher.between,
        )

    def _note(self, numbers: tuple[float, float]) -> str | None:
        """Count a step by its loss and gradient norm; why it was not taken or the run cannot go on, or None."""
        problem = step_problem(*numbers)
        if problem is not None:
            return f"step {self.progress.step + 1} of {self.run.n_steps}: {problem}"
        return self._count(numbers[0])

    def _accumulate(self, sequences: Tensor, between: Callable[[], None] = lambda: None) -> Tensor:
        """Gradient of the mean loss over the batch (n, T + 1), in micro-batches; returns that loss.

        Of a rank: what its rows add to both.
        """
        total = torch.zeros((), device=self.device)
        own = sequences if self.ranks is None else self.ranks.rows(sequences)
        for number, tokens in enumerate(torch.split(own, self.execution.micro_batch_sequences)):  # (m, T + 1)
            if number:
                between()
            with forward_context(self.execution):
                logits = self.forward(tokens[:, :-1])  # (m, T, V)
            loss = F.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())
            loss = loss * (len(tokens) / len(sequences))
            loss.backward()  # type: ignore[no-untyped-call] # torch ships no type for it
            total += loss.detach()
        return total

    def _count(self, loss: float) -> str | None:
        """Count a step that was taken; why the run cannot go on, or None."""
        at = self.progress
        at.step += 1
        at.n_tokens += self.run.batch_tokens
        at.loss_average = average_loss(at.loss_average, loss)
        at.loss_sum += loss
        at.loss_steps += 1
        if at.step % max(1, self.run.n_steps // CURVE_POINTS) == 0 or at.step == self.run.n_steps:
            at.curve.append((at.step, at.n_tokens, at.loss_sum / at.loss_steps))
            at.loss_sum, at.loss_steps = 0.0, 0
        self.last_loss = loss
        exploded = explosion(at, self.run.shape.vocab_size)
        return f"step {at.step} of {self.run.n_steps}: {exploded}" if exploded else None

    def evaluate(self) -> HeldoutLoss:
        """The held-out loss; its time counts towards the run."""
        started = time.perf_counter()
        length = self.run.shape.context_length
        windows = heldout_sequences(self.corpus, n_tokens=self.run.eval_tokens, context_length=length)
        with uncompiled(self.execution):
            loss = heldout_loss(
                torch.from_numpy(windows),
                self._sequence_losses(),
                pass_tokens=self.execution.eval_batch_tokens,
                bytes_per_token=self.corpus.manifest.bytes_per_token,
                after_pass=self.watcher.between,
            )
        took = time.perf_counter() - started
        self.progress.seconds += took
        self.progress.eval_seconds += took
        return loss

    def _sequence_losses(self) -> SequenceLosses:
        """What takes the losses of held-out sequences: torch, or C++ where that takes the steps."""
        if self.execution.step == "native":
            return (self.fast if isinstance(self.fast, NativeStep) else self._native()).losses
        self.fast = None  # its memory is of use now
        return torch_losses(self.model, self.execution)

    def save(self, path: Path) -> float:
        """Write a checkpoint and return when (monotonic seconds) the next is due."""
        started = time.monotonic()
        save_checkpoint(path, self.run.run_id, self.model, self.optimizer, self.progress)
        took = time.monotonic() - started
        return time.monotonic() + max(CHECKPOINT_SECONDS, took / CHECKPOINT_SHARE)
