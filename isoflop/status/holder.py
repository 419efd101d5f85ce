"""Who holds a sweep, by its lock and what the lock file says."""

from dataclasses import dataclass
from pathlib import Path

from isoflop.store import LockContent, is_held, read_lock


@dataclass(frozen=True)
class Holder:
    """A process that took the sweep's lock and has not given it back.

    Attributes:
        signature: who it says it is; None for one that has not said so yet, or is no isoflop of this version.
        alive: whether it lives, and so holds the lock; None on another host, where it cannot be asked.
    """

    signature: LockContent | None
    alive: bool | None


def read_holder(lock: Path) -> Holder | None:
    """Who holds the lock, or died holding it; None where it was given back or never taken."""
    held, content = is_held(lock), read_lock(lock)
    if held:
        stale = content is not None and content.is_alive is False  # of an earlier holder: this one has yet to sign
        return Holder(None if stale else content, alive=True)
    if content is None or content.is_alive:
        return None
    return Holder(content, content.is_alive)
