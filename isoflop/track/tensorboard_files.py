"""TensorBoard: a folder of event files per run, `<folder>/<sweep>/<budget>/<size, seed and id>`."""

import shutil
import struct
from pathlib import Path
from typing import Any

from isoflop.files import TEMPORARY_SUFFIX
from isoflop.track.tracked import TrackedFit, TrackedRun

_FIT = "fit"


class TensorBoardFiles:
    """Event files, each written beside its place and renamed into it."""

    name = "TensorBoard"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def known(self, sweep: str) -> set[str]:
        """Keys of the runs whose folders are there; the key ends the folder's name."""
        there = (self._folder / sweep).glob("C */*")
        return {path.name.split(" ")[-1] for path in there if path.suffix != TEMPORARY_SUFFIX}

    def add(self, run: TrackedRun) -> None:
        """The run's curve over optimizer steps, its losses, and its parameters for the HParams tab."""
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb

        last = run.curve[-1].step if run.curve else 0
        events = [(0, run.time_of(0), hparams_pb(dict(run.parameters), trial_id=run.key))]
        events += [(at.step, run.time_of(at.step), _scalar("loss/training", at.loss)) for at in run.curve]
        events += [(last, run.ended_at, _scalar(f"result/{name}", value)) for name, value in run.outcome.items()]
        if run.reason is not None:
            events.append((last, run.ended_at, _text("result/reason", f"{run.status}: {run.reason}")))
        self._write(self._folder / run.sweep / run.group / f"{run.name} {run.key}", events)

    def conclude(self, fit: TrackedFit) -> None:
        """The figure, and the numbers."""
        values = {**fit.values, "simulated": float(fit.simulated)}
        events = [(0, fit.made_at, _scalar(f"fit/{name}", value)) for name, value in values.items()]
        self._write(self._folder / fit.sweep / _FIT, [*events, (0, fit.made_at, _image("fit/figure", fit.figure))])

    def close(self) -> None:
        """Nothing is held."""

    def _write(self, place: Path, events: list[tuple[int, float, Any]]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        unfinished = place.with_name(f".{place.name}{TEMPORARY_SUFFIX}")
        shutil.rmtree(unfinished, ignore_errors=True)
        writer = EventFileWriter(str(unfinished))
        for step, time, summary in events:
            writer.add_event(Event(step=step, wall_time=time, summary=summary))
        writer.close()
        if place.exists():
            shutil.rmtree(place)
        unfinished.rename(place)


def _scalar(tag: str, value: float) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=tag, simple_value=value)])


def _text(tag: str, said: str) -> Any:
    from tensorboard.plugins.text.summary_v2 import text_pb

    return text_pb(tag, said)


def _image(tag: str, png: bytes) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    width, height = struct.unpack(">II", png[16:24])  # of the header chunk (PNG specification, 11.2.2)
    image = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=png)
    return Summary(value=[Summary.Value(tag=tag, image=image)])
