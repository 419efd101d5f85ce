"""What `isoflop plan` measures, and the options on time and money that `plan` and `run` share."""

import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from isoflop.plan.gpu_types import GpuChoice
    from isoflop.spec import SweepSpec
    from isoflop.store import Store
    from isoflop.sweep.planning import PlannedSweep
    from isoflop.view.plan_costs import Price

DEFAULT_SECONDS = 2.0

Measure = Annotated[
    bool,
    typer.Option(
        "--measure",
        help="Time real steps of each pending shape on the devices here, so that the estimate is measured.",
    ),
]
MeasureSeconds = Annotated[
    float,
    typer.Option("--measure-seconds", metavar="<seconds>", help="With --measure: most that the steps of a shape take."),
]
MaxHours = Annotated[
    float | None,
    typer.Option(
        "--max-hours",
        metavar="<hours>",
        help="Refuse a plan whose pending runs cost more device-hours.",
    ),
]
On = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="<GPU:number>",
        help="Guess for GPUs that are not here, such as h100:8, and record nothing.",
    ),
]
PlanPrice = Annotated[
    float | None,
    typer.Option("--price", help="Price of one device for one hour, in any currency; with --on, a typical one."),
]


def require_hours(max_hours: float | None) -> float | None:
    """`max_hours`, where it is a number of hours.

    Raises:
        IsoflopError: zero, negative, infinite or not a number.
    """
    from isoflop.errors import IsoflopError

    if max_hours is not None and not 0 < max_hours < float("inf"):
        raise IsoflopError(
            f"--max-hours {max_hours:g} is no number of device-hours.", hint="Give a positive number such as 12 or 0.5."
        )
    return max_hours


def gpus_elsewhere(
    on: str | None, *, measure: bool, seconds: float, device: str, workers: int | None
) -> "GpuChoice | None":
    """The GPUs that `--on` means, if any.

    Raises:
        IsoflopError: no such type, or options that contradict each other.
    """
    from isoflop.errors import IsoflopError
    from isoflop.plan.gpu_types import parse_gpus

    if not 0 < seconds < float("inf"):
        raise IsoflopError(
            f"--measure-seconds {seconds:g} is no time to measure in.",
            hint="Give a positive number of seconds such as 2.",
        )
    if seconds != DEFAULT_SECONDS and not measure:
        raise IsoflopError("--measure-seconds has no effect without --measure.", hint="Add --measure.")
    if on is None:
        return None
    if measure:
        raise IsoflopError(
            "--on plans for devices that are not here, --measure times those that are.", hint="Leave one of them out."
        )
    if device != "auto" or workers is not None:
        raise IsoflopError(
            "--on names the devices; --device and --workers are of this machine.",
            hint="Leave --device and --workers out.",
        )
    return parse_gpus(on)


def price_of(price: float | None, gpus: "GpuChoice | None") -> "Price | None":
    """What a device-hour costs: `price`, or what such GPUs typically cost; None where neither is known.

    Raises:
        IsoflopError: a number that no device costs.
    """
    from isoflop.decision.cost import require_price
    from isoflop.view.plan_costs import Price

    if price is not None:
        return Price(require_price(price), "--price")
    return Price(gpus.gpu.price, "typical rental price, US dollars") if gpus else None


def refuse_to_measure(spec: "SweepSpec", planned: "PlannedSweep", *, dry_run: bool) -> None:
    """Nothing, where the sweep can be measured here.

    Raises:
        IsoflopError: nothing of it is trained, its text is not here, or nothing may be written.
    """
    from isoflop.errors import IsoflopError

    if spec.trainer == "simulated":
        raise IsoflopError("A simulated sweep trains nothing that could be measured.", hint="Leave --measure out.")
    if spec.command is not None and spec.command.measure_tokens is None:
        raise IsoflopError(
            "The sweep file does not say with how many tokens its program can be timed.",
            hint="Set command.measure_tokens, such as 100_000; without --measure the estimate follows finished runs.",
        )
    if dry_run:
        raise IsoflopError("--measure records what it finds, --dry-run nothing.", hint="Leave one of them out.")
    if not planned.recordable:
        raise IsoflopError(
            "The text of the sweep is not here: its shapes cannot be measured.",
            hint="Measure where the text is; `isoflop plan --on h100:8` guesses for other machines.",
        )
    if planned.slots[0].n_devices > 1 and spec.command is None:
        raise IsoflopError(
            f"--measure times runs of one device; run.devices_per_run is {planned.slots[0].n_devices}.",
            hint="Leave --measure out: the estimate is scaled once a run has finished.",
        )


def measure(
    planned: "PlannedSweep",
    spec: "SweepSpec",
    store: "Store",
    artifacts: Path,
    *,
    done: Collection[str],
    seconds: float,
    folder: Path,
) -> tuple[str, ...]:
    """Trials of the pending shapes, each recorded as it ends; sentences on those that found nothing.

    `folder` is the sweep file's, where a factory of the user's own is looked for.

    Raises:
        IsoflopError: no process can be started, nothing can be written, or the devices are busy.
    """
    if spec.command is not None:
        return _measure_program(planned, spec, store, artifacts, done=done, file=folder / "sweep.toml")
    import time

    from isoflop.plan.measurement import Measurement
    from isoflop.plan.pace import batch_tokens
    from isoflop.plan.packing import PACKED_TRIALS
    from isoflop.plan.trial_choice import choose_trials, spread
    from isoflop.run_spec import RunSpec
    from isoflop.sweep.planning import corpora
    from isoflop.sweep.preflight import NotMeasured, open_preflight
    from isoflop.units import format_seconds, plural
    from isoflop.wording import one_line

    runs = planned.plan.runs.items()
    pending = [run for run_id, run in runs if run_id not in done and isinstance(run, RunSpec)]
    slots = planned.slots
    trials = choose_trials(pending, device_kind=slots[0].kind, n_workers=len(slots), seconds=seconds)
    if not trials:
        print("Nothing to measure: every run has a result.", file=sys.stderr)
        return ()
    print(f"Measuring {plural(len(trials), 'shape')} on {len(slots)} x {slots[0].name}.", file=sys.stderr)
    begun, failed, artifacts = time.monotonic(), [], artifacts.resolve()
    with open_preflight(
        slots,
        artifacts,
        corpora(artifacts),
        seconds=seconds,
        probes=spec.evaluation.probes,
        factory_folder=folder.resolve(),
    ) as preflight:
        alone: dict[object, Measurement] = {}

        def note(found: Measurement | NotMeasured) -> None:
            if isinstance(found, NotMeasured):
                failed.append(one_line(found.sentence))
                print(failed[-1], file=sys.stderr)
            else:
                store.record_measurement(found)
                alone.setdefault((found.shape, found.batch_tokens), found)

        for found in preflight.measure(trials):
            note(found)
        if slots[0].kind == "cuda":
            ways = ((run, alone.get((run.shape, batch_tokens(run)))) for run in spread(trials, PACKED_TRIALS))
            for found in preflight.measure_packed((run, one) for run, one in ways if one is not None):
                note(found)
    took = format_seconds(time.monotonic() - begun)
    print(f"Measured {len(alone)} of {plural(len(trials), 'shape')} in {took}.", file=sys.stderr)
    return tuple(failed)


def _measure_program(
    planned: "PlannedSweep", spec: "SweepSpec", store: "Store", artifacts: Path, *, done: Collection[str], file: Path
) -> tuple[str, ...]:
    """Short runs of the program, each recorded; sentences on those that told nothing."""
    from isoflop.run_spec import CommandRun
    from isoflop.sweep.own_program import program_place
    from isoflop.sweep.program_trials import program_trials
    from isoflop.wording import one_line

    assert spec.command is not None
    assert spec.command.measure_tokens is not None
    place = program_place(spec, file)
    assert place is not None
    runs = (run for run_id, run in planned.plan.runs.items() if run_id not in done)
    pending = [run for run in runs if isinstance(run, CommandRun)]
    failed, tokens = list[str](), spec.command.measure_tokens
    print(f"Timing the program on {len(planned.slots)} x {planned.slots[0].name}.", file=sys.stderr)
    for found in program_trials(pending, planned.slots, artifacts.resolve(), place, tokens):
        if isinstance(found, str):
            failed.append(one_line(found))
            print(failed[-1], file=sys.stderr)
        else:
            store.record_measurement(found)
    return tuple(failed)
