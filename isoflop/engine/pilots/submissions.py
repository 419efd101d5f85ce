"""Submissions: asks a cluster for pilots; later again where it is away, refuses, or gives jobs that never speak."""

import contextlib
import json
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from isoflop.engine.pilots.cluster import Cluster, ClusterAwayError
from isoflop.engine.pilots.mailbox import Mailbox, PilotFile
from isoflop.engine.pilots.pilot_job import PilotJob
from isoflop.errors import IsoflopError
from isoflop.files import write_atomically
from isoflop.rundir.layout import submission_path

# So many jobs in a row that end before their pilot says a word have one cause, and the next will not help.
MOST_MUTE = 3
# A cluster that does not answer, or refuses more jobs, is asked again after these seconds. While no pilot is at work it
# may be away for so long in all, for controllers are restarted within minutes, and refuse so often.
AGAIN_SECONDS, AWAY_SECONDS, MOST_REFUSALS = 10.0, 1800.0, 10


class Submissions:
    """What was asked of a cluster, and came of it.

    Args:
        root: folder of pilots; on storage that the nodes share.
        content: what a pilot is for.
        say: hears what a person should know.
        clock: seconds; never jumps.
    """

    def __init__(
        self,
        cluster: Cluster,
        root: Path,
        content: PilotFile,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster, self._root, self._content, self._say, self._clock = cluster, root, content, say, clock
        self._n_mute = self._n_refused = 0
        self._next_ask = 0.0
        self._last_words = self._how = ""
        self._answered_at: float | None = None  # when it took jobs last, or showed some
        self._doubtful: list[Path] = []  # folders of requests that were not answered: jobs of them may wait

    def ask_for(self, number: int, pilots: Sequence[PilotJob]) -> list[PilotJob]:
        """`number` more beside `pilots`; none for now where a cluster that has given some is away.

        Raises:
            IsoflopError: the cluster refuses, or is away for long, or jobs end one after the other before their pilot
                says a word; or there is no room for their folders.
        """
        if number <= 0 or self._clock() < self._next_ask:
            return []
        if self._n_mute >= MOST_MUTE:
            if not any(pilot.takes_orders for pilot in pilots):
                raise self._mute()
            self._next_ask = self._clock() + AGAIN_SECONDS
            self._say(f"{self._mute().message} More are asked for every {AGAIN_SECONDS:.0f} s.")
            self._n_mute = MOST_MUTE - 1
            return []
        folder = self._root / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"
        mailboxes = [Mailbox(folder / str(index)) for index in range(number)]
        try:
            self._create(mailboxes)
            jobs = self._cluster.submit(folder, number)
        except BaseException as error:
            for mailbox in mailboxes:  # a job that was made all the same finds this, and ends
                with contextlib.suppress(OSError):
                    mailbox.close(str(error))
            if not isinstance(error, IsoflopError):
                self._cancel(folder)
                raise
            if isinstance(error, ClusterAwayError):
                self._doubtful.append(folder)
            self._bear(error, pilots)
            return []
        self._answered_at, self._n_refused = self._clock(), 0
        with contextlib.suppress(OSError):  # an heir asks the cluster for them
            write_atomically(submission_path(folder), json.dumps(jobs).encode())
        return [PilotJob(job, mailbox) for job, mailbox in zip(jobs, mailboxes, strict=True)]

    def _create(self, mailboxes: Sequence[Mailbox]) -> None:
        content = self._content.model_copy(update={"submitted_at": time.time()})
        try:
            for mailbox in mailboxes:
                mailbox.create(content)
        except OSError as error:
            raise IsoflopError(
                f"Folders of jobs cannot be made in {str(self._root)!r}: {error.strerror}.",
                hint="Make room, or name another folder that you may write to and nodes see with --artifacts.",
            ) from error

    def _bear(self, error: IsoflopError, pilots: Sequence[PilotJob]) -> None:
        """Ask again later where the cluster has given jobs before: it may be restarted, or a limit of it be reached.

        Raises:
            IsoflopError: it never has, or nobody is at work and it is away for long or refuses again and again.
        """
        now, since = self._clock(), self._answered_at
        self._next_ask = now + AGAIN_SECONDS
        away = isinstance(error, ClusterAwayError)
        self._n_refused += not away
        too_long = since is None or (now - since > AWAY_SECONDS if away else self._n_refused >= MOST_REFUSALS)
        if since is None or (too_long and not pilots):
            raise error
        self._say(f"{error.message} It is asked again every {AGAIN_SECONDS:.0f} s.")

    def note_answer(self) -> None:
        """The cluster has shown jobs: those of requests that it seemed not to hear are cancelled."""
        self._answered_at = self._clock()
        while self._doubtful:
            self._cancel(self._doubtful.pop())

    def _cancel(self, folder: Path) -> None:
        """Cancel what there is of a folder's jobs."""
        with contextlib.suppress(ClusterAwayError):
            if jobs := list(self._cluster.find(folder).values()):
                self._cluster.cancel(jobs)

    def note_useless(self, words: str, how: str = "were of no use") -> None:
        """A job ended before its pilot said a word, or cannot train; what became of it, and `how` such jobs failed."""
        self._n_mute += 1
        self._last_words, self._how = words, how

    def note_speech(self) -> None:
        """A pilot has come that can train."""
        self._n_mute = 0

    def _mute(self) -> IsoflopError:
        return IsoflopError(
            f"{MOST_MUTE} jobs {self._how}; the last: {self._last_words}.",
            hint=f"Does the node see {str(self._root)!r}, is isoflop installed there for the same interpreter, and "
            "does `setup` succeed? The jobs' logs, where the node could write them, lie there.",
        )
