"""How much of their time the workers of one command trained."""

from isoflop.engine.notices import AttemptEnded, AttemptStarted


class BusyTime:
    """Adds up the seconds that workers train, all on one clock (monotonic)."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._first_start: float | None = None
        self._last_end: float | None = None
        # Of the attempts that go on now, by worker.
        self._started: dict[int, float] = {}
        self._result_at: dict[int, float] = {}

    def begin(self, event: AttemptStarted) -> None:
        """Note when an attempt starts."""
        self._started[event.worker] = event.at
        self._first_start = self._first_start or event.at

    def result(self, worker: int, at: float) -> None:
        """Note when a worker has a result; the last one counts."""
        self._result_at[worker] = at

    def end(self, event: AttemptEnded) -> None:
        """Add the seconds from `started` to the attempt's last result, or to its end without one."""
        ended = self._result_at.pop(event.worker, event.at)
        started = self._started.pop(event.worker, None)
        if started is not None:
            self._last_end = max(self._last_end or ended, ended)
            self._seconds += max(0.0, ended - started)

    def share(self, n_workers: int) -> float | None:
        """Of `n_workers` from the first start to the last end; None where nothing was trained."""
        if self._first_start is None or self._last_end is None or self._last_end <= self._first_start:
            return None
        return self._seconds / (n_workers * (self._last_end - self._first_start))
