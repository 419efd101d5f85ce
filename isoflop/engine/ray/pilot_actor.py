"""PilotActor: the process of Ray that starts a pilot on its node, and serves its files where storage is not shared.

Sent to the node as code, whatever is installed there: it needs nothing but Python's own library. Its mirror, where it
has one, is a folder of the node that looks as the pilot's and its runs' folders do for the coordinator:

    <mirror>/pilot/<number>/      the mailbox
    <mirror>/jobs/<job_id>/       the runs' directories
    <mirror>/corpora/             tokenised corpora
"""

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

PREFIX = "isoflop-pilot-"
# So long an actor stays whose pilot has ended well, or not, or never began, so that its coordinator hears how; where
# files of its runs are here alone, so long, so that a coordinator that comes back has them.
STAY_SECONDS, STAY_FAILED_SECONDS, UNFETCHED_SECONDS = 3.0, 30.0, 900.0
LOOK_SECONDS = 0.5
# Storage that is shared may show a new folder late (NFS, acdirmin), seconds.
SHOWN_SECONDS = 3.0
# A mirror this young may be one whose actor has not locked it yet, seconds.
YOUNG_SECONDS = 60.0

Signature = tuple[int, int, int]
"""Tells the versions of a file apart: inode, time of the last change in nanoseconds, bytes."""


class PilotActor:
    """Starts the pilot as its child, and ends when that has ended.

    Args:
        folder, number: of the pilot's mailbox, as the coordinator has it.
        names: of its files, `file_names`; "growing" and "not_fetched" are those of files in runs' directories.
        content: of its pilot.json there.
        storage: "shared", "copied", or "auto": see whether the mailbox is here too.
        python: interpreter of the pilot; None for this process's own.
        gpus: what Ray was asked for; with none the pilot sees no GPU.
        grace_seconds: what the pilot has to end once it is told.
    """

    def __init__(
        self,
        *,
        folder: str,
        number: int,
        names: dict[str, Any],
        content: bytes,
        storage: str,
        python: str | None,
        gpus: float,
        grace_seconds: float,
    ) -> None:
        self._names, self._grace_seconds = names, grace_seconds
        self._stopped_at: float | None = None
        self._jobs: set[str] = set()  # whose files are not all with the coordinator
        self._mirror: Path | None = None
        self._lock: BinaryIO | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._box = Path(folder) / str(number)
        self.problem = ""
        self._sees = storage != "copied" and _appears(self._box / names["pilot"], content)
        if storage == "shared" and not self._sees:
            self.problem = f"{socket.gethostname()} does not see {str(self._box)!r}"
        else:
            try:
                if not self._sees:
                    self._make_mirror(content)
                self._start(python or sys.executable, gpus)
            except OSError as error:
                place = f" ({error.filename})" if error.filename else ""
                self.problem = f"{socket.gethostname()} cannot start a pilot: {error.strerror}{place}"
        threading.Thread(target=self._watch, daemon=True).start()

    def _make_mirror(self, content: bytes) -> None:
        self._mirror, self._lock = _new_mirror()
        self._box = self._mirror / "pilot" / self._box.name
        self._box.mkdir(parents=True)
        (self._box / self._names["pilot"]).write_bytes(content)

    def _start(self, python: str, gpus: float) -> None:
        """Start the pilot from this thread, which lives as long as the process: the kernel ends the pilot with it."""
        environment = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_TOKEN"}
        environment["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "") if gpus else ""
        place = str(self._box.parent), self._box.name
        command = [python, "-P", "-m", "isoflop.engine.ray.ray_pilot", *place, str(os.getpid())]
        with (self._box / self._names["log"]).open("ab") as log:
            try:
                self._child = subprocess.Popen(  # noqa: S603
                    command,
                    cwd=self._box,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                self.problem = f"{python!r} does not start on {socket.gethostname()}: {error.strerror}"

    def _watch(self) -> None:
        """Kill a pilot that does not end in time; end this process once the pilot has, and its files are fetched.

        Nobody may ask any more: where no pilot could be started, too, the process ends by itself.
        """
        child = self._child
        while child is not None and child.poll() is None:
            if self._stopped_at is not None and time.monotonic() - self._stopped_at > self._grace_seconds:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
            time.sleep(LOOK_SECONDS)
        ended = time.monotonic()
        stay = STAY_FAILED_SECONDS if child is None or child.poll() else STAY_SECONDS
        while time.monotonic() - ended < (UNFETCHED_SECONDS if self._jobs else stay):
            if self._stopped_at is not None and not self._jobs:
                break
            time.sleep(LOOK_SECONDS)
        self.leave()

    def leave(self) -> None:
        """End the process, and a pilot that still runs; the mirror goes."""
        if self._child is not None and self._child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
        if self._mirror is not None:
            shutil.rmtree(self._mirror, ignore_errors=True)
        os._exit(0)

    def stop(self) -> None:
        """Ask the pilot to end: it has `grace_seconds`."""
        self._stopped_at = self._stopped_at or time.monotonic()
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)

    def status(self) -> dict[str, Any]:
        """How the pilot is: host, exit code (None while it runs), problem, mirror (None where storage is shared)."""
        return {
            "host": socket.gethostname(),
            "exit_code": self._child.poll() if self._child is not None else None,
            "problem": self.problem,
            "mirror": str(self._mirror) if self._mirror is not None else None,
        }

    def look(self) -> dict[str, Any]:
        """What the mirror holds that the coordinator may lack, by path in it, in the order it was written.

        Files that grow are looked at first: what they tell of lies there by then. `ended`: whether nothing more comes.
        """
        assert self._mirror is not None
        ended = self._child is None or self._child.poll() is not None
        grown = {key: _size(self._box / self._names[key]) for key in ("answers", "log")}
        jobs: dict[str, dict[str, Signature]] = {}
        for job in sorted(self._jobs):
            root = self._mirror / "jobs" / job
            files = sorted(self._files_in(root), key=lambda path: path.name not in self._names["growing"])
            listed = {str(path.relative_to(root)): _signature(path) for path in files}
            jobs[job] = {name: signature for name, signature in listed.items() if signature is not None}
        return {"ended": ended, "box": grown, "beat": _signature(self._box / self._names["beat"]), "jobs": jobs}

    def _files_in(self, root: Path) -> list[Path]:
        """The files below the folder that a worker wrote, temporary ones apart."""
        left_out = self._names["not_fetched"]
        found = [path for path in root.rglob("*") if path.name not in left_out and not path.name.endswith(".tmp")]
        return [path for path in found if path.is_file() and not path.is_symlink()]

    def begin(self, job: str) -> None:
        """Make room for a run's directory, and list its files from now on."""
        shutil.rmtree(self._at(f"jobs/{job}"), ignore_errors=True)
        self._at(f"jobs/{job}").mkdir(parents=True)
        self._jobs.add(job)

    def forget(self, job: str) -> None:
        """Delete a run's directory: the coordinator has all of it."""
        self._jobs.discard(job)
        shutil.rmtree(self._at(f"jobs/{job}"), ignore_errors=True)

    def read(self, name: str, signature: Signature | None, offset: int, number: int) -> bytes | None:
        """So many bytes of a file, fewer at its end; None where it is not there, or no longer that version of it."""
        try:
            with self._at(name).open("rb") as file:
                if signature is not None and _of_status(os.fstat(file.fileno())) != tuple(signature):
                    return None
                file.seek(offset)
                return file.read(number)
        except OSError:
            return None

    def put(self, name: str, data: bytes, offset: int, last: bool) -> None:
        """Write a piece of a file, from its first byte on; after the last the file lies in its place."""
        path = self._at(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with temporary.open("r+b" if offset else "wb") as file:
            file.seek(offset)
            file.write(data)
        if last:
            temporary.replace(path)

    def add_lines(self, name: str, data: bytes, before: int) -> None:
        """Add lines to a file, if it has as many as `before`: what was added already is not added again."""
        if self.lines(name) == before:
            with self._at(name).open("ab") as file:
                file.write(data)

    def lines(self, name: str) -> int:
        """Lines of a file, 0 where there is none."""
        path = self._at(name)
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def has(self, name: str) -> bool:
        """Whether the file is there."""
        return self._at(name).exists()

    def _at(self, name: str) -> Path:
        assert self._mirror is not None
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"{name!r} does not lie in the mirror")
        return self._mirror / name


def _new_mirror() -> tuple[Path, BinaryIO]:
    """A folder of this actor's own, held while it lives; those that killed actors left behind are deleted."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), (left / ".held").open("ab") as file:
            if time.time() - left.stat().st_mtime < YOUNG_SECONDS:
                continue
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
    mirror = Path(tempfile.mkdtemp(prefix=PREFIX))
    held = (mirror / ".held").open("ab")
    fcntl.flock(held, fcntl.LOCK_EX)
    return mirror, held


def _appears(path: Path, content: bytes) -> bool:
    """Whether a file with that content is at the path, or soon will be."""
    until = time.monotonic() + SHOWN_SECONDS
    while True:
        with contextlib.suppress(OSError):
            if path.read_bytes() == content:
                return True
        if time.monotonic() > until:
            return False
        time.sleep(0.2)


def _size(path: Path) -> int:
    signature = _signature(path)
    return signature[2] if signature is not None else 0


def _signature(path: Path) -> Signature | None:
    try:
        return _of_status(path.stat())
    except OSError:
        return None


def _of_status(status: os.stat_result) -> Signature:
    return status.st_ino, status.st_mtime_ns, status.st_size
