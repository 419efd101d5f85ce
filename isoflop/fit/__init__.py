"""IsoFLOP profiles and the compute-optimal frontier from arrays: numpy and scipy only."""

from isoflop.fit.document import fit_as_json
from isoflop.fit.intervals import MODEL_ERROR_DECADES, MODEL_ERROR_PER_DECADE
from isoflop.fit.sweep import fit_exponents, fit_sweep
from isoflop.fit.types import Frontier, Interval, Profile, SweepFit, Target, Vertex

__all__ = [
    "MODEL_ERROR_DECADES",
    "MODEL_ERROR_PER_DECADE",
    "Frontier",
    "Interval",
    "Profile",
    "SweepFit",
    "Target",
    "Vertex",
    "fit_as_json",
    "fit_exponents",
    "fit_sweep",
]
