"""How far the build of a corpus came, noted beside its shards, so that the next builder goes on from there.

The first note also keeps what was found before anything was written: the split and the held-out lines. A note counts
only once the shards that it speaks of are on the disk; tokens after it are cut off again.
"""

import base64
import shutil
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from isoflop.corpus.builder.line_set import LineSet
from isoflop.corpus.builder.split import Split
from isoflop.corpus_facts import SplitRule
from isoflop.files import write_atomically

# A kill loses the work of about this long; a corpus that takes less is simply built again.
NOTE_SECONDS = 10.0

_FOLDER, _SPLIT, _DONE, _SIDES, _LINES = "unfinished", "split.json", "done.json", "sides.npy", "lines.npy"
_IN_FILES = "in-files.npy"


class Written(BaseModel):
    """What is written of one stream of tokens: of a side, or of a part of a mixture on it.

    Attributes:
        n_bytes: of text as it was encoded.
        shard_tokens: tokens in each shard.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_documents: int = 0
    n_bytes: int = 0
    shard_tokens: tuple[int, ...] = ()

    @property
    def n_tokens(self) -> int:
        """Tokens in all shards."""
        return sum(self.shard_tokens)


class Done(BaseModel):
    """The training documents that are written: the first ones of that side.

    Attributes:
        tokenizer: name of what encoded them.
        max_tokens: in every shard but the last of a stream.
        n_empty: records of the corpus without text.
        n_sample_bytes: training text that the tokenizer was trained on.
        n_replaced: bytes that are not UTF-8 and could not be encoded as they are.
        streams: what is written, of each part of a mixture or of the only source.
        shared: held-out lines found so far, a bit each, packed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokenizer: str
    max_tokens: int
    n_empty: int = 0
    n_sample_bytes: int = 0
    n_replaced: int = 0
    streams: tuple[Written, ...]
    shared: str

    @property
    def n_documents(self) -> int:
        """Documents in all streams."""
        return sum(stream.n_documents for stream in self.streams)

    @property
    def n_bytes(self) -> int:
        """Bytes of text in all streams, as it was encoded."""
        return sum(stream.n_bytes for stream in self.streams)

    def shared_lines(self, n_lines: int) -> NDArray[np.bool_]:
        """For each held-out line whether the documents have it."""
        packed = np.frombuffer(zlib.decompress(base64.b64decode(self.shared)), np.uint8)
        return np.unpackbits(packed, count=n_lines).astype(np.bool_)


def packed(shared: NDArray[np.bool_]) -> str:
    """Flags as text, a bit each."""
    return base64.b64encode(zlib.compress(np.packbits(shared).tobytes(), 1)).decode()


class _SplitNote(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: SplitRule
    n_documents: int
    n_duplicates: int
    n_bytes: int
    cut: int | None
    mask: int


@dataclass(frozen=True)
class Notes:
    """What an earlier builder found out and how far it came."""

    split: Split
    lines: LineSet
    done: Done


class Journal:
    """Notes in the folder of an unfinished corpus; without a folder nothing is noted."""

    def __init__(self, folder: Path | None, every_seconds: float = NOTE_SECONDS) -> None:
        self._folder = None if folder is None else folder / _FOLDER
        self._every_seconds = every_seconds
        self._due = time.monotonic() + every_seconds

    @property
    def has_notes(self) -> bool:
        """Whether a builder can go on from here."""
        return self._folder is not None and (self._folder / _DONE).exists()

    def read(self) -> Notes | None:
        """What an earlier builder noted; None where there is nothing, or nothing of use."""
        if self._folder is None:
            return None
        try:
            note = _SplitNote.model_validate_json((self._folder / _SPLIT).read_bytes())
            done = Done.model_validate_json((self._folder / _DONE).read_bytes())
            sides, hashes, in_files = (np.load(self._folder / name) for name in (_SIDES, _LINES, _IN_FILES))
        except (OSError, ValueError, EOFError, ValidationError):
            return None
        split = Split(note.rule, sides, in_files, note.n_documents, note.n_duplicates, note.n_bytes, note.cut)
        return Notes(split, LineSet(hashes, note.mask), done)

    def note(self, notes: Notes) -> None:
        """Note what is done; its tokens must be on the disk before."""
        if self._folder is None:
            return
        if not self._folder.exists():
            self._keep(notes, self._folder)
        write_atomically(self._folder / _DONE, notes.done.model_dump_json().encode())
        self._due = time.monotonic() + self._every_seconds

    @property
    def is_due(self) -> bool:
        """Whether the last note was long enough ago."""
        return self._folder is not None and time.monotonic() >= self._due

    def remove(self) -> None:
        """The corpus is whole: nothing of this stays."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _keep(self, notes: Notes, folder: Path) -> None:
        folder.mkdir()
        split = notes.split
        note = _SplitNote(
            rule=split.rule,
            n_documents=split.n_documents,
            n_duplicates=split.n_duplicates,
            n_bytes=split.n_bytes,
            cut=split.cut,
            mask=notes.lines.mask,
        )
        np.save(folder / _SIDES, split.sides)
        np.save(folder / _IN_FILES, split.n_in_file)
        np.save(folder / _LINES, notes.lines.hashes)
        write_atomically(folder / _SPLIT, note.model_dump_json().encode())
