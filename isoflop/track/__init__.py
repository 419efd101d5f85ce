"""Sweeps in the trackers people look at: TensorBoard, Weights & Biases and MLflow, all on this machine's disk."""

from isoflop.track.background import Background
from isoflop.track.tracked import TrackedFit, TrackedRun, Tracker
from isoflop.track.trackers import open_trackers, wanted_trackers

__all__ = ["Background", "TrackedFit", "TrackedRun", "Tracker", "open_trackers", "wanted_trackers"]
