"""Mixtures: several sources as one, documents with a part; and of each part its share of the tokens, no token twice.

The unique tokens of a mixture are those with which the first part runs out: the least of tokens / weight over the
parts. Each part gives exactly its weight of them, as evenly spaced runs of tokens from all over its own stream.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from isoflop.corpus.documents import Document, Part, Reader, Source, SourceFile
from isoflop.corpus.shards import TokenStream, TokenWriter
from isoflop.errors import IsoflopError

# Tokens of a run, nearly twice as many at most, so that few documents are cut: a few dozen web pages.
RUN_TOKENS = 1 << 15


def mixed(sources: Sequence[Source], weights: Sequence[float]) -> Source:
    """One source of all of `sources`, each a part of it."""
    whole = sum(weights)
    parts = tuple(Part(source.description, weight / whole) for source, weight in zip(sources, weights, strict=True))
    files = tuple(replace(file, part=number) for number, source in enumerate(sources) for file in source.files)
    shares = ", ".join(f"{100 * part.weight:.3g} % {part.description}" for part in parts)
    return Source(
        f"mixture of {shares}",
        next((source.interpreter for source in sources if source.interpreter is not None), None),
        files,
        MixedReader(tuple(source.reader for source in sources)),
        parts,
        is_text=all(source.is_text for source in sources),
    )


@dataclass(frozen=True)
class MixedReader:
    """The documents of a file of any part, found as that part's are."""

    readers: tuple[Reader, ...]

    def __call__(self, file: SourceFile) -> Iterator[Document]:
        """The documents of `file`, with its part.

        Raises:
            IsoflopError: as the part's reader does.
        """
        for document in self.readers[file.part](file):
            yield replace(document, part=file.part)


def shares(n_tokens: Sequence[int], parts: Sequence[Part], *, side: str) -> list[int]:
    """How many of its tokens each part gives to a side; together as many as no part runs out of.

    Raises:
        IsoflopError: a part has none on that side, or too few for a mixture.
    """
    for number, (tokens, part) in enumerate(zip(n_tokens, parts, strict=True), start=1):
        if not tokens:
            raise IsoflopError(
                f"Part {number} of corpus.mix ({part.description}) has no {side} text of its own: all its documents "
                "are on the other side, or copies of others.",
                hint="Give the part more text, or raise corpus.heldout_fraction.",
            )
    whole = min(tokens / part.weight for tokens, part in zip(n_tokens, parts, strict=True))
    # Rounding never asks a part for more than it has.
    taken = [min(tokens, round(whole * part.weight)) for tokens, part in zip(n_tokens, parts, strict=True)]
    if not all(taken):
        number = taken.index(0)
        raise IsoflopError(
            f"Part {number + 1} of corpus.mix ({parts[number].description}) would give less than one {side} token: "
            f"the smallest part allows {round(whole)} in all.",
            hint="Give the smallest part more text, or weigh the parts less unevenly.",
        )
    return taken


def runs(n_tokens: int, n_taken: int) -> Iterator[tuple[int, int]]:
    """Where in a stream of `n_tokens` the `n_taken` that a part gives begin and end, evenly spaced, in order."""
    n_runs = max(1, n_taken // RUN_TOKENS)
    for number in range(n_runs):
        skipped = number * (n_tokens - n_taken) // n_runs
        yield number * n_taken // n_runs + skipped, (number + 1) * n_taken // n_runs + skipped


def copy_share(stream: TokenStream, n_taken: int, writer: TokenWriter) -> None:
    """Appends to `writer` the tokens that a part gives out of its `stream`."""
    for start, stop in runs(stream.n_tokens, n_taken):
        for shard, first in zip(stream.shards, stream.starts, strict=True):
            piece = shard[max(0, start - first) : max(0, stop - first)]
            if len(piece):
                writer.write(piece)


def remove_part(folder: Path, side: str) -> None:
    """Deletes the shards of a part's own stream."""
    for path in folder.glob(f"{side}-*.bin"):
        path.unlink()
