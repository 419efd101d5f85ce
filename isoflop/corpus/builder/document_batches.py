"""Documents to tokens a batch at a time, and what is counted on the way: what a process of its own can do alone."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isoflop.corpus.builder.line_set import LineSet
from isoflop.corpus.documents import Document
from isoflop.corpus.tokenizers.tokenizer import Tokenizer, Tokens

# Of text. Smaller ones cost more in passing on than in encoding; the library takes 40 times a batch while it encodes.
BATCH_BYTES = 1 << 19
_MOST_DOCUMENTS = 1 << 12


@dataclass(frozen=True)
class Batch:
    """Documents that come one after the other, all of one part of a mixture."""

    part: int
    texts: list[bytes]


@dataclass(frozen=True)
class Encoded:
    """What became of a batch of documents.

    Attributes:
        part: of a mixture, that they belong to.
        tokens: of all documents, one after the other, each with its separator.
        n_bytes: of text as it was encoded.
        n_replaced: bytes that are not UTF-8 and could not be encoded as they are.
        shared: places of the held-out lines that are in the batch.
    """

    part: int
    tokens: Tokens
    n_documents: int
    n_bytes: int
    n_replaced: int
    shared: NDArray[np.intp]


def batches(documents: Iterable[Document], n_bytes: int = BATCH_BYTES) -> Iterator[Batch]:
    """The documents in order, in batches of about `n_bytes`."""
    texts: list[bytes] = []
    size = part = 0
    for document in documents:
        if texts and (size >= n_bytes or len(texts) == _MOST_DOCUMENTS or document.part != part):
            yield Batch(part, texts)
            texts, size = [], 0
        part = document.part
        texts.append(document.text)
        size += len(document.text)
    if texts:
        yield Batch(part, texts)


def encode_batch(tokenizer: Tokenizer, lines: LineSet, batch: Batch) -> Encoded:
    """The tokens of a batch and what it has in common with the held-out `lines`.

    Raises:
        IsoflopError: the tokenizer does not encode it.
    """
    texts = batch.texts
    readable = [text if tokenizer.keeps_any_bytes else as_utf8(text) for text in texts]
    return Encoded(
        part=batch.part,
        tokens=np.concatenate(tokenizer.encode_many(readable)),
        n_documents=len(texts),
        n_bytes=sum(map(len, readable)),
        n_replaced=sum(map(n_not_utf8, texts)) if readable != texts else 0,
        shared=lines.shared(texts),
    )


def as_utf8(text: bytes) -> bytes:
    """The text with what is not UTF-8 replaced by U+FFFD, three bytes each."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return text.decode(errors="replace").encode()
    return text


def n_not_utf8(text: bytes) -> int:
    """Bytes of the text that are not UTF-8."""
    return len(text) - len(text.decode(errors="ignore").encode())
