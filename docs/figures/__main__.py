"""Draws the figures of docs/fitting.md and prints the numbers quoted there.

    python docs/figures [NAME ...]

Published data come from tests/data, the rest from known surfaces and seeded generators. A minute on one core.
"""

import sys
from collections.abc import Callable, Sequence

import matplotlib as mpl
from by_budget import akima, cubic, parabola, robust, sweep
from curves import envelope
from drawing import DOCS, STYLE
from forecasts import loss_law, model_error, scorecard, window
from grids import off_centre
from matplotlib.figure import Figure
from suggested import next_runs
from surface import surface
from uncertainty import bands, intervals, noise
from valley import joint, mask, scatter, shrinkage

FIGURES: dict[str, Callable[[], Figure]] = {
    drawing.__name__.replace("_", "-"): drawing
    for drawing in (
        sweep, parabola, robust, cubic, surface, joint, shrinkage, scatter, mask, window, akima, envelope, intervals,
        model_error, noise, bands, loss_law, scorecard, off_centre, next_runs,
    )
}  # fmt: skip


def main(names: Sequence[str]) -> None:
    """Draw the figures of these names, or all."""
    with mpl.rc_context(STYLE):
        for name in names or FIGURES:
            drawn = FIGURES[name]()
            drawn.savefig(DOCS / "img" / f"fitting-{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main(sys.argv[1:])
