"""IsoFLOP profiles and the compute-optimal frontier from arrays: numpy and scipy only."""

from isoflop.fit.as_json import fit_as_json
from isoflop.fit.intervals import MODEL_ERROR_DECADES, MODEL_ERROR_PER_DECADE, Interval
from isoflop.fit.question import Question, Trainable
from isoflop.fit.results.profile import Frontier, Profile, Vertex
from isoflop.fit.results.sweep_fit import SweepFit
from isoflop.fit.results.target import Target
from isoflop.fit.rows import Columns, Curves
from isoflop.fit.sweep import fit_exponents, fit_sweep

__all__ = [
    "MODEL_ERROR_DECADES",
    "MODEL_ERROR_PER_DECADE",
    "Columns",
    "Curves",
    "Frontier",
    "Interval",
    "Profile",
    "Question",
    "SweepFit",
    "Target",
    "Trainable",
    "Vertex",
    "fit_as_json",
    "fit_exponents",
    "fit_sweep",
]
