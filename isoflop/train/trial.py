"""A trial: some real steps of a run on its device, in a process of its own, and what they took.

Nothing of the run's own directory is touched: what a worker would write there goes to a folder that is thrown away.
"""

import os
import resource
import sys
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from isoflop.corpus import Corpus, load_corpus
from isoflop.errors import IsoflopError
from isoflop.run_spec import RunSpec
from isoflop.rundir import Execution, JobFile, RunDir, own_claim
from isoflop.rundir.events import started_event
from isoflop.shape import TRAINING_PASSES
from isoflop.train.process import Stop, die_with_parent, dump_stacks_when_asked, log_to
from isoflop.train.progress import Interrupted, StepUnavailable
from isoflop.train.reporter import Reporter
from isoflop.train.worker import is_out_of_memory

if TYPE_CHECKING:
    import torch

    from isoflop.train.loop import Training

# Steps that are timed: at least so many where the time allows it, and as many more as fill the shortest time.
FEWEST_STEPS, SHORTEST_SECONDS = 20, 0.4
# How long the held-out loss is timed, about, seconds; and tokens of one pass over the model, which is the least.
EVAL_SECONDS = 0.3
# How long trials wait for each other: others may still start a GPU, or compile.
MEETING_SECONDS = 240.0


@dataclass(frozen=True)
class Trial:
    """What a process that times steps is told.

    Attributes:
        folder: of this trial alone, to write to.
        corpora: folder of tokenised corpora.
        compiled: folder of what torch's compiler writes.
        seconds: that its steps may take in all.
        probes: whether a trained model is asked the built-in probes.
        visible_device: value of CUDA_VISIBLE_DEVICES; "" hides every GPU.
        factory_folder: where a factory of the user's own is looked for.
        meeting: folder where trials wait for each other before their steps are timed, and how many they are.
    """

    run: RunSpec
    execution: Execution
    folder: Path
    corpora: Path
    compiled: Path
    coordinator_pid: int
    visible_device: str
    seconds: float
    probes: bool = False
    factory_folder: Path | None = None
    meeting: tuple[Path, int] | None = None


@dataclass(frozen=True)
class TrialTimes:
    """What a trial found.

    Attributes:
        n_steps: that were timed.
        seconds_per_step: of those, the first ones, in which memory is touched and libraries load, left out.
        eval_seconds: of a whole run's held-out loss, and of its probes.
        checkpoint_seconds: to write one.
        apart: seconds of the process that a run does not spend beside steps, evaluation and checkpoints: those
            themselves, and the start of a GPU.
        memory_bytes: of the device at most: growth of the resident set, or what torch reserved on the GPU.
    """

    n_steps: int
    seconds_per_step: float
    eval_seconds: float
    checkpoint_seconds: float
    apart: float
    memory_bytes: float


@dataclass(frozen=True)
class TrialFailed:
    """Why a trial found nothing, in words that go on from "its trial"."""

    reason: str


def run_trial(trial: Trial, coordinator: Connection) -> None:
    """Entry point of the process: answers with `TrialTimes` or `TrialFailed`, and ends."""
    paused = die_with_parent(trial.coordinator_pid)
    os.environ["CUDA_VISIBLE_DEVICES"] = trial.visible_device
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(trial.compiled)
    dump_stacks_when_asked()
    run_dir = RunDir(trial.folder)
    with log_to(run_dir.log_path(1)), Stop(paused) as stop:
        answer = try_out(trial, run_dir, stop)
    if answer is not None:
        coordinator.send(answer)
    sys.exit(0)


def try_out(trial: Trial, run_dir: RunDir, stop: Stop) -> TrialTimes | TrialFailed | None:
    """What came of it; None where it was asked to stop."""
    try:
        return _times(trial, run_dir, stop)
    except Interrupted:
        return None
    except IsoflopError as error:
        return TrialFailed(f"met an obstacle: {error.message}")
    except StepUnavailable as error:
        return TrialFailed(f"could not take the step: {error}")
    except Exception as error:
        traceback.print_exc()
        if is_out_of_memory(error):
            return TrialFailed("ran out of memory")
        return TrialFailed(f"failed: {type(error).__name__}: {error}".splitlines()[0])


def _times(trial: Trial, run_dir: RunDir, stop: Stop) -> TrialTimes:
    """Do what a worker does for a run, but for most of its steps."""
    from isoflop.train.checkpoint import save_checkpoint, save_weights
    from isoflop.train.loop import Training
    from isoflop.train.precision import configure

    run, before = trial.run, _resident_bytes()
    with run_dir.lock():
        run_dir.write_job(JobFile(runs=(run,), execution=trial.execution))
        run_dir.write_claim(own_claim(1))
        run_dir.append_event(started_event(1))
        reporter = Reporter(run, run_dir, stop)
        corpus = load_corpus(trial.corpora, run.corpus_fingerprint)
        device = configure(trial.execution)
        starting = _start(device)
        training = Training(run, corpus, trial.execution, device, reporter, folder=trial.factory_folder)
        n_steps, per_step = _time_steps(training, trial)
        begun = time.perf_counter()
        eval_seconds = _time_evaluation(training, corpus, per_step)
        evaluated = time.perf_counter()
        checkpoint, weights = run_dir.checkpoint_path(run.run_id), run_dir.weights_path(run.run_id)
        save_checkpoint(checkpoint, run.run_id, training.model, training.optimizer, training.progress)
        saved = time.perf_counter()
        save_weights(weights, run.run_id, training.model)
        probing = _time_probes(weights, trial, corpus, reporter) if trial.probes else 0.0
    return TrialTimes(
        n_steps=n_steps,
        seconds_per_step=per_step,
        eval_seconds=eval_seconds + probing,
        checkpoint_seconds=saved - evaluated,
        apart=starting + training.progress.step * per_step + saved - begun + probing,
        memory_bytes=_most_bytes(trial.execution, before),
    )


def _start(device: "torch.device") -> float:
    """Seconds that a GPU's start takes a process, which stays for the next run; 0 for a CPU."""
    begun = time.perf_counter()
    if device.type == "cuda":
        import torch

        torch.zeros(1, device=device).item()
        return time.perf_counter() - begun
    return 0.0


def _time_steps(training: "Training", trial: Trial) -> tuple[int, float]:
    """How many steps were timed, and seconds per step; the first, which also sets things up, only where it is alone."""
    at, whole, seconds = training.progress, training.run.n_steps, trial.seconds
    training.n_at_once = 1  # a step of a large model may take longer than all of them should
    begun = time.perf_counter()
    _advance(training)
    first, single = at.step, time.perf_counter() - begun
    if trial.meeting is not None:
        _meet(*trial.meeting, training)
    begun, took = time.perf_counter(), 0.0
    while at.step < whole and took < seconds and (at.step - first < FEWEST_STEPS or took < SHORTEST_SECONDS):
        _advance(training)
        took = time.perf_counter() - begun
    n_steps = at.step - first
    return (n_steps, took / n_steps) if n_steps else (first, single / first)


def _meet(folder: Path, number: int, training: "Training") -> None:
    """Come to `folder` and wait there for the others.

    Raises:
        TimeoutError: not all came: one that has failed never does.
    """
    until = time.monotonic() + MEETING_SECONDS
    (folder / str(os.getpid())).touch()
    while sum(1 for _ in folder.iterdir()) < number:
        if time.monotonic() > until:
            raise TimeoutError("not all trials that share the device came to be timed")
        training.between()
        time.sleep(0.005)


def _advance(training: "Training") -> None:
    """Take the next steps as training does.

    Raises:
        ArithmeticError: the loss is not finite, or explodes.
    """
    training.between()
    problem = training.advance()
    if problem is not None:
        raise ArithmeticError(problem)
    training.watcher.after_step(training.progress, training.last_loss)


def _time_evaluation(training: "Training", corpus: Corpus, per_step: float) -> float:
    """What the held-out loss of a whole run takes, by that of some of its tokens where a pass over all takes long."""
    run = training.run
    length = run.shape.context_length
    forward = per_step / run.batch_tokens / TRAINING_PASSES
    n_tokens = min(run.eval_tokens, max(training.execution.eval_batch_tokens, int(EVAL_SECONDS / forward)))
    training.run = run.model_copy(update={"eval_tokens": n_tokens})
    begun = time.perf_counter()
    counted = training.evaluate().n_tokens
    took = time.perf_counter() - begun
    whole = min(max(1, run.eval_tokens // length), (corpus.heldout.n_tokens - 1) // length) * length
    return took * whole / counted


def _time_probes(weights: Path, trial: Trial, corpus: Corpus, reporter: Reporter) -> float:
    from isoflop.train.abilities import probe_metrics
    from isoflop.train.checkpoint import load_weights

    begun = time.perf_counter()
    probe_metrics(load_weights(weights, trial.run).to(trial.execution.device_kind), corpus, reporter.between)
    return time.perf_counter() - begun


def _resident_bytes() -> float:
    """Of this process now."""
    return float(psutil.Process().memory_info().rss)


def _most_bytes(execution: Execution, before: float) -> float:
    """Memory of the device that this process has taken at most; on a CPU beyond what it had `before`."""
    if execution.device_kind == "cuda":
        import torch

        return float(torch.cuda.max_memory_reserved())
    # Linux counts kilobytes, macOS bytes: getrusage(2). A forked process begins with what it inherits.
    unit = 1 if sys.platform == "darwin" else 1024
    return max(0.0, float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit - before)
