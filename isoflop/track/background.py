"""Trackers at work beside the sweep: a thread of its own, so that a slow one holds nothing up."""

import queue
import threading
from collections.abc import Callable, Sequence

from isoflop.track.tracked import TrackedFit, TrackedRun, Tracker

# What trackers have for what is still to be written when the sweep is done, seconds. The next command writes the rest.
LAST_SECONDS = 60.0
_SHOWN = 300

_Work = Callable[[Tracker], None]


class Background:
    """Hands everything to every tracker, in order; one that fails is said once and left out from then on."""

    def __init__(self, trackers: Sequence[Tracker], say: Callable[[str], None]) -> None:
        self._trackers, self._say = list(trackers), say
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._known: dict[tuple[str, str], set[str]] = {}
        self._thread = threading.Thread(target=self._go, name="trackers", daemon=True)
        self._thread.start()

    def add(self, run: TrackedRun) -> None:
        """Have the run tracked wherever it is not yet."""
        self._work.put(lambda tracker: self._add(tracker, run))

    def conclude(self, fit: TrackedFit) -> None:
        """Have the fit tracked."""
        self._work.put(lambda tracker: tracker.conclude(fit))

    def close(self, *, within: float = LAST_SECONDS) -> None:
        """Wait until everything is tracked, or for so many seconds; what is not is told."""
        self._work.put(lambda tracker: tracker.close())
        self._work.put(None)
        self._thread.join(within)
        if self._thread.is_alive():
            names = ", ".join(tracker.name for tracker in self._trackers)
            self._say(f"{names}: not written to the end within {within:g} s; the next `isoflop run` writes the rest.")

    def _add(self, tracker: Tracker, run: TrackedRun) -> None:
        place = (tracker.name, run.sweep)
        if place not in self._known:
            self._known[place] = set(tracker.known(run.sweep))
        if run.key not in self._known[place]:
            tracker.add(run)
            self._known[place].add(run.key)

    def _go(self) -> None:
        while (work := self._work.get()) is not None:
            for tracker in list(self._trackers):
                try:
                    work(tracker)
                except Exception as error:  # of somebody else's library, over somebody else's files: anything
                    self._trackers.remove(tracker)
                    why = " ".join(f"{type(error).__name__}: {error}".split())[:_SHOWN]
                    self._say(f"{tracker.name} is left out from here ({why}); the sweep goes on.")
