"""Whether this process may open as many files as it takes to run a sweep."""

import contextlib
import os
import resource

from isoflop.errors import IsoflopError

# Measured: database, locks, corpus and fork server take 16 at once, each worker 3 more; the rest is reserve.
BASE_FILES, FILES_PER_WORKER = 40, 8


def ensure_open_files(n_workers: int | None) -> None:
    """Nothing, where the limit suffices for `n_workers` (None: one per core) or can be raised to.

    Raises:
        IsoflopError: it is fixed too low (`ulimit -n`): workers would fail to start one after another.
    """
    needed = BASE_FILES + FILES_PER_WORKER * (n_workers or os.cpu_count() or 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
        return
    raise IsoflopError(
        f"This process may open only {soft} files at once; training this sweep may need {needed}.",
        hint=f"Raise the limit (`ulimit -n {max(1024, needed)}`), or use fewer workers with --workers.",
    )
