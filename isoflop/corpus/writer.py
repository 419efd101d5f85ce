"""Writes one corpus into a folder: documents to sides, to tokens, to shards and a manifest."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from isoflop.corpus.corpus import FINGERPRINT_LENGTH, MANIFEST_NAME, Manifest
from isoflop.corpus.shards import TokenWriter
from isoflop.corpus.sources import Document, Source
from isoflop.corpus.split import Side, Split, is_near_duplicate, split_documents, telling_lines
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

    The files are read document by document, several times: to split them, and for each side. Memory grows with the
    held-out text and with the number of documents, not with the training text. `on_read` hears the bytes as they are
    read, of each file at most twice.

    Raises:
        IsoflopError: a file is unreadable or is not text, or nothing can be held out.
    """

    def on_first_read(document: Document) -> None:
        # An interpreter's own sources are text, and its corpus stays what it is.
        if source.interpreter is None:
            refuse_binary(document.text, path=document.path, start=document.start)
        on_read(len(document.text))

    split = split_documents(source.documents(), heldout_fraction=heldout_fraction, on_read=on_first_read)
    held = list(split.of_side(source.documents(), Side.HELDOUT))
    heldout_lines = {line for document in held for line in telling_lines(document.text)}
    lines_in_both = set[bytes]()
    n_train_documents = n_train_bytes = 0
    with TokenWriter(folder, "train", tokenizer.dtype, max_tokens=shard_tokens) as train:
        for document in split.of_side(source.documents(), Side.TRAIN):
            train.write(tokenizer.encode(document.text))
            lines_in_both |= heldout_lines.intersection(telling_lines(document.text))
            n_train_documents += 1
            n_train_bytes += len(document.text)
            on_read(len(document.text))
    kept = _without_near_duplicates(held, split, lines_in_both)
    with TokenWriter(folder, "heldout", tokenizer.dtype, max_tokens=shard_tokens) as heldout:
        for document in kept:
            heldout.write(tokenizer.encode(document.text))
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
        n_near_duplicates_dropped=len(held) - len(kept),
        n_train_documents=n_train_documents,
        n_heldout_documents=len(kept),
        n_train_bytes=n_train_bytes,
        n_heldout_bytes=sum(len(document.text) for document in kept),
        n_train_tokens=sum(train.shard_tokens),
        n_heldout_tokens=sum(heldout.shard_tokens),
        train_shards=tuple(train.shard_tokens),
        heldout_shards=tuple(heldout.shard_tokens),
    )
    if folder is not None:
        (folder / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def _without_near_duplicates(held: list[Document], split: Split, lines_in_train: set[bytes]) -> list[Document]:
    if split.rule == "by_position":
        # One document repeats itself as its author meant it to.
        return held
    kept = [document for document in held if not is_near_duplicate(document.text, lines_in_train)]
    if not kept:
        raise IsoflopError(
            f"No held-out text remains: each of {len(held)} held-out documents has most of its lines "
            "in the training text.",
            hint="Remove copies from the corpus, or raise corpus.heldout_fraction.",
        )
    return kept


def _fingerprint(tokenizer: Tokenizer, train: TokenWriter, heldout: TokenWriter) -> str:
    # Digests have a fixed length: no text can move from one side to the other and leave the hash as it was.
    content = tokenizer.name.encode() + b"\0" + train.digest + heldout.digest
    return hashlib.sha256(content).hexdigest()[:FINGERPRINT_LENGTH]
