"""Where the commands print."""

import sys
import time
from collections.abc import Callable

from rich.console import Console

# The standard library takes under a second; what takes longer says how far it is this often.
TOKENISING_SECONDS = 3.0


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave a reader that has gone to the error boundary; rich would exit with 1."""
        raise BrokenPipeError


def stdout() -> Console:
    """What a command has to say."""
    return _Console()


def stderr() -> Console:
    """Progress and messages."""
    return _Console(stderr=True)


def tokenising_line() -> Callable[[float], None]:
    """Says on stderr how far a long tokenisation is, a line every few seconds."""
    due = time.monotonic() + TOKENISING_SECONDS

    def report(share: float) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + TOKENISING_SECONDS
            print(f"tokenising the corpus: {share:.0%}", file=sys.stderr)

    return report
