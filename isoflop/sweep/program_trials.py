"""`isoflop plan --measure` of a program of the user's own: short runs of some sizes, before anything is spent.

A run of few tokens and one of more tell what a token takes, and what the program takes before its first one.
"""

import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from isoflop import __version__
from isoflop.engine.dispatch import Dispatcher
from isoflop.engine.execution import GitState
from isoflop.engine.local.local_engine import LocalEngine
from isoflop.engine.notices import RunFinished
from isoflop.engine.protocol import Slot
from isoflop.plan.measurement import NO_OPTIMIZER, PROGRAM, Measurement
from isoflop.plan.trial_choice import spread
from isoflop.result import RunResult, Status
from isoflop.run_spec import CommandRun, Job, as_program
from isoflop.rundir import ProgramPlace
from isoflop.rundir.layout import measuring_dir
from isoflop.sweep.preflight import measuring_alone

# Sizes that are tried, the smallest and the largest among them: a program that imports torch takes seconds to start.
MOST_SIZES = 4
# Tokens of the longer run of a size over those of the shorter.
LONGER = 3
# The longer run takes this share more than the shorter, or the difference is what starting a process varies by.
LEAST_GROWTH = 0.1
# A trial that takes longer is stopped, seconds.
MOST_SECONDS = 300.0


def program_trials(
    runs: Sequence[CommandRun], slots: Sequence[Slot], artifacts: Path, place: ProgramPlace, tokens: int
) -> Iterator[Measurement | str]:
    """What tokens of some of the sizes take, or why that could not be told; `tokens` of the shorter run of each.

    Raises:
        IsoflopError: another process trains on every device, or nothing can be written.
    """
    sizes = {run.shape: run for run in runs}
    chosen = spread(sorted(sizes.values(), key=lambda run: run.shape.flops_per_token), MOST_SIZES)
    pairs = [_pair(run, tokens) for run in chosen]
    with measuring_alone(slots, artifacts) as usable:
        engine = Dispatcher(
            LocalEngine(usable),
            artifacts=measuring_dir(artifacts),
            corpora=artifacts,
            git=GitState(None, None),
            program=replace(place, seconds=min(place.seconds or MOST_SECONDS, MOST_SECONDS)),
        )
        events = engine.run([Job((one,)) for pair in pairs for one in pair])
        results = {event.result.run_id: event.result for event in events if isinstance(event, RunFinished)}
    for few, more in pairs:
        yield _measurement(few, results.get(few.run_id), results.get(more.run_id), usable)


def _pair(run: CommandRun, tokens: int) -> tuple[CommandRun, CommandRun]:
    """The run cut to `tokens` and to three times as many; where it has fewer, to a third of them and to all."""
    few = max(1, min(tokens, run.n_tokens // LONGER))
    return run.model_copy(update={"n_tokens": few}), run.model_copy(update={"n_tokens": few * LONGER})


def _measurement(
    run: CommandRun, few: RunResult | None, more: RunResult | None, slots: Sequence[Slot]
) -> Measurement | str:
    broken = next((one for one in (few, more) if one is None or one.status is not Status.COMPLETED), None)
    if few is None or more is None or broken is not None:
        why = broken.reason if broken is not None else "it left no result"
        return f"{run.shape}: a short run did not complete ({why}); its time is read from other sizes, or guessed."
    if more.n_tokens <= few.n_tokens:
        asked = f"asked for {run.n_tokens} and {run.n_tokens * LONGER} tokens it trained on"
        return f"{run.shape}: {asked} {few.n_tokens} and {more.n_tokens}: raise command.measure_tokens."
    if more.seconds - few.seconds < LEAST_GROWTH * few.seconds:
        took = f"{more.n_tokens} tokens took {more.seconds:.2g} s, {few.n_tokens} took {few.seconds:.2g} s"
        return f"{run.shape}: {took}, too close to tell what a token takes: raise command.measure_tokens."
    per_token = (more.seconds - few.seconds) / (more.n_tokens - few.n_tokens)
    slot = slots[0]
    return Measurement(
        device=slot.name,
        device_kind=slot.kind,
        host=socket.gethostname(),
        n_at_once=len(slots),
        shape=run.shape,
        batch_tokens=1,
        optimizer=NO_OPTIMIZER,
        execution={"device_kind": slot.kind, "world_size": slot.n_devices, PROGRAM: as_program(run.argv)},
        n_steps=more.n_tokens,
        seconds_per_step=per_token,
        eval_tokens=1,
        eval_seconds=max(0.0, few.seconds - per_token * few.n_tokens),
        checkpoint_seconds=0.0,
        beside_seconds=0.0,
        memory_bytes=0.0,
        isoflop_version=__version__,
        measured_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
