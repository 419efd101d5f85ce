"""How far a corpus is on its way to tokens."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """What a build is busy with, in order."""

    WAITING = "waiting for another command that builds a corpus here"
    READING = "reading the corpus"
    TRAINING = "training the tokenizer"
    TOKENISING = "tokenising the corpus"


@dataclass(frozen=True)
class Progress:
    """Bytes of text that a stage is done with.

    Attributes:
        n_bytes_in_all: of the stage, 0 while it waits; while the text is read first, the size of its files, which may
            be compressed.
    """

    stage: Stage
    n_bytes: int
    n_bytes_in_all: int

    @property
    def share(self) -> float:
        """What is done of the stage, 0 to 1."""
        return min(self.n_bytes / self.n_bytes_in_all, 1.0) if self.n_bytes_in_all else 1.0


OnProgress = Callable[[Progress], None]


class Meter:
    """Adds up what is done of one stage and says so.

    Attributes:
        n_bytes: done so far.
    """

    def __init__(self, on_progress: OnProgress | None, stage: Stage, n_bytes_in_all: int, n_bytes: int = 0) -> None:
        self._on_progress = on_progress
        self._stage = stage
        self._n_bytes_in_all = n_bytes_in_all
        self.n_bytes = n_bytes

    def add(self, n_bytes: int) -> None:
        """So many bytes more are done."""
        self.n_bytes += n_bytes
        if self._on_progress is not None:
            self._on_progress(Progress(self._stage, self.n_bytes, self._n_bytes_in_all))
