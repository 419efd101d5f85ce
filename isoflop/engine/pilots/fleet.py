"""Fleet: the pilots of one sweep, from the cluster's queue to their end."""

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from isoflop.engine.pilots.cluster import Cluster, ClusterAwayError, JobState
from isoflop.engine.pilots.mailbox import EndedAnswer, EndOrder, HereAnswer, Mailbox, PilotFile, StartOrder
from isoflop.engine.pilots.pilot_job import PilotJob
from isoflop.engine.protocol import Ended, Slot
from isoflop.errors import IsoflopError
from isoflop.files import write_atomically
from isoflop.rundir import ExitCode, RunDir
from isoflop.rundir.layout import submission_path

# So many jobs in a row that end before their pilot says a word have one cause, and the next will not help.
MOST_MUTE = 3
# A job that the cluster has forgotten, or that ended, whose pilot is silent for so long is over.
SILENT_SECONDS = 60.0
LOOK_SECONDS = 0.2
# Of the time, what reading answers may take: of many pilots on slow storage less often.
LOOK_SHARE = 0.1
# A cluster that does not answer, or refuses more jobs, is asked again after these seconds. While no pilot is at work it
# may be away for so long in all, for controllers are restarted within minutes, and refuse so often.
AGAIN_SECONDS, AWAY_SECONDS, MOST_REFUSALS = 10.0, 1800.0, 10


@dataclass(frozen=True)
class Vacancy:
    """A pilot that is no more. `ended`: how the workers ended for which it gave no answer, by number."""

    pilot: PilotJob
    ended: Mapping[int, Ended]


class Fleet:
    """The pilots at work for a sweep; asks the cluster at most once every `poll_seconds`.

    Args:
        root: folder of pilots; on storage that the nodes share.
        content: what a pilot is for.
        most: pilots at once.
        clock: seconds; never jumps.

    Attributes:
        said: what a person should know, sentence by sentence.
    """

    def __init__(
        self,
        cluster: Cluster,
        root: Path,
        content: PilotFile,
        *,
        most: int,
        poll_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cluster, self.most = cluster, most
        self._root, self._content, self._poll_seconds, self._clock = root, content, poll_seconds, clock
        self.pilots: list[PilotJob] = []
        self._next_poll = self._next_look = 0.0
        self._n_mute = self._n_refused = 0
        self._next_ask = 0.0
        self._has_worked = False
        self._last_words = ""
        self.said: list[str] = []
        self._answered_at: float | None = None  # when it took jobs last, or showed some

    def adopt(self) -> None:
        """Take up the pilots of an earlier coordinator that may still be at work, and close the others."""
        found = list(_jobs_in(self._root, self._content, self.cluster))
        states = self.cluster.states([pilot.job for pilot in found]) if found else {}
        for pilot in found:
            pilot.remember()
            pilot.status = states.get(pilot.job, pilot.status)
            alive = pilot.status.state in (JobState.QUEUED, JobState.RUNNING) and pilot.leaving is None
            if alive and not pilot.told_to_end:
                self.pilots.append(pilot)
                self._answered_at = self._clock()
                continue
            why = pilot.leaving or f"has ended ({pilot.status.said or 'nobody knows how'})"
            if alive:  # nobody knows whether it has heard that it is to end: what it still does must not count
                why = "had been told to end"
                self.cluster.cancel([pilot.job])
            self._vacate(pilot, why)
        self.pilots.sort(key=lambda pilot: not pilot.working)
        self.most = max(self.most, len(self.pilots))

    def ask_for(self, number: int) -> None:
        """Have `number` more pilots, as far as `most` goes; none for now where a cluster that has given some is away.

        Raises:
            IsoflopError: the cluster refuses, or is away for long, or jobs end one after the other before their pilot
                says a word.
        """
        number = min(number, self.most - len(self.pilots))
        if number <= 0 or self._clock() < self._next_ask:
            return
        if self._n_mute >= MOST_MUTE:
            if not any(pilot.takes_orders for pilot in self.pilots):
                raise self._mute()
            self._next_ask = self._clock() + AGAIN_SECONDS
            self._say(f"{self._mute().message} More are asked for every {AGAIN_SECONDS:.0f} s.")
            self._n_mute = MOST_MUTE - 1
            return
        folder = self._root / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"
        content = self._content.model_copy(update={"submitted_at": time.time()})
        mailboxes = [Mailbox(folder / str(index)) for index in range(number)]
        for mailbox in mailboxes:
            mailbox.create(content)
        try:
            jobs = self.cluster.submit(folder, number)
        except BaseException as error:
            for mailbox in mailboxes:  # a job that was made all the same finds this, and ends
                mailbox.close(str(error))
            if not isinstance(error, IsoflopError):
                self.cluster.cancel(self.cluster.find(folder))
                raise
            self._bear(error)
            return
        self._answered_at, self._n_refused = self._clock(), 0
        write_atomically(submission_path(folder), json.dumps(jobs).encode())
        self.pilots += [PilotJob(job, mailbox) for job, mailbox in zip(jobs, mailboxes, strict=True)]
        self._next_poll = self._clock() + min(1.0, self._poll_seconds)

    def _bear(self, error: IsoflopError) -> None:
        """Ask again later where the cluster has given jobs before: it may be restarted, or a limit of it be reached.

        Raises:
            IsoflopError: it never has, or nobody is at work and it is away for long or refuses again and again.
        """
        now, since = self._clock(), self._answered_at
        self._next_ask = now + AGAIN_SECONDS
        away = isinstance(error, ClusterAwayError)
        self._n_refused += not away
        too_long = since is None or (now - since > AWAY_SECONDS if away else self._n_refused >= MOST_REFUSALS)
        if since is None or (too_long and not self.pilots):
            raise error
        self._say(f"{error.message} It is asked again every {AGAIN_SECONDS:.0f} s.")

    def gather(self, tell: Callable[[str], None]) -> tuple[Slot, ...]:
        """Wait for the first pilot that runs; the room it has. `tell` hears now and then what is waited for.

        Raises:
            IsoflopError: no run can be trained there, or as of `ask_for`.
        """
        said = ""
        while True:
            self.ask_for(self.most - len(self.pilots))
            for _ in self.look():
                pass
            here = [pilot for pilot in self.pilots if pilot.takes_orders]
            if here and here[0].here is not None:
                return here[0].here.lanes
            waiting = self._what_is_waited_for()
            if waiting != said:
                said = waiting
                tell(waiting)
            time.sleep(LOOK_SECONDS)

    def look(self) -> Iterator[tuple[PilotJob, EndedAnswer, StartOrder] | Vacancy]:
        """What pilots have answered, and those that are no more.

        Raises:
            IsoflopError: what a pilot met would stop every other.
        """
        self._ask_the_cluster()
        self.cluster.exchange()
        begun = self._clock()
        if begun < self._next_look:
            return
        yield from self._read()
        now = self._clock()
        self._next_look = now + (now - begun) * (1.0 / LOOK_SHARE - 1.0)

    def _read(self) -> Iterator[tuple[PilotJob, EndedAnswer, StartOrder] | Vacancy]:
        for pilot in list(self.pilots):
            silent = pilot.here is None
            for answer, order in pilot.look():
                yield pilot, answer, order
            if silent and pilot.here is not None:
                self._meet(pilot)
            if (problem := pilot.problem()) is not None:
                yield self._leave_out(pilot, problem)
            elif (why := self._why_over(pilot)) is not None:
                self.pilots.remove(pilot)
                vacancy = self._vacate(pilot, why)
                if pilot.here is None:
                    self._n_mute += 1
                    self._last_words = f"{self.cluster.name} job {pilot.job} {why}"
                yield vacancy

    def _say(self, sentence: str) -> None:
        """Have a person told, once."""
        if sentence not in self.said:
            self.said.append(sentence)

    def _meet(self, pilot: PilotJob) -> None:
        """A pilot says its first word."""
        if pilot.problem() is None:
            self._n_mute, self._has_worked = 0, True
        if ahead := pilot.skew_seconds:
            way = "ahead of" if ahead > 0 else "behind"
            clock = f"The clock of {pilot.node} is {abs(ahead):.0f} s {way} this machine's"
            self._say(f"{clock}: times of runs there are its own; nothing that isoflop decides rests on them.")

    def _leave_out(self, pilot: PilotJob, problem: IsoflopError) -> Vacancy:
        """Have nothing to do with a pilot where no run can be trained; others go on.

        Raises:
            IsoflopError: there are no others.
        """
        if not self._has_worked:
            raise problem
        self._n_mute += 1
        self._last_words = problem.message
        self._say(f"{self.cluster.name} job {pilot.job} on {pilot.node} is left out: {problem.message}")
        return self.give_up(pilot, problem.message)

    def _ask_the_cluster(self) -> None:
        now = self._clock()
        if now < self._next_poll or not self.pilots:
            return
        states = self.cluster.states([pilot.job for pilot in self.pilots])
        self._next_poll = self._clock() + self._poll_seconds
        if states:
            self._answered_at = self._clock()
        for pilot in self.pilots:
            status = states.get(pilot.job)
            if status is None:
                continue
            pilot.status = status
            unknown = status.state is JobState.UNKNOWN
            pilot.unknown_since = (pilot.unknown_since or now) if unknown else None

    def _why_over(self, pilot: PilotJob) -> str | None:
        """Why the pilot is no more; None while it may be at work."""
        if pilot.leaving is not None:
            return pilot.leaving
        if pilot.status.state is JobState.ENDED:
            return f"has ended ({pilot.status.said})"
        if pilot.unknown_since is not None and self._clock() - pilot.unknown_since > SILENT_SECONDS:
            return f"is no longer known to {self.cluster.name}"
        return None

    def give_up(self, pilot: PilotJob, why: str) -> Vacancy:
        """Have nothing more to do with a pilot that does not obey: end its job, and count what it had as lost."""
        self.pilots.remove(pilot)
        vacancy = self._vacate(pilot, why)
        self.cluster.cancel([pilot.job])
        return vacancy

    def _vacate(self, pilot: PilotJob, why: str) -> Vacancy:
        """Settle what the pilot left, and close its mailbox then: whoever comes next passes closed ones over."""
        ended = {number: self._settle(order, pilot, why) for number, order in pilot.working.items()}
        pilot.mailbox.close(why)
        return Vacancy(pilot, ended)

    def _settle(self, order: StartOrder, pilot: PilotJob, why: str) -> Ended:
        """How an unanswered order ended: never begun where its pilot left in order; else lost, and so fenced."""
        run_dir = RunDir(order.assignment.job_dir)
        if pilot.leaving is not None:
            return Ended(ExitCode.CHECKPOINTED, evicted=why, begun=False)
        job = run_dir.read_job()
        if job is not None and all(run_dir.read_result(run.run_id) is not None for run in job.runs):
            return Ended(ExitCode.DONE)
        where = f"{self.cluster.name} job {pilot.job}" + (f" on {pilot.node}" if pilot.node else "")
        lost = f"was lost with {where}, which {why}"
        run_dir.fence(order.assignment.attempt, lost)
        return Ended(None, lost=lost)

    def release(self) -> list[str]:
        """End every pilot: those that run may checkpoint, those that wait are cancelled.

        Returns the jobs that nobody could be told to end.
        """
        unasked = [pilot for pilot in self.pilots if not _asked_to_end(pilot)]
        jobs = [pilot.job for pilot in self.pilots if pilot.here is None or pilot in unasked]
        self.pilots.clear()
        left = jobs if jobs and not self.cluster.cancel(jobs) else []
        self.cluster.close()
        return left

    def _what_is_waited_for(self) -> str:
        name, jobs = self.cluster.name, [pilot.job for pilot in self.pilots]
        first = self.pilots[0].status.said if self.pilots else ""
        reason = f" ({first})" if first else ""
        return f"waiting for {name}: {len(jobs)} jobs, the first {jobs[0]}{reason}" if jobs else f"waiting for {name}"

    def _mute(self) -> IsoflopError:
        log = self._root
        return IsoflopError(
            f"{MOST_MUTE} jobs ended before their pilot said a word; the last: {self._last_words}.",
            hint=f"Does the node see {str(log)!r}, and is isoflop installed there for the same interpreter? The jobs' "
            "logs, where the node could write them, lie there.",
        )


def _asked_to_end(pilot: PilotJob) -> bool:
    """Whether the pilot will read that it is needed no more."""
    why = "the sweep needs it no more"
    try:
        pilot.mailbox.order(EndOrder(why=why))
        if pilot.here is None:
            pilot.mailbox.close(why)
    except OSError:
        return False
    return True


def lanes_seen(root: Path, engine: str) -> tuple[Slot, ...]:
    """The room that the newest pilot of an engine had; none where no pilot of it has run."""
    for folder in sorted(root.glob("*-*-*"), reverse=True):
        for path in sorted(path for path in folder.iterdir() if path.name.isdecimal()):
            content = Mailbox(path).read()
            answers, _ = Mailbox(path).answers(0) if content is not None and content.engine == engine else ([], 0)
            for answer in answers:
                if isinstance(answer, HereAnswer):
                    return answer.lanes
    return ()


def _jobs_in(root: Path, content: PilotFile, cluster: Cluster) -> Iterator[PilotJob]:
    """The pilots of the sweep that nobody has closed."""
    for folder in sorted(root.glob("*-*-*")):
        boxes = [Mailbox(path) for path in folder.iterdir() if path.name.isdecimal()]
        open_boxes = [box for box in boxes if not box.is_closed]
        ours = [box for box in open_boxes if (said := box.read()) is not None and _same(said, content)]
        if not ours:
            continue
        jobs = _jobs_of(folder)
        if jobs:
            cluster.know(jobs, folder)
        else:  # its coordinator died while it submitted
            jobs = cluster.find(folder)
        for box in sorted(ours, key=lambda one: int(one.path.name)):
            number = int(box.path.name)
            if number < len(jobs):
                yield PilotJob(jobs[number], box)
            else:
                box.close("its job was never submitted")


def _same(one: PilotFile, other: PilotFile) -> bool:
    keys = ("sweep", "database", "engine", "device", "devices_per_run", "lanes_per_device")
    return all(getattr(one, key) == getattr(other, key) for key in keys)


def _jobs_of(folder: Path) -> Sequence[str]:
    try:
        jobs = json.loads(submission_path(folder).read_bytes())
    except (OSError, ValueError):
        return []
    return jobs if isinstance(jobs, list) and all(isinstance(job, str) for job in jobs) else []
