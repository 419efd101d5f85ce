"""Fleet: the pilots of one sweep, from the cluster's queue to their end."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from isoflop.engine.pilots.cluster import Cluster, JobState
from isoflop.engine.pilots.mailbox import EndedAnswer, EndOrder, PilotFile, StartOrder
from isoflop.engine.pilots.pilot_folders import jobs_in
from isoflop.engine.pilots.pilot_job import PilotJob
from isoflop.engine.pilots.submissions import Submissions
from isoflop.engine.protocol import Ended, Slot
from isoflop.errors import IsoflopError
from isoflop.rundir import ExitCode, RunDir

# A job that the cluster has forgotten, or that ended, whose pilot is silent for so long is over.
SILENT_SECONDS = 60.0
# A pilot that has not said a word so long after its job began to run never will: modules and torch are loaded by then.
MUTE_SECONDS = 900.0
LOOK_SECONDS = 0.2
# Of the time, what reading answers may take: of many pilots on slow storage less often.
LOOK_SHARE = 0.1


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
        lanes: room of a pilot that the sweep was planned for; one without such room is left out.
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
        self.lanes: tuple[Slot, ...] = ()
        self.said: list[str] = []
        self._submissions = Submissions(cluster, root, content, self.say, clock)
        self._next_poll = self._next_look = 0.0
        self._has_worked = False

    def adopt(self) -> None:
        """Take up the pilots of an earlier coordinator that may still be at work, and close the others."""
        found = list(jobs_in(self._root, self._content, self.cluster))
        states = self.cluster.states([pilot.job for pilot in found]) if found else {}
        for pilot in found:
            pilot.remember()
            pilot.status = states.get(pilot.job, pilot.status)
            alive = pilot.status.state not in (JobState.ENDED, JobState.UNKNOWN) and pilot.leaving is None
            if alive and not pilot.told_to_end:
                self.pilots.append(pilot)
                self._has_worked = self._has_worked or pilot.here is not None
                self._submissions.note_answer()
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
            IsoflopError: as of `Submissions.ask_for`.
        """
        new = self._submissions.ask_for(min(number, self.most - len(self.pilots)), self.pilots)
        if new:
            self.pilots += new
            self._next_poll = self._clock() + min(1.0, self._poll_seconds)

    def gather(self, number: int, tell: Callable[[str], None]) -> tuple[Slot, ...]:
        """Ask for `number` pilots and wait for the first that runs; its room. `tell` hears what is waited for.

        Raises:
            IsoflopError: no run can be trained there, or as of `ask_for`.
        """
        said = ""
        while True:
            self.ask_for(number - len(self.pilots))
            for _ in self.look():
                pass
            here = [pilot for pilot in self.pilots if pilot.takes_orders]
            if here and here[0].here is not None:
                self.lanes = here[0].here.lanes
                return self.lanes
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
            if (problem := pilot.problem(self.lanes)) is not None:
                yield self.leave_out(pilot, problem)
            elif (why := self._why_over(pilot)) is not None:
                if pilot.here is None:
                    words = f"{self.cluster.name} job {pilot.job} {why}"
                    if printed := pilot.mailbox.last_words():
                        words += f"; its log, {str(pilot.mailbox.log_path)!r}, ends with {printed!r}"
                    self._submissions.note_useless(words, "ended before their pilot said a word")
                yield self.give_up(pilot, why)

    def say(self, sentence: str) -> None:
        """Have a person told, once."""
        if sentence not in self.said:
            self.said.append(sentence)

    def _meet(self, pilot: PilotJob) -> None:
        """A pilot says its first word."""
        if pilot.problem(self.lanes) is None:
            self._has_worked = True
            self._submissions.note_speech()
        if ahead := pilot.skew_seconds:
            way = "ahead of" if ahead > 0 else "behind"
            clock = f"The clock of {pilot.node} is {abs(ahead):.0f} s {way} this machine's"
            self.say(f"{clock}: times of runs there are its own; nothing that isoflop decides rests on them.")

    def leave_out(self, pilot: PilotJob, problem: IsoflopError) -> Vacancy:
        """Have nothing to do with a pilot where no run can be trained; others go on.

        Raises:
            IsoflopError: there are no others.
        """
        if not self._has_worked:
            raise problem
        self._submissions.note_useless(problem.message)
        self.say(f"{self.cluster.name} job {pilot.job} on {pilot.node} is left out: {problem.message}")
        return self.give_up(pilot, problem.message)

    def _ask_the_cluster(self) -> None:
        now = self._clock()
        if now < self._next_poll or not self.pilots:
            return
        states = self.cluster.states([pilot.job for pilot in self.pilots])
        self._next_poll = self._clock() + self._poll_seconds
        if states:
            self._submissions.note_answer()
        for pilot in self.pilots:
            if (status := states.get(pilot.job)) is not None:
                pilot.hear(status, self._clock())
            if pilot.stands_still:
                self.say(f"{self.cluster.name} has suspended job {pilot.job}: its runs go on when it is resumed.")

    def _why_over(self, pilot: PilotJob) -> str | None:
        """Why the pilot is no more; None while it may be at work."""
        if pilot.leaving is not None:
            return pilot.leaving
        if pilot.status.state is JobState.ENDED:
            return f"has ended ({pilot.status.said})"
        unknown, silent = pilot.seconds_unknown(self._clock()), pilot.seconds_silent(self._clock())
        if unknown > SILENT_SECONDS:
            return f"is no longer known to {self.cluster.name}"
        if silent > MUTE_SECONDS:
            return f"ran for {silent / 60:.0f} minutes without a word of its pilot"
        return None

    def give_up(self, pilot: PilotJob, why: str) -> Vacancy:
        """Have nothing more to do with a pilot: end its job where it may run, and count what it had as lost."""
        self.pilots.remove(pilot)
        vacancy = self._vacate(pilot, why)
        if pilot.leaving is None and pilot.status.state is not JobState.ENDED:
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
        by_itself = len(pilot.working) == 1  # of several nobody knows whose memory it was
        return Ended(None, pilot.status.out_of_memory and by_itself, lost=lost, with_its_place=True)

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
