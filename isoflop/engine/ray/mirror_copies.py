"""MirrorCopies: keeps a pilot's folder and its runs' directories here and in an actor's mirror alike.

Orders go there, answers and what workers write come here, each file whole. Nothing is remembered that is not read
again from the files: files that grow are as long there as what was copied of them, or longer.
"""

import contextlib
import fcntl
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from isoflop.engine.pilots.mailbox import EndedAnswer, Mailbox, StartOrder
from isoflop.engine.ray.mirror_files import CHUNK_BYTES, Call, MirrorFiles, Version
from isoflop.errors import IsoflopError
from isoflop.rundir import RunDir
from isoflop.rundir.layout import COORDINATOR_NAMES, GROWING_NAMES, RESULT_NAME

# How often those who wait for a long copy see that it goes on; more often where the pilot ends sooner without work.
SIGN_SECONDS = 5.0
# A worker whose pilot has died checkpoints within five seconds (train/process.py): that is waited for.
ORPHAN_SECONDS = 6.0


class MirrorCopies:
    """Copies between the mailbox `box` and the mirror, a folder of another machine, of the actor behind `call`."""

    def __init__(self, box: Mailbox, mirror: Path, call: Call) -> None:
        self._box, self._mirror, self._call = box, mirror, call
        self._pilot = f"pilot/{box.path.name}"
        self._files = MirrorFiles(call, f"{box.path.parent.name}-{box.path.name}", self._give_signs)
        content = box.read()
        self._sign_seconds = min(SIGN_SECONDS, content.idle_seconds / 3.0 if content is not None else SIGN_SECONDS)
        self._next_signs = time.monotonic() + self._sign_seconds
        self._offset: int | None = None  # bytes of orders that the pilot has
        self._n_there = 0  # lines of them that it has
        self._orders: dict[str, StartOrder] = {}  # the latest of each job
        self._have: dict[tuple[str, str], Version] = {}  # versions of the jobs' files that are here
        self._fenced: set[tuple[str, int]] = set()  # attempts whose fence is there
        self._beat: Version | None = None
        self._ended_workers = {answer.worker for answer in box.answers(0)[0] if isinstance(answer, EndedAnswer)}
        self._ended_at: float | None = None
        self._is_closed_there = False
        self.is_over = False  # the pilot has ended, and all it wrote is here

    @contextlib.contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether no other process copies for this pilot, for the time of the block."""
        with self._box.copying_lock_path.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    @property
    def has_orders_to_bring(self) -> bool:
        """Whether there are orders that the pilot does not have."""
        orders = self._box.orders_path
        return (orders.stat().st_size if orders.exists() else 0) > (self._offset or 0)

    def round(self) -> None:
        """Bring what is new there, and fetch what is new here.

        Raises:
            IsoflopError: a run cannot be trained without shared storage.
            OSError: nothing can be written, or read, here.
        """
        self._bring_orders()
        self._tell_if_given_up()
        seen = self._call("look")
        for job, files in seen["jobs"].items():
            self._fetch_job(job, files)
        self._fetch_box(seen)
        left = {job for job in seen["jobs"] if job in self._orders and not self._has_ended(self._orders[job])}
        for job in seen["jobs"].keys() - left:
            self._call("forget", job)
        if seen["ended"]:
            self._ended_at = self._ended_at or time.monotonic()
            self.is_over = not left or time.monotonic() - self._ended_at > ORPHAN_SECONDS

    def _tell_if_given_up(self) -> None:
        if self._box.is_closed and not self._is_closed_there:
            self._call("put", f"{self._pilot}/{self._box.gone_path.name}", b"given up", 0, True)
            self._is_closed_there = True

    def _give_signs(self) -> None:
        """Have those who wait for a long copy see now and then that something goes on."""
        if time.monotonic() < self._next_signs:
            return
        self._next_signs = math.inf  # signs are files that are copied, too
        try:
            self._give_signs_now()
        finally:
            self._next_signs = time.monotonic() + self._sign_seconds

    def _give_signs_now(self) -> None:
        """See `_give_signs`.

        The pilot hears that it is not without work. Heartbeats of its workers come here; runs whose order is on its way
        there, and those whose worker has ended there while its files are on their way here, have theirs from us.
        """
        self._tell_if_given_up()
        self._call("put", f"{self._pilot}/{self._box.coming_path.name}", b"", 0, True)
        seen = self._call("look")
        self._show_beat(seen)
        ended = self._ended_there(seen)
        late = [order for order in self._orders.values() if order.worker in ended]
        for order in filter(_counts, (*self._orders_on_their_way(), *late)):
            RunDir(order.assignment.job_dir).heartbeat_path.touch()
        beat = RunDir(Path()).heartbeat_path.name
        for job, files in seen["jobs"].items():
            working = self._orders.get(job)
            if working is not None and working not in late and beat in files:
                self._fetch_if_new(working, beat, tuple(files[beat]))

    def _orders_on_their_way(self) -> list[StartOrder]:
        """Those that the pilot does not have."""
        data = self._box.orders_path.read_bytes() if self._box.orders_path.exists() else b""
        return [order for order in map(_start_order, data.splitlines()[self._n_there :]) if order is not None]

    def _ended_there(self, seen: Mapping[str, Any]) -> set[int]:
        """Workers that have ended, and whose end may not have been told here yet, because of their files."""
        if seen["ended"]:
            return {order.worker for order in self._orders.values() if not self._has_ended(order)}
        here = self._box.answers_path.stat().st_size if self._box.answers_path.exists() else 0
        said = self._call("read", f"{self._pilot}/{self._box.answers_path.name}", None, here, CHUNK_BYTES) or b""
        return {answer.worker for answer in map(_ended_answer, said.splitlines()) if answer is not None}

    def _has_ended(self, order: StartOrder) -> bool:
        return order.worker in self._ended_workers

    def _bring_orders(self) -> None:
        lines, offset = self._new_orders()
        for number, line in lines:
            order = _start_order(line)
            if order is not None:
                self._prepare(order)
            there = line if order is None else self._there(order).model_dump_json().encode()
            self._call("add_lines", f"{self._pilot}/{self._box.orders_path.name}", there + b"\n", number)
            self._n_there = number + 1
        self._offset = offset  # what did not get there is brought with the next round

    def _new_orders(self) -> tuple[list[tuple[int, bytes]], int]:
        """Lines that the pilot does not have, each with the number of those before it; and the offset after them."""
        data = self._box.orders_path.read_bytes() if self._box.orders_path.exists() else b""
        data = data[: data.rfind(b"\n") + 1]
        if self._offset == len(data):
            return [], self._offset
        lines = data.splitlines()
        self._orders |= {order.assignment.job_dir.name: order for order in map(_start_order, lines) if order}
        self._n_there = self._call("lines", f"{self._pilot}/{self._box.orders_path.name}")
        return list(enumerate(lines))[self._n_there :], len(data)

    def _there(self, order: StartOrder) -> StartOrder:
        """The order with the mirror's paths."""
        mirror, ours = self._mirror, order.assignment
        assignment = replace(
            ours,
            job_dir=mirror / "jobs" / ours.job_dir.name,
            corpora=mirror / "corpora",
            peaks=mirror / "peaks",
            compiled=mirror / "compiled",
        )
        return order.model_copy(update={"assignment": assignment})

    def _prepare(self, order: StartOrder) -> None:
        """Put everything there that the run needs."""
        ours, run_dir = order.assignment, RunDir(order.assignment.job_dir)
        if ours.program is not None:
            raise IsoflopError(
                "A trainer or a factory of your own needs storage that the nodes share.",
                hint=f"Put the artifacts and {str(ours.program.folder)!r} where the nodes see them too.",
            )
        job = run_dir.read_job()
        fingerprints = {run.corpus_fingerprint for run in job.runs if run.trainer == "builtin"} if job else set()
        for fingerprint in sorted(fingerprints):
            self._bring_corpus(ours.corpora / fingerprint)
        name = run_dir.path.name
        self._call("begin", name)
        kept = [run_dir.events_path, run_dir.keep_path, run_dir.job_path]
        for path in (*_files_below(run_dir.checkpoint_dir), *filter(Path.exists, kept)):
            self._files.bring(path, f"jobs/{name}/{path.relative_to(run_dir.path)}")
        brought = self._call("look")["jobs"][name]
        self._have = {key: version for key, version in self._have.items() if key[0] != name}
        self._have |= {(name, file): tuple(version) for file, version in brought.items()}

    def _bring_corpus(self, folder: Path) -> None:
        """Put a corpus there once: its manifest last, which says that it is whole."""
        manifest_last = sorted(_files_below(folder), key=lambda path: path.suffix == ".json")
        if not manifest_last or self._call("has", f"corpora/{folder.name}/{manifest_last[-1].name}"):
            return
        for path in manifest_last:
            self._files.bring(path, f"corpora/{folder.name}/{path.relative_to(folder)}")

    def _fetch_job(self, job: str, files: Mapping[str, tuple[int, ...]]) -> None:
        """Fetch what a run's worker has written: its results after what they tell of, and nothing once it is fenced."""
        order = self._orders.get(job)
        if order is None:
            return
        attempt, run_dir = order.assignment.attempt, RunDir(order.assignment.job_dir)
        if run_dir.is_fenced(attempt):
            if (job, attempt) not in self._fenced:
                self._call(
                    "put", f"jobs/{job}/{run_dir.fence_path(attempt).relative_to(run_dir.path)}", b"given up", 0, True
                )
                self._fenced.add((job, attempt))
            return
        for name in sorted(files, key=_rank):
            self._fetch_if_new(order, name, tuple(files[name]))
        if any(RESULT_NAME.fullmatch(name) for name in files) and _counts(order):
            for path in _files_below(run_dir.checkpoint_dir):  # a run that has ended has deleted its state
                if str(path.relative_to(run_dir.path)) not in files:
                    path.unlink()

    def _fetch_if_new(self, order: StartOrder, name: str, version: Version) -> None:
        """Fetch a file that the run's worker has written, unless that version of it is here or its attempt is past."""
        run_dir = RunDir(order.assignment.job_dir)
        path, job = run_dir.path / name, run_dir.path.name
        if self._have.get((job, name)) == version or not _counts(order):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.name in GROWING_NAMES:
            self._files.fetch_end(path, f"jobs/{job}/{name}", version[2], lambda: _counts(order))
        elif (RESULT_NAME.fullmatch(name) and path.exists()) or not self._files.fetch(
            path, f"jobs/{job}/{name}", version, lambda: _counts(order)
        ):
            return  # a result is never replaced; and a version that is no more comes with the next round
        self._have[job, name] = version

    def _fetch_box(self, seen: Mapping[str, Any]) -> None:
        """Fetch what the pilot says: its answers last, which tell of files that are here by now."""
        self._files.fetch_end(self._box.log_path, f"{self._pilot}/{self._box.log_path.name}", seen["box"]["log"])
        self._show_beat(seen)
        offset = self._box.answers_path.stat().st_size if self._box.answers_path.exists() else 0
        if seen["box"]["answers"] > offset:
            self._files.fetch_end(
                self._box.answers_path, f"{self._pilot}/{self._box.answers_path.name}", seen["box"]["answers"]
            )
            answers, _ = self._box.answers(0)
            self._ended_workers |= {answer.worker for answer in answers if isinstance(answer, EndedAnswer)}

    def _show_beat(self, seen: Mapping[str, Any]) -> None:
        """Touch the pilot's heartbeat here where it has been touched there."""
        if seen["beat"] != self._beat:
            self._beat = seen["beat"]
            self._box.heartbeat_path.touch()


def file_names(box: Mailbox) -> dict[str, Any]:
    """What files are called, for an actor, which has no isoflop."""
    return {
        "pilot": box.pilot_path.name,
        "answers": box.answers_path.name,
        "log": box.log_path.name,
        "beat": box.heartbeat_path.name,
        "growing": GROWING_NAMES,
        "not_fetched": COORDINATOR_NAMES,
    }


def _start_order(line: bytes) -> StartOrder | None:
    try:
        return StartOrder.model_validate_json(line)
    except ValueError:
        return None


def _ended_answer(line: bytes) -> EndedAnswer | None:
    try:
        return EndedAnswer.model_validate_json(line)
    except ValueError:
        return None


def _counts(order: StartOrder) -> bool:
    """Whether what the attempt writes still counts: it was not given up, and the run has no later one."""
    run_dir, attempt = RunDir(order.assignment.job_dir), order.assignment.attempt
    return run_dir.last_attempt <= attempt and not run_dir.is_fenced(attempt)


def _rank(name: str) -> int:
    """When a file is fetched: results after weights and checkpoints, events after results."""
    return 2 if Path(name).name in GROWING_NAMES else 1 if RESULT_NAME.fullmatch(name) else 0


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".tmp"))
