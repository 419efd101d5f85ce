"""What a person asks of the devices: which, how many runs on each, and whether those that others use count."""

import re
from dataclasses import dataclass
from typing import Literal

from isoflop.errors import IsoflopError

_FORMS = "Give GPUs as nvidia-smi counts them (`0,2`) or by UUID, or cores: `cpu`, `cpu:2`."
_CORES = re.compile(r"cpu(?::(\d{1,4}))?")
# CUDA MPS serves at most 48 clients on a GPU, 60 from Blackwell on (NVIDIA, "Multi-Process Service", Limitations).
MOST_PER_DEVICE = 48
_GPU = re.compile(r"\d{1,4}|(?:GPU|MIG)-[\w/.-]+")


@dataclass(frozen=True)
class NamedDevices:
    """The devices that --devices names: GPUs, or cores.

    Attributes:
        gpus: indices or UUIDs as nvidia-smi has them, in the order they were given; none where cores are named.
        cores: how many cores; None where that is left to others.
    """

    gpus: tuple[str, ...] = ()
    cores: int | None = None

    @property
    def kind(self) -> Literal["cpu", "cuda"]:
        """What runs compute on there."""
        return "cuda" if self.gpus else "cpu"


@dataclass(frozen=True)
class DeviceWish:
    """What is asked for beside a kind of device and a number of workers.

    Attributes:
        named: the devices to use; None for all that are free.
        per_device: runs at once on each GPU; None for as many as a measurement has shown to pay, one without it.
        share: whether GPUs that others use are used too.
    """

    named: NamedDevices | None = None
    per_device: int | None = None
    share: bool = False


ANY_DEVICE = DeviceWish()


def parse_devices(value: str) -> NamedDevices:
    """The devices that `value` of --devices names.

    Raises:
        IsoflopError: it names none, one twice, GPUs and cores, or something else.
    """
    names = [part.strip() for part in value.split(",")]
    cores = [match for name in names if (match := _CORES.fullmatch(name)) is not None]
    if cores and len(names) > 1:
        raise IsoflopError(
            f"--devices {value} names cores beside other devices.",
            hint="A sweep trains on devices of one kind: give GPUs (`0,2`), or cores once (`cpu:2`).",
        )
    if cores:
        number = cores[0][1]
        if number is not None and int(number) == 0:
            raise IsoflopError(f"--devices {value} names no core.", hint="Give one or more: `cpu:1`.")
        return NamedDevices(cores=None if number is None else int(number))
    for name in names:
        if not _GPU.fullmatch(name):
            raise IsoflopError(f"--devices {value}: {name!r} is not the name of a device.", hint=_FORMS)
    gpus = tuple(str(int(name)) if name.isdigit() else name for name in names)
    if len(set(gpus)) < len(gpus):
        raise IsoflopError(
            f"--devices {value} names a GPU twice.", hint="Name it once; --per-device has several runs on each GPU."
        )
    return NamedDevices(gpus)


def parse_per_device(value: str) -> int | None:
    """Runs at once on each GPU as `value` of --per-device says; None for `auto`.

    Raises:
        IsoflopError: it is neither `auto` nor a number from 1 to 48.
    """
    if value == "auto":
        return None
    if not re.fullmatch(r"\d{1,2}", value) or not 1 <= int(value) <= MOST_PER_DEVICE:
        raise IsoflopError(
            f"--per-device {value} is not a number of runs per GPU.",
            hint=f"Give a number from 1 to {MOST_PER_DEVICE}, or `auto`.",
        )
    return int(value)
