"""Whether anybody works in a directory, and keeping everybody out while something in it is deleted."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from isoflop.rundir import RunDir


def is_claimed(job_dir: Path) -> bool:
    """Whether a living process of this host has claimed the run directory."""
    claim = RunDir(job_dir).read_claim()
    return claim is not None and claim.is_alive


@contextlib.contextmanager
def alone_in(job_dir: Path) -> Iterator[bool]:
    """Whether nobody else works in the run directory; nobody can begin to while the block lasts."""
    if not job_dir.is_dir():
        yield False
        return
    with RunDir(job_dir).lock() as locked:
        yield locked and not is_claimed(job_dir)


@contextlib.contextmanager
def alone_with_corpora(corpora: Path) -> Iterator[bool]:
    """Whether nobody builds a corpus; nobody can begin to while the block lasts."""
    try:
        file = (corpora / "lock").open("rb")
    except FileNotFoundError:
        yield True  # whoever builds makes this file first
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
