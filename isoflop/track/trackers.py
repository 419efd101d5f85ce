"""The trackers that a sweep file asks for."""

import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from isoflop.errors import IsoflopError
from isoflop.spec.track_spec import TrackSpec
from isoflop.track.mlflow_files import MlflowFiles
from isoflop.track.tensorboard_files import TensorBoardFiles
from isoflop.track.tracked import Tracker
from isoflop.track.wandb_offline import WandbOffline


@dataclass(frozen=True)
class Wanted:
    """A tracker that a sweep file asks for: the library it needs, which is also its key, and where it writes."""

    library: str
    place: Path
    make: Callable[[Path], Tracker] = field(compare=False)


def wanted_trackers(spec: TrackSpec, folder: Path) -> tuple[Wanted, ...]:
    """A tracker for each key of [track]; paths are relative to `folder`, the sweep file's."""
    wanted = []
    if spec.tensorboard is not None:
        wanted.append(Wanted("tensorboard", (folder / spec.tensorboard).resolve(), TensorBoardFiles))
    if spec.wandb is not None:
        wanted.append(Wanted("wandb", folder.resolve(), partial(WandbOffline, project=spec.wandb)))
    if spec.mlflow is not None:
        wanted.append(Wanted("mlflow", (folder / _path(spec.mlflow)).resolve(), MlflowFiles))
    return tuple(wanted)


def _path(place: str) -> str:
    """A folder as it is, or as file:FOLDER or file:///FOLDER names it."""
    path = place.removeprefix("file:")
    return path.removeprefix("//") if path.startswith("///") else path


def open_trackers(wanted: Iterable[Wanted]) -> list[Tracker]:
    """The trackers; no library is loaded yet.

    Raises:
        IsoflopError: a library is not installed, or a folder cannot be made.
    """
    return [_opened(one) for one in wanted]


def _opened(wanted: Wanted) -> Tracker:
    if importlib.util.find_spec(wanted.library) is None:
        raise IsoflopError(
            f"[track] {wanted.library} needs the library {wanted.library}, which is not installed.",
            hint=f"`pip install 'isoflop[{wanted.library}]'`, or leave the key out.",
        )
    try:
        wanted.place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise IsoflopError(
            f"[track] {wanted.library} cannot write to {str(wanted.place)!r}: {error.strerror}.",
            hint="Name another folder.",
        ) from error
    return wanted.make(wanted.place)
