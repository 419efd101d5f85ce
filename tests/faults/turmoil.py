"""An assault drawn at random, with more than kills: signals that ask, processes that rest, torn files, full disks."""

import errno
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from isoflop.rundir.layout import dirs_of_runs
from tests.engine.conftest import Sandbox
from tests.faults.assault import Assault
from tests.faults.processes import descendants, fork_server, freeze, reap, thaw
from tests.faults.said import is_sentence
from tests.faults.wholeness import check_events, check_whole

# How often each happens beside the others: in a life of the coordinator, and at its end.
IN_LIFE = {
    "worker": 10, "server": 2, "claim": 6, "weights": 3, "result": 3, "checkpoint": 4, "term worker": 4,
    "term server": 1, "stop worker": 2, "stop server": 1, "stop coordinator": 2,
}  # fmt: skip
ENDINGS = {
    "coordinator": 3, "at start": 2, "job": 2, "transaction": 4, "group": 3, "after term": 3, "term coordinator": 3,
    "torn": 6, "disk": 4,
}  # fmt: skip
MOST_IN_LIFE = 7
# Who is hit by what: of the rest it is a worker.
VICTIMS = {
    "server": "fork server", "term server": "fork server", "stop server": "fork server", "coordinator": "coordinator",
    "at start": "coordinator", "job": "coordinator", "transaction": "coordinator", "after term": "coordinator",
    "term coordinator": "coordinator", "torn": "coordinator", "stop coordinator": "coordinator", "disk": "coordinator",
    "group": "coordinator and fork server",
}  # fmt: skip
# What ends no process by a signal.
NO_KILLS = ("stop worker", "stop server", "stop coordinator", "disk")
REST_SECONDS = 0.8
# A command that cannot write ends within this time of its next write.
FULL_SECONDS = 6.0
MOST_TORN = 4


class Turmoil(Assault):
    """Disturbs sweeps at random until so many kills have hit; every sweep that is done is compared and deleted.

    Args:
        full: whether disks fill up too; the sweeps then lie on a file system of their own.
    """

    def __init__(self, new_sweep: Callable[[], Sandbox], undisturbed: Sandbox, seed: int, n_kills: int, *, full: bool):
        super().__init__(new_sweep, seed)
        self.undisturbed, self.n_kills, self.full = undisturbed, n_kills, full
        self.torn: Counter[str] = Counter()
        self.n_compared = 0

    @property
    def n_left(self) -> int:
        """Kills that are still to come."""
        return self.n_kills - sum(kind not in NO_KILLS for kind, _ in self.kills)

    def disturb(self) -> None:
        """Disturb, and compare what is left."""
        self.run(self._lives())
        self._compare()

    def _lives(self) -> Iterator[list[str]]:
        endings = {kind: weight for kind, weight in ENDINGS.items() if self.full or kind != "disk"}
        for life in self._one_of_each(list(endings)):
            yield life[-self.n_left :] if self.n_left else []
        while self.n_left > 0:
            ending = _drawn(self.random, endings)
            n_before = 0 if ending == "at start" else self.random.randrange(MOST_IN_LIFE + 1)
            life = [*(_drawn(self.random, IN_LIFE) for _ in range(n_before)), ending]
            yield life[-self.n_left :]

    def _one_of_each(self, endings: list[str]) -> list[list[str]]:
        """Lives in which everything happens once, in an order of the seed's."""
        in_life = list(IN_LIFE)
        self.random.shuffle(endings)
        self.random.shuffle(in_life)
        later = [ending for ending in endings if ending != "at start"]
        before = {ending: in_life[place :: len(later)] for place, ending in enumerate(later)}
        return [[*before.get(ending, []), ending] for ending in endings]

    def _open_sweep(self) -> None:
        if self.sweeps:
            self._settle()
            self._compare()
        super()._open_sweep()

    def _compare(self) -> None:
        sandbox = self.sweeps[-1]
        check_whole(sandbox, self.undisturbed)
        for (run_id,) in sandbox.rows("select run_id from results"):
            check_events(sandbox, str(run_id))
        self.n_compared += len(sandbox.losses())
        shutil.rmtree(sandbox.folder)

    def _kill_term_worker(self) -> None:
        """SIGTERM to a worker, which the coordinator did not send."""
        time.sleep(self.random.uniform(0, 0.6))
        if victims := self._victims():
            pid = self.random.choice(sorted(victims))
            if freeze(pid):
                os.kill(pid, signal.SIGTERM)
                thaw(pid)
                self._deaths[victims[pid]] += 1  # one that has not come to its handlers dies
                self.kills.append(("term worker", False))

    def _kill_term_server(self) -> None:
        self._kill_server(signal.SIGTERM)

    def _kill_term_coordinator(self) -> None:
        """SIGTERM, and time to checkpoint: the same command goes on."""
        time.sleep(self.random.uniform(0, 1.5))
        if self.coordinator.poll() is not None:
            return
        self.coordinator.send_signal(signal.SIGTERM)
        code = reap(self.coordinator)
        assert code in (0, 143, -signal.SIGTERM), f"{code} after SIGTERM; {self.tally}"
        self.kills.append(("term coordinator", False))
        self._start()

    def _kill_stop_worker(self) -> None:
        self._rest("stop worker", self._victims)

    def _kill_stop_server(self) -> None:
        self._rest("stop server", lambda: filter(None, [fork_server(self.coordinator.pid)]))

    def _kill_stop_coordinator(self) -> None:
        self._rest("stop coordinator", lambda: [self.coordinator.pid])

    def _rest(self, kind: str, among: Callable[[], Iterable[int]]) -> None:
        """SIGSTOP to one of them for a while, then SIGCONT."""
        time.sleep(self.random.uniform(0, 0.4))
        found = sorted(among())
        if found and freeze(pid := self.random.choice(found)):
            time.sleep(self.random.uniform(0, REST_SECONDS))
            thaw(pid)
            self.kills.append((kind, False))

    def _kill_torn(self) -> None:
        """The coordinator, and while nobody runs, files of unfinished runs are cut short as by a power cut."""
        time.sleep(self.random.uniform(0, 1.5))
        if not freeze(self.coordinator.pid):
            return
        left = descendants(self.coordinator.pid)
        os.killpg(self.coordinator.pid, signal.SIGKILL)
        assert reap(self.coordinator) == -signal.SIGKILL
        self._doom(left)
        self._settle()
        self.kills.append(("torn", False))
        self._tear()
        self._start()

    def _tear(self) -> None:
        files = list(self._unfinished())
        for path in self.random.sample(files, min(len(files), self.random.randint(1, MOST_TORN))):
            os.truncate(path, self.random.randrange(max(1, path.stat().st_size)))
            self.torn[_kind(path)] += 1

    def _unfinished(self) -> Iterator[Path]:
        """Files in the directories of runs that no database has the result of."""
        db, artifacts = self.sandbox.folder / "isoflop.db", self.sandbox.folder / "isoflop-artifacts"
        if not db.exists() or not self.sandbox.rows("select 1 from sqlite_master where name = 'results'"):
            return
        pending = "select run_id from runs where run_id not in (select run_id from results)"
        for path in dirs_of_runs(artifacts, [str(run_id) for (run_id,) in self.sandbox.rows(pending)]).values():
            yield from (file for file in sorted(path.rglob("*")) if file.is_file() and file.stat().st_size)

    def _kill_disk(self) -> None:
        """A disk without room, found full by the running command or by one that starts, and room again."""
        time.sleep(self.random.uniform(0, 1.0))
        filler = self.sandbox.folder.parent / "filler"
        try:
            _fill(filler, leave=self.random.choice((0, 0, 4, 40, 150)) * 1024)
            code, err = self._ended_within(FULL_SECONDS)
            if code == 1 and self.random.random() < 0.4:
                self.coordinator = self.sandbox.start("run", "tiny.toml", "--workers", "2")
                self._ended_within(FULL_SECONDS)
        finally:
            filler.unlink()
        if code == 1:
            assert is_sentence(err), err
            self.kills.append(("disk", True))
        if self.coordinator.poll() == 1:
            self.coordinator.communicate(timeout=60)
            self._start()

    def _ended_within(self, seconds: float) -> tuple[int | None, str]:
        """Exit code and stderr of the coordinator; None while it goes on."""
        end = time.monotonic() + seconds
        while self.coordinator.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        if self.coordinator.returncode != 1:
            return self.coordinator.returncode, ""
        assert self.coordinator.stderr is not None
        return 1, self.coordinator.stderr.read()


def _fill(filler: Path, *, leave: int) -> None:
    """Have the file take all room of its file system but so many bytes, beside others who write there."""
    with filler.open("wb") as file:
        while True:
            disk = os.statvfs(filler.parent)
            try:
                return os.posix_fallocate(file.fileno(), 0, max(1, disk.f_bavail * disk.f_frsize - leave))
            except OSError as error:  # others took some meanwhile
                assert error.errno == errno.ENOSPC


def _drawn(draw: random.Random, weights: dict[str, int]) -> str:
    return draw.choices(list(weights), list(weights.values()))[0]


def _kind(path: Path) -> str:
    """What a file of a run directory is, without its run."""
    if path.suffix == ".tmp":
        return "temporary"
    for part in ("result-", "weights", "safetensors", "log.txt"):
        if part in path.name:
            return {"result-": "result", "safetensors": "checkpoint", "log.txt": "log"}.get(part, part)
    return path.name
