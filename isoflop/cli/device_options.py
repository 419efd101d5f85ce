"""Which devices a sweep trains on, and how many runs at once: what `run` may be asked, and what it says of it."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from isoflop.engine.local.busy_gpus import BusyGpu
    from isoflop.engine.local.device_wish import DeviceWish
    from isoflop.engine.protocol import Slot

Devices = Annotated[
    str | None,
    typer.Option(
        "--devices",
        metavar="<0,2|cpu:2>",
        help="Train on these GPUs, as nvidia-smi counts them or by UUID, of those that CUDA_VISIBLE_DEVICES leaves; or "
        "on so many cores. A GPU that is named is used though other programs compute on it.",
    ),
]
PerDevice = Annotated[
    str,
    typer.Option(
        "--per-device",
        metavar="<auto|K>",
        help="Runs at once on each GPU; auto: as many as a measurement has shown to gain a tenth or more, else one.",
    ),
]
ShareDevices = Annotated[
    bool,
    typer.Option("--share-devices", help="Train also on GPUs that another sweep trains on, or other programs use."),
]


def device_wish(devices: str | None, per_device: str, share_devices: bool) -> "DeviceWish":
    """What the three options say together.

    Raises:
        IsoflopError: one of them is not understood.
    """
    from isoflop.engine.local.device_wish import DeviceWish, parse_devices, parse_per_device

    named = None if devices is None else parse_devices(devices)
    return DeviceWish(named, parse_per_device(per_device), share_devices)


def tell_of_devices(sweep: str, busy: "Sequence[BusyGpu]", slots: "Sequence[Slot]" = ()) -> None:
    """A line on stderr for each GPU that is left out, and for what runs that share a GPU do to each other."""
    from isoflop.engine.local.mps import mps_runs
    from isoflop.units import format_bytes, plural

    for gpu in busy:
        by = plural(len(gpu.pids), "other program") if gpu.pids else "other programs"
        taken = f"{format_bytes(gpu.taken_bytes)} of {format_bytes(gpu.memory_bytes)}"
        told = f"GPU {gpu.index} ({gpu.name}) is left out: {by} took {taken}"
        how = f"`--devices {gpu.index}` or `--share-devices` of `run` trains there too"
        print(f"{sweep}: {told}; {how}.", file=sys.stderr)
    if slots and slots[0].n_packed > 1:
        how = "CUDA MPS runs their kernels side by side" if mps_runs() else "without CUDA MPS their kernels take turns"
        print(f"{sweep}: {slots[0].n_packed} runs at once on each GPU; {how}.", file=sys.stderr)
