"""Writes one corpus into a folder: documents to sides, to tokens, to shards and a manifest."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from isoflop.corpus.corpus import FINGERPRINT_LENGTH, MANIFEST_NAME, Manifest
from isoflop.corpus.part_sides import PartSides
from isoflop.corpus.part_streams import SideWriter, room_for_parts
from isoflop.corpus.shards import TokenWriter
from isoflop.corpus.sources import Document, Source
from isoflop.corpus.split import Side, Split, is_near_duplicate, split_documents, telling_lines
from isoflop.corpus.tokenizer import Tokenizer
from isoflop.corpus_facts import PartCounts
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

    sides, n_empty = PartSides(source), 0

    def on_first_read(document: Document) -> None:
        sides.see(document)
        on_read(len(document.text))

    def on_empty() -> None:
        nonlocal n_empty
        n_empty += 1

    documents = source.documents(on_empty)
    split = sides.applied(split_documents(documents, heldout_fraction=heldout_fraction, on_read=on_first_read))
    _refuse_one_block(source, split)
    held = list(split.of_side(source.documents(), Side.HELDOUT))
    lines_of = telling_lines if source.is_text else _no_lines
    heldout_lines = {line for document in held for line in lines_of(document.text)}
    lines_in_both = set[bytes]()
    with (
        room_for_parts(folder, source.parts) as room,
        TokenWriter(folder, "train", tokenizer.dtype, max_tokens=shard_tokens) as train,
        TokenWriter(folder, "heldout", tokenizer.dtype, max_tokens=shard_tokens) as heldout,
    ):
        train_side, heldout_side = (
            SideWriter(room, side, tokenizer.dtype, source.parts, final=final, max_tokens=shard_tokens)
            for side, final in (("train", train), ("heldout", heldout))
        )
        for document in split.of_side(source.documents(), Side.TRAIN):
            _write(train_side, tokenizer, document)
            lines_in_both |= heldout_lines.intersection(lines_of(document.text))
            on_read(len(document.text))
        train_side.close()
        kept = _without_near_duplicates(held, split, lines_in_both) if source.is_text else held
        for document in kept:
            _write(heldout_side, tokenizer, document)
        heldout_side.close()
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
        n_train_documents=train_side.n_documents,
        n_heldout_documents=len(kept),
        n_train_bytes=train_side.n_bytes if source.is_text else None,
        n_heldout_bytes=heldout_side.n_bytes if source.is_text else None,
        n_train_tokens=sum(train.shard_tokens),
        n_heldout_tokens=sum(heldout.shard_tokens),
        n_empty_dropped=n_empty,
        mix=_part_counts(source, train_side, heldout_side),
        train_shards=tuple(train.shard_tokens),
        heldout_shards=tuple(heldout.shard_tokens),
    )
    if folder is not None:
        (folder / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def _write(side: SideWriter, tokenizer: Tokenizer, document: Document) -> None:
    tokens = tokenizer.encode(document.text)
    side.write(tokens, part=document.part, n_documents=1, n_bytes=len(document.text))


def _no_lines(text: bytes) -> list[bytes]:
    """Tokens have none."""
    return []


def _refuse_one_block(source: Source, split: Split) -> None:
    """Nothing is cut within a block of tokens, nor within the only document of a mixture."""
    if split.rule == "by_position" and (source.parts or not source.is_text):
        raise IsoflopError(
            f"The corpus ({source.description}) is one document, {split.n_documents} times: nothing can be held out.",
            hint="Point corpus.paths at more text.",
        )


def _part_counts(source: Source, train: SideWriter, heldout: SideWriter) -> tuple[PartCounts, ...]:
    return tuple(
        PartCounts(part.description, part.weight, one.n_taken, other.n_taken, one.n_tokens, other.n_tokens)
        for part, one, other in zip(source.parts, train.counts, heldout.counts, strict=False)
    )


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
