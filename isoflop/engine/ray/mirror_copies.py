"""MirrorCopies: keeps a pilot's folder and its runs' directories here and in an actor's mirror alike.

Orders go there, answers and what workers write come here, each file whole. Nothing is remembered that is not read
again from the files: files that grow are as long there as what was copied of them, or longer.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from isoflop.engine.pilots.mailbox import EndedAnswer, Mailbox, StartOrder
from isoflop.errors import IsoflopError
from isoflop.files import TEMPORARY_SUFFIX
from isoflop.rundir import RunDir
from isoflop.rundir.layout import COORDINATOR_NAMES, GROWING_NAMES, RESULT_NAME

Call = Callable[..., Any]
"""Calls a method of the actor by its name: `call("look")`."""

# Of a file at once: small enough to be answered within a second by a slow network.
CHUNK_BYTES = 4 << 20
BEAT_SECONDS = 5.0
# A worker whose pilot has died checkpoints within five seconds (train/process.py): that is waited for.
ORPHAN_SECONDS = 6.0


class MirrorCopies:
    """Copies between the mailbox `box` and the mirror, a folder of another machine, of the actor behind `call`."""

    def __init__(self, box: Mailbox, mirror: Path, call: Call) -> None:
        self._box, self._mirror, self._call = box, mirror, call
        self._pilot = f"pilot/{box.path.name}"
        self._offset: int | None = None  # bytes of orders that the pilot has
        self._orders: dict[str, StartOrder] = {}  # the latest of each job
        self._have: dict[tuple[str, str], tuple[int, ...]] = {}  # versions of the jobs' files that are here
        self._fenced: set[tuple[str, int]] = set()  # attempts whose fence is there
        self._beat: tuple[int, ...] | None = None
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
        if self._box.is_closed and not self._is_closed_there:
            self._call("put", f"{self._pilot}/{self._box.gone_path.name}", b"given up", 0, True)
            self._is_closed_there = True
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
        self._offset = offset  # what did not get there is brought with the next round

    def _new_orders(self) -> tuple[list[tuple[int, bytes]], int]:
        """Lines that the pilot does not have, each with the number of those before it; and the offset after them."""
        data = self._box.orders_path.read_bytes() if self._box.orders_path.exists() else b""
        data = data[: data.rfind(b"\n") + 1]
        if self._offset == len(data):
            return [], self._offset
        lines = data.splitlines()
        self._orders |= {order.assignment.job_dir.name: order for order in map(_start_order, lines) if order}
        taken = self._call("lines", f"{self._pilot}/{self._box.orders_path.name}")
        return list(enumerate(lines))[taken:], len(data)

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
            self._bring_corpus(ours.corpora / fingerprint, run_dir)
        name = run_dir.path.name
        self._call("begin", name)
        self._have = {key: version for key, version in self._have.items() if key[0] != name}
        kept = [run_dir.events_path, run_dir.keep_path, run_dir.job_path]
        for path in (*_files_below(run_dir.checkpoint_dir), *filter(Path.exists, kept)):
            self._bring(path, f"jobs/{name}/{path.relative_to(run_dir.path)}", run_dir)

    def _bring_corpus(self, folder: Path, run_dir: RunDir) -> None:
        """Put a corpus there once: its manifest last, which says that it is whole."""
        manifest_last = sorted(_files_below(folder), key=lambda path: path.suffix == ".json")
        if not manifest_last or self._call("has", f"corpora/{folder.name}/{manifest_last[-1].name}"):
            return
        for path in manifest_last:
            self._bring(path, f"corpora/{folder.name}/{path.relative_to(folder)}", run_dir)

    def _bring(self, path: Path, name: str, run_dir: RunDir) -> None:
        """Put one file there; the run's heartbeat says meanwhile that something goes on."""
        beaten = time.monotonic()
        with path.open("rb") as file:
            data, offset = file.read(CHUNK_BYTES), 0
            while True:
                following = file.read(CHUNK_BYTES)
                self._call("put", name, data, offset, not following)
                if not following:
                    return
                offset, data = offset + len(data), following
                if time.monotonic() - beaten > BEAT_SECONDS:
                    beaten = time.monotonic()
                    run_dir.heartbeat_path.touch()

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
            if self._have.get((job, name)) != tuple(files[name]):
                self._fetch_run_file(run_dir, attempt, name, tuple(files[name]))
        if any(RESULT_NAME.fullmatch(name) for name in files):
            for path in _files_below(run_dir.checkpoint_dir):  # a run that has ended has deleted its state
                if str(path.relative_to(run_dir.path)) not in files:
                    path.unlink()

    def _fetch_run_file(self, run_dir: RunDir, attempt: int, name: str, version: tuple[int, ...]) -> None:
        path, job = run_dir.path / name, run_dir.path.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.name in GROWING_NAMES:
            self._fetch_end(path, f"jobs/{job}/{name}", version[2])
        elif (RESULT_NAME.fullmatch(name) and path.exists()) or not self._fetch(
            path, f"jobs/{job}/{name}", version, lambda: not run_dir.is_fenced(attempt)
        ):
            return  # a result is never replaced; and a version that is no more comes with the next round
        self._have[job, name] = version

    def _fetch(self, path: Path, name: str, version: tuple[int, ...], still: Callable[[], bool] = lambda: True) -> bool:
        """Have that version of a file here; False where it is no more, or no longer wanted once it is whole."""
        temporary = path.with_name(f".{path.name}.{self._box.path.parent.name}-{self._box.path.name}{TEMPORARY_SUFFIX}")
        try:
            with temporary.open("wb") as file:
                whole = self._read_into(file, name, version)
                file.flush()
                os.fsync(file.fileno())
            if whole and still():
                temporary.replace(path)
                return True
            return False
        finally:
            temporary.unlink(missing_ok=True)

    def _read_into(self, file: BinaryIO, name: str, version: tuple[int, ...]) -> bool:
        """Whether that version of a file was there to the end."""
        while file.tell() < version[2] or not version[2]:
            data = self._call("read", name, version, file.tell(), CHUNK_BYTES)
            if data is None or (not data and version[2]):
                return False
            file.write(data)
            if not data:
                break
        return True

    def _fetch_end(self, path: Path, name: str, size: int) -> None:
        """Add to a file that grows what it has there more, up to so many bytes."""
        have = path.stat().st_size if path.exists() else 0
        with path.open("ab") as file:
            while have < size:
                data = self._call("read", name, None, have, min(CHUNK_BYTES, size - have))
                if not data:
                    return
                file.write(data)
                have += len(data)

    def _fetch_box(self, seen: Mapping[str, Any]) -> None:
        """Fetch what the pilot says: its answers last, which tell of files that are here by now."""
        self._fetch_end(self._box.log_path, f"{self._pilot}/{self._box.log_path.name}", seen["box"]["log"])
        if seen["beat"] != self._beat:
            self._beat = seen["beat"]
            self._box.heartbeat_path.touch()
        offset = self._box.answers_path.stat().st_size if self._box.answers_path.exists() else 0
        if seen["box"]["answers"] > offset:
            self._fetch_end(
                self._box.answers_path, f"{self._pilot}/{self._box.answers_path.name}", seen["box"]["answers"]
            )
            answers, _ = self._box.answers(0)
            self._ended_workers |= {answer.worker for answer in answers if isinstance(answer, EndedAnswer)}


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


def _rank(name: str) -> int:
    """When a file is fetched: results after weights and checkpoints, events after results."""
    return 2 if Path(name).name in GROWING_NAMES else 1 if RESULT_NAME.fullmatch(name) else 0


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".tmp"))
