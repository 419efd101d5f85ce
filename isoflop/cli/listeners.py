"""Who is told of a sweep beside the terminal: `--events`, and the trackers of the sweep file."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from isoflop.cli.event_stream import EventStream, event_stream
from isoflop.cli.tracking import Tracking, tracking

if TYPE_CHECKING:
    from isoflop.engine.notices import Notice
    from isoflop.sweep.session import Session


@contextlib.contextmanager
def listeners(sweep: Path, events: str | None, db: Path) -> Iterator["Listeners"]:
    """Those that --events and the sweep file ask for.

    Raises:
        IsoflopError: as of `event_stream` and `tracking`.
    """
    with event_stream(events, db) as stream, tracking(sweep) as tracker:
        yield Listeners(stream, tracker)


@dataclass(frozen=True)
class Listeners:
    """A stream, which may lead nowhere, and trackers or none."""

    stream: EventStream
    tracker: Tracking | None

    def passing(self, session: "Session", received: list[int]) -> "Iterator[Notice]":
        """The events of the session, each told before it is passed on."""
        events = session.events() if self.tracker is None else self.tracker.passing(session)
        return self.stream.passing(events, received)

    def end(self, code: int, document: Mapping[str, object], *, sweep: Path, db: Path, fit: bool) -> None:
        """Have the fit tracked if `fit`, and tell how the command ends."""
        if self.tracker is not None:
            self.tracker.end(sweep, db, fit=fit)
        self.stream.end(code, document)
