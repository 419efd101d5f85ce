"""The process that works on jobs: claims a job's directory, trains its runs, writes their results.

Started by an engine for one job; talks to it only through the run directory and its exit code. One that is given a
connection stays for further jobs: what it has loaded and set up on a device takes seconds to make again.
"""

import contextlib
import errno
import gc
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection

from isoflop.errors import IsoflopError, why_inaccessible
from isoflop.files import remove_temporaries
from isoflop.result import Metric, RunResult, Status
from isoflop.run_spec import AnyRun, CommandRun, RunSpec
from isoflop.rundir import Assignment, Execution, ExitCode, ProgramExecution, RunDir, own_claim
from isoflop.rundir.events import ObstacleEvent, result_event, started_event
from isoflop.rundir.layout import weights_path
from isoflop.train.outcome import make_result, one_device_name
from isoflop.train.process import Stop, die_with_parent, dump_stacks_when_asked, log_to
from isoflop.train.progress import Ending, Interrupted, Progress, StepUnavailable, Trained
from isoflop.train.reporter import Reporter

# What no run can help: every other would meet it too.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
# What torch's CPU allocator says, in a plain RuntimeError.
_CPU_ALLOCATOR = "DefaultCPUAllocator"


def run_assignments(assignment: Assignment, engine: Connection | None = None) -> None:
    """Entry point of the process; ends it with an exit code.

    Through `engine` it says that a job is done and receives the next, for the same device. After anything but success
    it ends, so that a device in an unknown state goes with it.
    """
    paused = die_with_parent(assignment.coordinator_pid)
    os.environ["CUDA_VISIBLE_DEVICES"] = assignment.visible_device.partition(",")[0]  # the others are other ranks'
    dump_stacks_when_asked()
    stays = engine is not None
    streams = [os.dup(number) for number in (1, 2)]
    gc.freeze()  # what was inherited stays, and need not be looked through each time memory is freed
    code = _run_assignment(assignment, paused, stays=stays)
    while engine is not None and code == ExitCode.DONE and not _has_failed(assignment):
        _free_memory()
        try:
            engine.send(int(code))
            assignment = engine.recv()
        except (EOFError, ConnectionError):
            break  # the engine wants no more
        for number, descriptor in enumerate(streams, start=1):
            os.dup2(descriptor, number)  # until the job has its log, nothing goes into that of the one before
        code = _run_assignment(assignment, paused, stays=stays)
    sys.exit(code)


def _has_failed(assignment: Assignment) -> bool:
    """Whether an error ended a run of the job: on a GPU the next may meet it again."""
    run_dir = RunDir(assignment.job_dir)
    job_file = run_dir.read_job()
    results = [run_dir.read_result(run.run_id) for run in job_file.runs] if job_file else [None]
    return any(result is None or result.status is Status.FAILED for result in results)


def _free_memory() -> None:
    """Give a device's memory back that no tensor uses: another process may want it before the next job comes."""
    gc.collect()  # a graph and its training hold each other
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _run_assignment(assignment: Assignment, paused: threading.Event, *, stays: bool) -> ExitCode:
    """Work on one job, whatever it prints going to the attempt's log."""
    run_dir = RunDir(assignment.job_dir)
    with log_to(run_dir.log_path(assignment.attempt)), Stop(paused) as stop:
        try:
            return _work(assignment, run_dir, stop, stays=stays)
        except IsoflopError as error:
            return _report_obstacle(error, run_dir)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            hint = "Make room or correct the permissions; finished results are safe, and the same command continues."
            problem = f"Cannot write to {str(run_dir.path)!r}: {why_inaccessible(error, run_dir.path)}."
            return _report_obstacle(IsoflopError(problem, hint=hint), run_dir)


def _report_obstacle(error: IsoflopError, run_dir: RunDir) -> ExitCode:
    """Tell the engine what stands in the way of every run; the run itself stays pending."""
    print(f"{error.message}\n{error.hint}", file=sys.stderr)
    with contextlib.suppress(OSError):
        run_dir.append_event(ObstacleEvent(error.message, error.hint))
    return ExitCode.OBSTACLE


def _work(assignment: Assignment, run_dir: RunDir, stop: Stop, *, stays: bool) -> ExitCode:
    with run_dir.lock() as alone:
        if alone:
            code = _work_alone(assignment, run_dir, stop)
            if stays and code == ExitCode.DONE:
                run_dir.withdraw_claim()
            return code
    print(f"another process works on {run_dir.path}", file=sys.stderr)
    return ExitCode.BUSY


def _work_alone(assignment: Assignment, run_dir: RunDir, stop: Stop) -> ExitCode:
    remove_temporaries(run_dir.path)
    remove_temporaries(run_dir.checkpoint_dir)
    job_file = run_dir.read_job()
    if job_file is None:
        print(f"no usable job.json in {run_dir.path}", file=sys.stderr)
        return ExitCode.BAD_JOB
    run_dir.write_claim(own_claim(assignment.attempt, assignment.engine or None, assignment.engine_job or None))
    run_dir.append_event(started_event(assignment.attempt))
    for run in job_file.runs:
        if run_dir.read_result(run.run_id) is None:
            code = _attempt(run, assignment, run_dir, job_file.execution, stop)
            if code != ExitCode.DONE:
                return code
    return ExitCode.DONE


def _attempt(
    run: AnyRun, assignment: Assignment, run_dir: RunDir, execution: Execution | ProgramExecution, stop: Stop
) -> ExitCode:
    """Have one run trained and write its result."""
    if isinstance(run, CommandRun):
        from isoflop.train.program import train_with_program

        assert isinstance(execution, ProgramExecution)
        outcome: RunResult | ExitCode = train_with_program(run, assignment, execution, run_dir, stop)
    else:
        assert isinstance(execution, Execution)
        outcome = _trained_here(run, assignment, run_dir, execution, stop)
    if isinstance(outcome, ExitCode):
        return outcome
    if run_dir.is_fenced(assignment.attempt):
        print(f"attempt {assignment.attempt} was given up: its result is not kept", file=sys.stderr)
        return ExitCode.FENCED
    if run_dir.read_result(run.run_id) is not None:
        return ExitCode.FENCED  # another attempt was faster, and what it left counts
    run_dir.write_result(outcome)
    run_dir.append_event(result_event(run.run_id, outcome.status.value))
    if (state := run_dir.checkpoint_path(run.run_id)).exists():
        state.unlink()  # optimizer state is of no use to a run that has ended
    return ExitCode.DONE


def _trained_here(
    run: RunSpec, assignment: Assignment, run_dir: RunDir, execution: Execution, stop: Stop
) -> RunResult | ExitCode:
    """The result of a run, whatever became of it, or how the worker is to end. The only place that catches everything.

    What is not the run's doing leaves no result: no corpus and no room on the disk pass through, too little memory
    is for the engine to answer with a smaller micro-batch, a fast step that is not to be had with the plain one, a
    device that fails with another.
    """
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(assignment.compiled)
    reporter = Reporter(run, run_dir, stop)
    try:
        trained = _train(run, assignment, execution, reporter)
    except IsoflopError:
        raise
    except Exception as error:
        traceback.print_exc()
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise
        if is_out_of_memory(error):
            return ExitCode.OUT_OF_MEMORY
        if isinstance(error, StepUnavailable):
            return ExitCode.STEP_UNAVAILABLE
        if is_device_error(error):
            return ExitCode.DEVICE_FAILED
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        trained = Trained(Ending.FAILED, reporter.latest, reason=reason)
    if trained.ending is Ending.INTERRUPTED:
        return ExitCode.CHECKPOINTED
    return make_result(run, assignment, execution, trained)


def _train(run: RunSpec, assignment: Assignment, execution: Execution, reporter: Reporter) -> Trained:
    if run.trainer == "simulated":
        from isoflop.train.simulate import simulate

        return simulate(run)
    from isoflop.train.loop import train
    from isoflop.train.peak import device_peak
    from isoflop.train.rank_processes import ranks_of

    reporter.beat()
    peak = execution.world_size * device_peak(assignment.peaks, execution, one_device_name(execution))
    from isoflop.corpus import load_corpus

    corpus = load_corpus(assignment.corpora, run.corpus_fingerprint)
    checkpoints = RunDir(assignment.job_dir).checkpoint_dir
    with ranks_of(run, assignment, execution) as ranks:
        folder = assignment.program.folder if assignment.program else None
        trained = train(run, corpus, execution, checkpoints=checkpoints, watcher=reporter, ranks=ranks, folder=folder)
    if assignment.probes and trained.ending is Ending.COMPLETED:
        from isoflop.train.abilities import probe_metrics
        from isoflop.train.checkpoint import load_weights

        def measure() -> tuple[Metric, ...]:
            model = load_weights(weights_path(checkpoints, run.run_id), run).to(execution.device_kind)
            return probe_metrics(model, corpus, reporter.between)

        trained = replace(trained, metrics=_metrics(measure, trained.progress))
    return replace(trained, peak_flops_per_second=peak)


def _metrics(measure: Callable[[], tuple[Metric, ...]], progress: Progress) -> tuple[Metric, ...]:
    """What the trained model can do; nothing where that cannot be told or the worker was asked to stop.

    A run that is trained is not lost for it: `isoflop evaluate` measures it later. The time counts as evaluation.
    """
    started = time.perf_counter()
    try:
        return measure()
    except Interrupted:
        return ()
    except Exception:  # whatever it is, the run itself is done
        traceback.print_exc()
        return ()
    finally:
        took = time.perf_counter() - started
        progress.seconds += took
        progress.eval_seconds += took


def is_device_error(error: BaseException) -> bool:
    """Whether CUDA says that the GPU failed. An assertion inside a kernel is the run's: an index out of bounds."""
    said = str(error)
    return isinstance(error, RuntimeError) and said.startswith("CUDA error: ") and "device-side assert" not in said


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that the device, or this machine, has no more memory to give."""
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")  # without torch, nothing of torch was raised
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and _CPU_ALLOCATOR in str(error)
