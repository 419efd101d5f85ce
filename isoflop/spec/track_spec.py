"""[track]: where else a sweep is shown; nothing here changes a run."""

from typing import Annotated

from pydantic import Field, field_validator

from isoflop.spec.section import Section

_Place = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]


class TrackSpec(Section):
    """Trackers that get every run's curve and losses, and the fit at the end; all write to the disk alone."""

    tensorboard: _Place | None = None
    """Folder of event files for TensorBoard, relative to the sweep file."""
    wandb: Annotated[str, Field(pattern=r"^[^/\\#?%:\x00]{1,128}$")] | None = None
    """Project of Weights & Biases; offline always, in the folder `wandb` beside the sweep file: `wandb sync` sends."""
    mlflow: _Place | None = None
    """Folder of an MLflow file store, relative to the sweep file, or file:PATH."""

    @field_validator("mlflow")
    @classmethod
    def _a_folder(cls, place: str | None) -> str | None:
        if place is not None and "://" in place and not place.startswith("file:///"):
            raise ValueError('only a folder of this machine is written: mlflow = "mlruns"')
        return place
