"""`isoflop run --events`: what a sweep does as JSON Lines, for other programs."""

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from isoflop.cli.boundary import EXIT_USER_ERROR
from isoflop.cli.line_sink import LineSink, line_sink, warn
from isoflop.errors import IsoflopError

if TYPE_CHECKING:
    from isoflop.engine.notices import Notice
    from isoflop.plan.types import Cell, Plan
    from isoflop.store import SteeringRound
    from isoflop.sweep.session import Session

STDOUT_NAME = "-"


@contextlib.contextmanager
def event_stream(where: str | None, db: Path) -> Iterator["EventStream"]:
    """The stream into the file `where` or, for `-`, to stdout; a stream to nowhere for None.

    Raises:
        IsoflopError: `where` cannot be written, or is a file of the database `db`.
    """
    if where is None:
        yield EventStream(None)
        return
    if where != STDOUT_NAME and _is_of_database(Path(where), db):
        raise IsoflopError(
            f"--events {where} is a file of the database, and events in it would destroy it.",
            hint="Name another file, or - for stdout.",
        )
    with line_sink(where, "Events", warn) as sink:
        yield EventStream(sink, on_stdout=where == STDOUT_NAME)


def _is_of_database(path: Path, db: Path) -> bool:
    """Whether the path is the database or a file that SQLite keeps beside it, though neither may exist yet."""
    path, db = path.resolve(), db.resolve()
    return path == db or (path.parent == db.parent and path.name.startswith(f"{db.name}-"))


class EventStream:
    """Tells every event on a line of its own, at once.

    Attributes:
        on_stdout: whether stdout is taken, so that the summary must go elsewhere.
    """

    def __init__(self, sink: LineSink | None, *, on_stdout: bool = False) -> None:
        self._sink, self.on_stdout = sink, on_stdout
        self._sweep = ""
        self._session: Session | None = None
        self._plan: Plan | None = None
        self._cells: Mapping[str, Cell] = {}

    @contextlib.contextmanager
    def of(self, session: "Session") -> Iterator[None]:
        """A block that trains the sweep of `session`; an error that ends it is the last event."""
        self._begin(session)
        try:
            yield
        except IsoflopError as error:
            self._end(EXIT_USER_ERROR, problem={"message": error.message, "hint": error.hint})
            raise

    def passing(self, events: "Iterator[Notice]", received: list[int]) -> "Iterator[Notice]":
        """The same events, each told before it is passed on, and the first of the signals `received` meanwhile."""
        told = False
        for event in events:
            self.notice(event)
            if received and not told:
                told = True
                self._tell({"event": "stopping", "signal": signal.Signals(received[0]).name})
            yield event

    def notice(self, notice: "Notice") -> None:
        """Tell what the engine says."""
        from isoflop.view.notice_document import notice_document

        if self._sink is None or self._session is None:
            return
        if self._session.plan is not self._plan:  # a sweep that steers itself has more runs now
            self._plan = self._session.plan
            self._cells = {cell.run.run_id: cell for cell in reversed(self._plan.cells)}
        self._tell(notice_document(notice, self._cells))

    def round_decided(self, decided: "SteeringRound", sentence: str) -> None:
        """Tell what a sweep that steers itself does next, and why."""
        from isoflop.report.growth_words import rounds_document

        if self._sink is not None:
            self._tell({"event": "round_decided", "sentence": sentence, "round": rounds_document([decided])[0]})

    def end(self, code: int, summary: Mapping[str, object]) -> None:
        """Tell how the command ends, with what `isoflop run --json` prints."""
        self._end(code, summary=summary)

    def _begin(self, session: "Session") -> None:
        if self._sink is None:
            return
        outline = session.outline
        self._sweep, self._session = outline.sweep, session
        self._tell(
            {
                "event": "sweep_started",
                "simulated": outline.simulated,
                "n_runs": len(session.plan.runs),
                "n_done": len(outline.done),
                "devices": list(outline.devices),
                "host": socket.gethostname(),
                "pid": os.getpid(),
            }
        )

    def _end(self, code: int, **said: object) -> None:
        left_out = self._sink.n_left_out if self._sink is not None else 0
        ending = {"event": "sweep_ended", "exit_code": code, "problem": None, "summary": None, "left_out": left_out}
        self._tell({**ending, **said})

    def _tell(self, event: Mapping[str, object]) -> None:
        from isoflop.view.document import SCHEMA_VERSION
        from isoflop.view.notice_document import utc

        if self._sink is not None:
            head = {"schema_version": SCHEMA_VERSION, "event": event["event"], "time": utc(time.time())}
            self._sink.put(json.dumps({**head, "sweep": self._sweep, **event}, allow_nan=False))
