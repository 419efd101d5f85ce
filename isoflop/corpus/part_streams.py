"""One side of a corpus on its way to disk: straight into its shards, or a stream per part whose share is then taken."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from isoflop.corpus.documents import Part
from isoflop.corpus.mixture import copy_share, remove_part, shares
from isoflop.corpus.shards import TokenWriter, map_tokens
from isoflop.corpus.tokenizer import TokenDtype, Tokens


@dataclass
class PartCount:
    """Documents and bytes of text of a part on one side; tokens that it has, and those that it gives."""

    n_documents: int = 0
    n_bytes: int = 0
    n_tokens: int = 0
    n_taken: int = 0


class SideWriter:
    """Writes one side of a corpus, `<folder>/<side>-00000.bin` and so on.

    Of a mixture each part is written apart, in a temporary folder where there is no other, and `close` puts together
    the shares.

    Attributes:
        counts: of each part, or of the only source.
    """

    def __init__(
        self, folder: Path, side: str, dtype: TokenDtype, parts: Sequence[Part], *, final: TokenWriter, max_tokens: int
    ) -> None:
        self.counts = [PartCount() for _ in parts or (None,)]
        self._folder, self._side, self._dtype, self._parts, self._final = folder, side, dtype, parts, final
        names = [f"{side}-part{number}" for number in range(len(parts))]
        self._apart = [TokenWriter(folder, name, dtype, max_tokens=max_tokens) for name in names]
        self._names = names

    def write(self, tokens: Tokens, *, part: int, n_documents: int, n_bytes: int) -> None:
        """Appends what documents of a part became."""
        count = self.counts[part]
        count.n_documents += n_documents
        count.n_bytes += n_bytes
        count.n_tokens += len(tokens)
        (self._apart[part] if self._apart else self._final).write(tokens)

    def close(self) -> None:
        """Puts the shares of a mixture into the side's shards; nothing is to be written after it.

        Raises:
            IsoflopError: a part has no tokens on this side.
        """
        for writer in self._apart:
            writer.__exit__(None, None, None)
        held = [count.n_tokens for count in self.counts]
        taken = (
            shares(held, self._parts, side="training" if self._side == "train" else "held-out") if self._parts else held
        )
        for number, (count, n_taken) in enumerate(zip(self.counts, taken, strict=True)):
            count.n_taken = n_taken
            if self._parts:
                stream = map_tokens(self._folder, self._names[number], self._apart[number].shard_tokens, self._dtype)
                copy_share(stream, n_taken, self._final)
                remove_part(self._folder, self._names[number])

    @property
    def n_bytes(self) -> int:
        """Bytes of text behind the tokens that are given; of a part that gives some, its mean."""
        return sum(round(one.n_bytes * one.n_taken / one.n_tokens) for one in self.counts if one.n_tokens)

    @property
    def n_documents(self) -> int:
        """Documents that were written."""
        return sum(count.n_documents for count in self.counts)


@contextmanager
def room_for_parts(folder: Path | None, parts: Sequence[Part]) -> Iterator[Path]:
    """Where the parts of a mixture are written: in `folder`, or else in a temporary folder that goes at the end."""
    if folder is not None or not parts:
        yield folder or Path()
        return
    with tempfile.TemporaryDirectory(prefix="isoflop-") as name:
        yield Path(name)
