"""[track] of a sweep file while `isoflop run` trains: trackers get what has a result, and the fit at the end."""

import contextlib
import math
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from isoflop.cli.line_sink import warn
from isoflop.errors import IsoflopError

if TYPE_CHECKING:
    from isoflop.engine.notices import Notice
    from isoflop.sweep.session import Session
    from isoflop.track import Background


@contextlib.contextmanager
def tracking(sweep: Path) -> Iterator["Tracking | None"]:
    """What tells the trackers of the sweep file; None where it names none.

    Raises:
        IsoflopError: a bad sweep file, or a library or a folder that a tracker needs is missing.
    """
    from isoflop.spec import load_spec
    from isoflop.track import Background, open_trackers, wanted_trackers

    spec = load_spec(sweep)
    wanted = wanted_trackers(spec.track, sweep.parent)
    if not wanted:
        yield None
        return
    background = Background(open_trackers(wanted), warn)
    yield Tracking(background, spec.name)


class Tracking:
    """Tells trackers of runs that end, and of what ended before: nothing is lost with a command that was killed."""

    def __init__(self, background: "Background", sweep: str) -> None:
        self._background, self._sweep = background, sweep
        self._has_told_recorded = False

    def passing(self, session: "Session") -> "Iterator[Notice]":
        """The events of the session; each result among them is told, and before the first what is recorded."""
        from isoflop.engine.notices import RunFinished
        from isoflop.sweep.tracked_runs import ended_run, recorded_runs

        cells = {cell.run.run_id: cell for cell in reversed(session.plan.cells)}
        if not self._has_told_recorded:
            self._has_told_recorded = True
            for run in recorded_runs(session.store, self._sweep):
                self._background.add(run)
        for event in session.events():
            if isinstance(event, RunFinished):
                self._background.add(ended_run(self._sweep, cells[event.result.run_id], event.result))
            yield event

    def end(self, sweep: Path, db: Path, *, fit: bool) -> None:
        """Have the fit tracked if `fit`, and wait for all."""
        if fit:
            self._conclude(sweep, db)
        self._background.close()

    def _conclude(self, sweep: Path, db: Path) -> None:
        from isoflop.cli.request import Request, read_and_fit
        from isoflop.report.figure.figure import render_figure
        from isoflop.track import TrackedFit

        try:
            summary = read_and_fit([str(sweep)], Request(db=db))
        except IsoflopError as error:
            warn(f"No fit is tracked: {error.message} (`isoflop fit {shlex.quote(str(sweep))}`)")
            return
        frontier = summary.fit.frontier
        values = {} if frontier is None else {
            "exponent_a": frontier.exponent_a, "exponent_b": frontier.exponent_b, "coef_n": frontier.coef_n,
            "coef_d": frontier.coef_d, "n_profiles": float(frontier.n_profiles),
        }  # fmt: skip
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        figure = render_figure(summary).png
        self._background.conclude(TrackedFit(self._sweep, summary.simulated, finite, figure, time.time()))
