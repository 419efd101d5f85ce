"""Where the commands print."""

import sys
import time
from collections.abc import Callable

from rich.console import Console

# The standard library takes under a second; what takes longer says how far it is this often.
TOKENISING_SECONDS = 3.0


def stdout() -> Console:
    """What a command has to say."""
    return Console()


def stderr() -> Console:
    """Progress and messages."""
    return Console(stderr=True)


def tokenising_line() -> Callable[[float], None]:
    """Says on stderr how far a long tokenisation is, a line every few seconds."""
    due = time.monotonic() + TOKENISING_SECONDS

    def report(share: float) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + TOKENISING_SECONDS
            print(f"tokenising the corpus: {share:.0%}", file=sys.stderr)

    return report
