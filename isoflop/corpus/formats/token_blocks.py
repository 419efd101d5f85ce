"""Ready tokens as documents: blocks of a bare file or of one with a header, documents of Megatron's."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from isoflop.corpus.documents import Document, SourceFile, unreadable
from isoflop.corpus.formats.megatron import read_index
from isoflop.corpus.formats.record_faults import LEAVE_OUT, damaged
from isoflop.corpus.formats.token_headers import index_path, layout_of
from isoflop.corpus.tokenizers.tokenizer import token_dtype
from isoflop.errors import IsoflopError
from isoflop.spec.corpus_spec import TokenFormat

# Tokens of a block: a few dozen web pages, so that few are cut, and a held-out share is drawn from all of the file.
BLOCK_TOKENS = 1 << 15
# So many blocks at least, as of a large text.
_MIN_BLOCKS = 64


@dataclass(frozen=True)
class TokenReader:
    """The documents of a file of tokens 0 .. vocab_size - 1.

    Attributes:
        separator: the token that ends documents, where it is known: blocks end with one.
    """

    vocab_size: int
    separator: int | None
    layout: TokenFormat

    def __call__(self, file: SourceFile) -> Iterator[Document]:
        """The documents of `file`; an index has none of its own.

        Raises:
            IsoflopError: it is gone, unreadable or damaged, or a token is outside the vocabulary.
        """
        if file.path.endswith(".idx"):
            return
        try:
            blocks = self._indexed(file) if self._has_index(file) else self._bare(file)
            for start, tokens in blocks:
                yield Document(file.path, start, self._stored(tokens, start, file), heldout=file.heldout)
        except OSError as error:
            raise unreadable(error.filename or file.path, error) from None

    def _has_index(self, file: SourceFile) -> bool:
        return self.layout == "megatron" or (self.layout == "auto" and index_path(file.path).exists())

    def _bare(self, file: SourceFile) -> Iterator[tuple[int, NDArray[Any]]]:
        layout = layout_of(file, self.layout, width=token_dtype(self.vocab_size).itemsize)
        length = max(1, min(BLOCK_TOKENS, layout.n_tokens // _MIN_BLOCKS))
        with Path(file.path).open("rb") as opened:
            at, end = layout.start, layout.start + layout.n_tokens * layout.width
            while at < end:
                n_tokens = min(length, (end - at) // layout.width)
                tokens = _read(opened, at, n_tokens, np.dtype(f"<u{layout.width}"), file)
                if at + n_tokens * layout.width < end:
                    tokens = tokens[: self._whole(tokens)]
                yield at, tokens
                at += len(tokens) * layout.width

    def _whole(self, tokens: NDArray[Any]) -> int:
        """How many of `tokens` end with a separator, all where none does."""
        if self.separator is None:
            return len(tokens)
        found = np.flatnonzero(tokens == self.separator)
        return int(found[-1]) + 1 if len(found) else len(tokens)

    def _indexed(self, file: SourceFile) -> Iterator[tuple[int, NDArray[Any]]]:
        index = read_index(file)
        length = BLOCK_TOKENS
        if len(index.ends) < 2:  # an only document would go to one side whole
            length = max(1, min(length, int(index.lengths.sum()) // _MIN_BLOCKS))
        with Path(file.path).open("rb") as opened:
            for runs in index.documents():
                pieces: list[NDArray[Any]] = []
                start, n_held = runs[0][0] if runs else 0, 0
                for offset, n_tokens in runs:
                    for first in range(0, n_tokens, length):
                        begin = offset + first * index.dtype.itemsize
                        if n_held >= length:
                            yield start, np.concatenate(pieces)
                            pieces, start, n_held = [], begin, 0
                        pieces.append(_read(opened, begin, min(length, n_tokens - first), index.dtype, file))
                        n_held += len(pieces[-1])
                if n_held:
                    yield start, np.concatenate(pieces)

    def _stored(self, tokens: NDArray[Any], start: int, file: SourceFile) -> bytes:
        outside = (tokens < 0) | (tokens >= self.vocab_size)
        if outside.any():
            place = int(outside.argmax())
            raise IsoflopError(
                f"{file.path!r} has the token {tokens[place]}, number {place + 1} from byte {start} on, outside the "
                f"vocabulary of {self.vocab_size}.",
                hint=f"Correct corpus.vocab_size or corpus.format, or {LEAVE_OUT}.",
            )
        return tokens.astype(token_dtype(self.vocab_size)).tobytes()


def _read(opened: BinaryIO, start: int, n_tokens: int, dtype: np.dtype[Any], file: SourceFile) -> NDArray[Any]:
    # Not mapped: a mapped file that shrinks ends the process.
    opened.seek(start)
    content = opened.read(n_tokens * dtype.itemsize)
    if len(content) < n_tokens * dtype.itemsize:
        raise damaged(repr(file.path), f"ended at byte {start + len(content)} while it was read")
    return np.frombuffer(content, dtype)
