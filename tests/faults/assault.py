"""Kills at random instants: of workers, fork server and coordinator, and inside file writes."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from tests.engine.conftest import Sandbox, alive, in_time
from tests.faults.processes import (
    descendants,
    fork_server,
    freeze,
    has_stepped,
    in_transaction,
    is_worker,
    kill_frozen,
    reap,
    thaw,
)
from tests.faults.watching import Watch

# Temporary files of workers, by a part of their final names.
WRITES = {"claim": "claim.json", "weights": ".weights.safetensors", "result": "result-"}
# The engine gives a run up at its third death in one life of the coordinator.
DEATHS_ALLOWED = 2
ORPHAN_SECONDS = 5.0
# Long enough for any of them to become possible; a kill that never is fails the suite.
STRIKE_SECONDS = 60.0


class Assault:
    """Kills processes of a sweep, giving the same command again each time.

    A victim is frozen before it is killed: a kill counts only if it hits a living process, and as one inside a
    write only if the unfinished file is there at that moment.
    """

    def __init__(self, new_sweep: Callable[[], Sandbox], seed: int) -> None:
        self.new_sweep, self.random = new_sweep, random.Random(seed)
        self.kills: list[tuple[str, bool]] = []
        self.sweeps: list[Sandbox] = []
        self._doomed: list[tuple[float, list[int]]] = []
        self._deaths: Counter[str] = Counter()

    @property
    def tally(self) -> str:
        """Kills by kind, and how many were inside a write."""
        kinds = Counter(kind for kind, _ in self.kills)
        return f"{len(self.kills)} kills in {len(self.sweeps)} sweeps, {self.n_inside} inside a write: {dict(kinds)}"

    @property
    def n_inside(self) -> int:
        """Kills that hit a process with a file, or a transaction, half written."""
        return sum(inside for _, inside in self.kills)

    def run(self, lives: Iterable[Sequence[str]]) -> None:
        """Have each of these kinds happen: several in each life of a coordinator, of which the last ends it."""
        self._open_sweep()
        for life in lives:
            for kind in life:
                self._strike(kind)
        self._watch.close()
        self._settle()
        out, err = self.coordinator.communicate(timeout=120)
        assert self.coordinator.returncode == 0, f"{self.tally}\n{out}\n{err}"

    def _open_sweep(self) -> None:
        self.sandbox = self.new_sweep()
        self.sweeps.append(self.sandbox)
        artifacts = self.sandbox.folder / "isoflop-artifacts"
        artifacts.mkdir()
        self._watch = Watch(artifacts)
        self._start()

    def _start(self) -> None:
        self._deaths.clear()
        self.coordinator = self.sandbox.start("run", "tiny.toml", "--workers", "2")

    def _strike(self, kind: str) -> None:
        """Try until a kill of this kind has hit."""
        end = time.monotonic() + STRIKE_SECONDS
        before = len(self.kills)
        while len(self.kills) == before:
            assert time.monotonic() < end, f"no chance for a kill of the kind {kind!r}; {self.tally}"
            if self.coordinator.poll() is not None:
                self._go_on()
            if kind in WRITES:
                self._kill_in_write(kind, WRITES[kind])
            else:
                getattr(self, f"_kill_{kind.replace(' ', '_')}")()
            self._settle()

    def _go_on(self) -> None:
        """The coordinator ended by itself: go on with this sweep, or with a new one when this is done."""
        out, err = self.coordinator.communicate(timeout=60)
        code = self.coordinator.returncode
        # On a busy machine one that met a full disk may end when there is room again.
        full = code == 1 and "No space left on device" in err
        assert code in (0, 143) or full, f"the coordinator ended with {code}; {self.tally}\n{out}\n{err}"
        if code:
            self._start()
        else:
            self._watch.close()
            self._open_sweep()

    def _victims(self) -> dict[int, str]:
        return {pid: run for pid, run in self.sandbox.claimed().items() if self._deaths[run] < DEATHS_ALLOWED}

    def _kill_worker(self) -> None:
        time.sleep(self.random.uniform(0, 0.6))
        victims = self._victims()
        if victims:
            pid = self.random.choice(sorted(victims))
            if freeze(pid):
                self._end_worker("worker", pid, victims[pid], inside=False)

    def _kill_in_write(self, kind: str, part: str, *, only: int | None = None) -> None:
        """Kill a worker that has opened a temporary file and not yet renamed it."""
        self._watch.forget()
        for write in self._watch.writes(1.0):
            run = write.run_id(self.sandbox.folder / "isoflop-artifacts")
            chosen = part in write.final and only in (None, write.pid) and self._deaths[run] < DEATHS_ALLOWED
            if chosen and write.pid != self.coordinator.pid and freeze(write.pid):
                if write.path.exists():
                    return self._end_worker(kind, write.pid, run, inside=True)
                thaw(write.pid)
        return None

    def _kill_checkpoint(self) -> None:
        """SIGTERM to a worker, then SIGKILL while it writes the checkpoint."""
        stepping = sorted(pid for pid, run in self._victims().items() if has_stepped(self.sandbox, run))
        if not stepping:
            return time.sleep(0.05)
        victim = self.random.choice(stepping)
        if freeze(victim):
            os.kill(victim, signal.SIGTERM)  # answered when it is thawed, with the watch already on
            thaw(victim)
            self._kill_in_write("checkpoint", ".safetensors", only=victim)
        return None

    def _end_worker(self, kind: str, pid: int, run: str, *, inside: bool) -> None:
        kill_frozen(pid)
        self._deaths[run] += 1
        self.kills.append((kind, inside))

    def _kill_server(self, number: int = signal.SIGKILL) -> None:
        """The process that workers are forked from; to the engine each of its workers has died with it."""
        time.sleep(self.random.uniform(0, 0.6))
        server = fork_server(self.coordinator.pid)
        if server is None or not freeze(server):
            return
        workers = {pid for pid in descendants(self.coordinator.pid) if is_worker(pid, server)}
        if not workers or not workers <= self._victims().keys():
            thaw(server)
            return
        self._deaths.update(self.sandbox.claimed().values())
        if number == signal.SIGKILL:
            kill_frozen(server)
        else:
            os.kill(server, number)
            thaw(server)
        self._doom(sorted(workers))
        self.kills.append(("server" if number == signal.SIGKILL else "term server", False))

    def _kill_coordinator(self) -> None:
        time.sleep(self.random.uniform(0, 2.0))
        if freeze(self.coordinator.pid):
            self._end_coordinator("coordinator")

    def _kill_at_start(self) -> None:
        time.sleep(self.random.uniform(0, 2.5))
        if freeze(self.coordinator.pid):
            self._end_coordinator("at start")

    def _kill_group(self) -> None:
        time.sleep(self.random.uniform(0, 1.0))
        if freeze(self.coordinator.pid):
            self._end_coordinator("group", group=True)

    def _kill_after_term(self) -> None:
        """SIGTERM, and SIGKILL before the workers have written their checkpoints."""
        if not self._victims():
            return time.sleep(0.05)
        self.coordinator.send_signal(signal.SIGTERM)
        time.sleep(self.random.uniform(0, 0.2))
        if freeze(self.coordinator.pid):
            self._end_coordinator("after term")
        return None

    def _kill_job(self) -> None:
        """The coordinator while it writes a job.json."""
        self._watch.forget()
        for write in self._watch.writes(1.0):
            if write.pid == self.coordinator.pid and write.final == "job.json" and freeze(write.pid):
                if write.path.exists():
                    return self._end_coordinator("job", inside=True)
                thaw(write.pid)
        return None

    def _kill_transaction(self) -> None:
        """The coordinator inside a transaction of the database."""
        db, end = self.sandbox.folder / "isoflop.db", time.monotonic() + 1
        while time.monotonic() < end and self.coordinator.poll() is None:
            if db.exists() and in_transaction(db) and freeze(self.coordinator.pid):
                if in_transaction(db):
                    return self._end_coordinator("transaction", inside=True)
                thaw(self.coordinator.pid)
            time.sleep(0.0005)
        return None

    def _end_coordinator(self, kind: str, *, inside: bool = False, group: bool = False) -> None:
        """Kill the frozen coordinator and give the command again, half of the time before its workers have ended."""
        pid = self.coordinator.pid
        left = descendants(pid)
        if group:
            os.killpg(pid, signal.SIGKILL)
        else:
            kill_frozen(pid)
        assert reap(self.coordinator) == -signal.SIGKILL
        self.kills.append((kind, inside))
        self._doom(left)
        if self.random.random() < 0.5:
            self._settle()
        self._start()

    def _doom(self, pids: list[int]) -> None:
        self._doomed.append((time.monotonic(), pids))

    def _settle(self) -> None:
        """Wait for orphans to end, each within five seconds of what made it one."""
        for became, pids in self._doomed:
            while left := [pid for pid in pids if alive(pid)]:
                assert in_time(became, ORPHAN_SECONDS), f"orphans outlive their coordinator: {left}; {self.tally}"
                time.sleep(0.02)
        self._doomed.clear()
