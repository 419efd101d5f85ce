"""Writes one corpus into a folder: documents to sides, to tokens, to shards and a manifest."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from isoflop.corpus.corpus import FINGERPRINT_LENGTH, MANIFEST_NAME, Manifest
from isoflop.corpus.shards import TokenWriter
from isoflop.corpus.sources import Document, Source, documents
from isoflop.corpus.split import Split, is_near_duplicate, split_documents, telling_lines
from isoflop.corpus.text import refuse_binary
from isoflop.corpus.tokenizer import Tokenizer
from isoflop.errors import IsoflopError


def write_corpus(
    folder: Path | None,
    source: Source,
    *,
    tokenizer: Tokenizer,
    heldout_fraction: float,
    shard_tokens: int,
    on_read: Callable[[int], None],
) -> Manifest:
    """The manifest of the corpus written into `folder`; without a folder nothing is written and it is the same.

    The files are read twice, a document at a time: to split them and to write them. Memory grows with the held-out
    text and with the number of documents, not with the training text. `on_read` hears the bytes as they are read.

    Raises:
        IsoflopError: a file is unreadable or is not text, or nothing can be held out.
    """

    def on_first_read(document: Document, text: bytes) -> None:
        # An interpreter's own sources are text, and its corpus stays what it is.
        if source.interpreter is None:
            refuse_binary(text, path=document.path, start=document.start)
        on_read(len(text))

    split = split_documents(documents(source.files), heldout_fraction=heldout_fraction, on_read=on_first_read)
    heldout_lines = {line for document in split.heldout for line in telling_lines(document.read())}
    lines_in_both = set[bytes]()
    with TokenWriter(folder, "train", tokenizer.dtype, max_tokens=shard_tokens) as train:
        for document in split.train:
            text = document.read()
            train.write(tokenizer.encode(text))
            lines_in_both |= heldout_lines.intersection(telling_lines(text))
            on_read(len(text))
    heldout_documents = _without_near_duplicates(split, lines_in_both)
    with TokenWriter(folder, "heldout", tokenizer.dtype, max_tokens=shard_tokens) as heldout:
        for document in heldout_documents:
            heldout.write(tokenizer.encode(document.read()))
    manifest = Manifest(
        fingerprint=_fingerprint(tokenizer, train, heldout),
        tokenizer=tokenizer.name,
        vocab_size=tokenizer.vocab_size,
        source=source.description,
        interpreter=source.interpreter,
        heldout_fraction=heldout_fraction,
        split=split.rule,
        n_files=len(source.files),
        n_documents=split.n_documents,
        n_duplicates_dropped=split.n_duplicates,
        n_near_duplicates_dropped=len(split.heldout) - len(heldout_documents),
        n_train_documents=len(split.train),
        n_heldout_documents=len(heldout_documents),
        n_train_bytes=_n_bytes(split.train),
        n_heldout_bytes=_n_bytes(heldout_documents),
        n_train_tokens=sum(train.shard_tokens),
        n_heldout_tokens=sum(heldout.shard_tokens),
        train_shards=tuple(train.shard_tokens),
        heldout_shards=tuple(heldout.shard_tokens),
    )
    if folder is not None:
        (folder / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def _without_near_duplicates(split: Split, lines_in_train: set[bytes]) -> tuple[Document, ...]:
    if split.rule == "by_position":
        # One document repeats itself as its author meant it to.
        return split.heldout
    kept = tuple(document for document in split.heldout if not is_near_duplicate(document.read(), lines_in_train))
    if not kept:
        raise IsoflopError(
            f"No held-out text remains: each of {len(split.heldout)} held-out documents has most of its lines "
            "in the training text.",
            hint="Remove copies from the corpus, or raise corpus.heldout_fraction.",
        )
    return kept


def _fingerprint(tokenizer: Tokenizer, train: TokenWriter, heldout: TokenWriter) -> str:
    # Digests have a fixed length: no text can move from one side to the other and leave the hash as it was.
    content = tokenizer.name.encode() + b"\0" + train.digest + heldout.digest
    return hashlib.sha256(content).hexdigest()[:FINGERPRINT_LENGTH]


def _n_bytes(kept: Iterable[Document]) -> int:
    return sum(document.n_bytes for document in kept)
