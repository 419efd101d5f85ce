"""The process that workers are forked from: it has torch loaded and has never touched CUDA.

Starting a fresh interpreter costs about two seconds of importing torch; forking one that has imported it costs
hundredths (docs/benchmarks.md).
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing import forkserver, resource_tracker
from typing import TYPE_CHECKING

from isoflop.engine.local import server_start
from isoflop.engine.local.socket_folder import make_room_for_socket
from isoflop.engine.local.worker_process import WorkerProcess
from isoflop.engine.protocol import Preload
from isoflop.errors import IsoflopError
from isoflop.rundir import Assignment

if TYPE_CHECKING:
    from isoflop.train.trial import Trial

# A server that cannot stay alive this often has a cause that starting it again does not cure.
MAX_DEATHS = 3
_MASKED = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


# torch's compiler, with sympy, is a second of a core and more.
_MODULES = {
    Preload.NOTHING: (),
    Preload.TORCH: ("isoflop.train.preload",),
    Preload.COMPILER: ("isoflop.train.preload", "torch._dynamo"),
}


def modules_of(preload: Preload) -> list[str]:
    """The modules to load before workers are forked."""
    return ["isoflop.train.worker", *_MODULES[preload]]


class ForkServer:
    """Starts workers; lives until this process ends, and is started again where something killed it."""

    def __init__(self, target: Callable[..., None]) -> None:
        """`target` takes what `start` is given, and the connection to this process where it is to stay."""
        self._target = target
        self._context = multiprocessing.get_context("forkserver")
        self._deaths = 0
        self._starting = False

    def start(
        self, assignment: "Assignment | Trial", *, preload: list[str], stays: bool = False
    ) -> WorkerProcess | None:
        """The worker of `assignment`, and of more where it `stays`; None if the server had died.

        Another server is started next time.

        Raises:
            IsoflopError: the server dies again and again.
        """
        ours, theirs = self._context.Pipe() if stays else (None, None)
        args = (assignment,) if theirs is None else (assignment, theirs)
        process = self._context.Process(target=self._target, args=args, daemon=True)
        self._starting = True
        try:
            self._ensure(preload)
            process.start()
        except (EOFError, ConnectionError):
            self._deaths += 1
            if self._deaths >= MAX_DEATHS:
                raise IsoflopError(
                    "The process that workers are forked from died again and again.",
                    hint="Check the memory of this machine and that `python -c 'import torch'` works.",
                ) from None
            return None
        finally:
            self._starting = False
            if theirs is not None:
                theirs.close()  # so that it sees our end
        server_pid = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
        return WorkerProcess(process, server_pid, ours)

    def abort(self) -> None:
        """Kill the server where it keeps a start waiting: one that was stopped, or still imports. Safe in a handler."""
        pid = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
        if self._starting and pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _ensure(self, preload: list[str]) -> None:
        """Start the server unless it lives.

        It ends when this process does, by no signal to the group: its children have checkpoints to write. They
        inherit the mask and take SIGTERM again once they can answer it.
        """
        self._context.set_forkserver_preload([server_start.__name__, *preload])
        make_room_for_socket()
        with environment(**_of_the_server()):
            resource_tracker.ensure_running()  # started by ensure_running below, it would undo the mask
            before = signal.pthread_sigmask(signal.SIG_BLOCK, _MASKED)
            try:
                forkserver.ensure_running()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _of_the_server() -> dict[str, str]:
    """Variables for the server: it imports nothing from the working folder, and knows whose death is its own."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    safe_path = {} if os.environ.get(server_start.SAFE_PATH) else {server_start.SAFE_PATH: server_start.OURS}
    return safe_path | ({server_start.PARENT: str(os.getpid())} if in_main_thread else {})


@contextlib.contextmanager
def environment(**variables: str) -> Iterator[None]:
    """A block in which the environment of this process, and of what it starts, has these variables."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
