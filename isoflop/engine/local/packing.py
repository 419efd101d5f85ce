"""How many runs a GPU trains at once: as many as were measured to pay."""

import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection, wait
from multiprocessing.synchronize import Barrier

from isoflop.engine.local.fork_server import environment
from isoflop.engine.local.server_start import SAFE_PATH

# Steps per second together over steps per second alone that packing must have been measured to bring: below, what is
# gained lies within what such measurements scatter, and runs that share a device fail together.
LEAST_GAIN = 1.1
# What processes have to start, and to come to the same moment.
MOST_SECONDS = 600.0


def packing(alone_seconds: float, together_seconds_by_k: Mapping[int, float]) -> int:
    """Runs at once on a device that finish most steps in a second; 1 unless that gains a tenth or more.

    Args:
        alone_seconds: of a step, with the device to itself.
        together_seconds_by_k: of a step of each, with k at once.
    """
    gains = {k: k * alone_seconds / seconds for k, seconds in together_seconds_by_k.items() if k > 1 and seconds > 0}
    best = max(gains, key=lambda k: (gains[k], -k), default=1)
    return best if gains.get(best, 0.0) >= LEAST_GAIN else 1


def seconds_together(timed: Callable[[], float], k: int) -> float:
    """Mean of what `timed` gives in `k` fresh processes that call it at the same moment, seconds.

    `timed` is a function of a module, or a partial of one; its first call in each process is to warm up and does not
    count. To be called where processes may be started: a worker has no children.

    Raises:
        RuntimeError: a process ended without a number, as where memory did not suffice for all.
    """
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(k)
    pipes = [context.Pipe(duplex=False) for _ in range(k)]
    processes = [context.Process(target=_time, args=(timed, ready, theirs), daemon=True) for _, theirs in pipes]
    try:
        with environment(**{SAFE_PATH: "1"}):
            for process in processes:
                process.start()
        for _, theirs in pipes:
            theirs.close()
        return sum(_received([ours for ours, _ in pipes])) / k
    finally:
        for process in processes:
            if process.pid is not None:
                process.kill()
                process.join()


def _received(waiting: list[Connection]) -> Iterator[float]:
    """What each of the processes sends, as it comes."""
    while waiting:
        told = wait(waiting, MOST_SECONDS)
        try:
            yield from (float(connection.recv()) for connection in told if isinstance(connection, Connection))
        except EOFError:
            told = []
        if not told:
            raise RuntimeError("a process that was timed beside others ended, or came to no end")
        waiting = [connection for connection in waiting if connection not in told]


def _time(timed: Callable[[], float], ready: Barrier, engine: Connection) -> None:
    timed()
    ready.wait(MOST_SECONDS)
    engine.send(timed())
