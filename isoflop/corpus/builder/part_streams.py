"""One side of a corpus on its way to disk: straight into its shards, or a stream per part whose share is then taken."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from isoflop.corpus.builder.document_batches import Encoded
from isoflop.corpus.builder.notes import Written
from isoflop.corpus.documents import Part
from isoflop.corpus.mixture import copy_share, remove_part, shares
from isoflop.corpus.shards import TokenWriter, map_tokens


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
    the shares. It goes on after what is `written`, of each part or of the only source, which `final` goes on after too.

    Attributes:
        counts: of each part, or of the only source.
        n_replaced: bytes that are not UTF-8 and could not be encoded as they are.
    """

    def __init__(
        self,
        folder: Path,
        side: str,
        parts: Sequence[Part],
        *,
        final: TokenWriter,
        written: Sequence[Written] = (),
        n_replaced: int = 0,
    ) -> None:
        before = written or [Written() for _ in parts or (None,)]
        self.counts = [PartCount(one.n_documents, one.n_bytes, one.n_tokens) for one in before]
        self.n_replaced = n_replaced
        self._folder, self._side, self._parts, self._final = folder, side, parts, final
        self._names = [f"{side}-part{number}" for number in range(len(parts))]
        self._apart = [
            TokenWriter(folder, name, final.dtype, max_tokens=final.max_tokens, written=one.shard_tokens)
            for name, one in zip(self._names, before, strict=False)
        ]

    def __enter__(self) -> "SideWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self._apart:
            writer.__exit__(kind, error, trace)

    def write(self, batch: Encoded) -> None:
        """Appends what documents of a part became."""
        count = self.counts[batch.part]
        count.n_documents += batch.n_documents
        count.n_bytes += batch.n_bytes
        count.n_tokens += len(batch.tokens)
        self.n_replaced += batch.n_replaced
        self._streams[batch.part].write(batch.tokens)

    def synced(self) -> tuple[Written, ...]:
        """What is written of each stream, once it would survive a power cut."""
        for stream in self._streams:
            stream.sync()
        return tuple(
            Written(n_documents=count.n_documents, n_bytes=count.n_bytes, shard_tokens=tuple(stream.shard_tokens))
            for count, stream in zip(self.counts, self._streams, strict=True)
        )

    @property
    def _streams(self) -> Sequence[TokenWriter]:
        return self._apart or [self._final]

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
                shards = self._apart[number].shard_tokens
                stream = map_tokens(self._folder, self._names[number], shards, self._final.dtype)
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
