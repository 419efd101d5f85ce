"""Writes one corpus into a folder: documents to sides, to tokens, to shards and a manifest."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isoflop.corpus.bpe import SAMPLE_BYTES, evenly_spaced, step_within_memory
from isoflop.corpus.build_notes import NOTE_SECONDS, Done, Journal, Notes, packed
from isoflop.corpus.building import Meter, OnProgress, Stage
from isoflop.corpus.corpus import FINGERPRINT_LENGTH, MANIFEST_NAME, Manifest
from isoflop.corpus.document_batches import as_utf8
from isoflop.corpus.encoder_pool import Encode, encoder
from isoflop.corpus.line_set import LineSet, is_near_duplicate, line_set
from isoflop.corpus.shards import TokenWriter, shard_name
from isoflop.corpus.sources import Document, Source
from isoflop.corpus.split import Side, Split, split_documents
from isoflop.corpus.text import refuse_binary
from isoflop.corpus.tokenizer import Tokenizer
from isoflop.corpus.tokenizer_choice import BpeToTrain
from isoflop.corpus.tokenizer_file import TOKENIZER_FILE
from isoflop.errors import IsoflopError

# Held-out text that is decoded again, to see whether the tokenizer keeps it.
_CHECKED_BYTES = 1 << 20


@dataclass(frozen=True)
class Writing:
    """How a corpus is written; nothing here changes its tokens.

    Attributes:
        shard_tokens: tokens per file.
        processes: that encode at once, where the tokenizer is worth it.
        note_seconds: between notes of how far it is.
        on_progress: hears how far it is.
    """

    shard_tokens: int
    processes: int = 1
    note_seconds: float = NOTE_SECONDS
    on_progress: OnProgress | None = None


def write_corpus(
    folder: Path | None,
    source: Source,
    *,
    tokenizer: Tokenizer | BpeToTrain,
    heldout_fraction: float,
    how: Writing,
) -> Manifest:
    """The manifest of the corpus written into `folder`; without a folder nothing is kept and it is the same.

    In a folder with the notes of an earlier builder of the same corpus it goes on from there. The files are read
    document by document, several times: to split them, for the held-out lines, and for each side; a tokenizer is
    trained in between. Memory holds two bytes a document, and of the text a few batches.

    Raises:
        IsoflopError: a file is unreadable or is not text, nothing can be held out, or the text cannot be encoded.
    """
    journal = Journal(folder, how.note_seconds)
    begun = _noted(folder, journal.read(), tokenizer, how) if folder is not None else None
    if begun is None:
        begun = _begin(folder, source, tokenizer, heldout_fraction, how)
    ready, split, lines = begun.tokenizer, begun.split, begun.lines
    with (
        encoder(ready, lines, processes=how.processes, n_bytes=split.n_bytes) as encode,
        TokenWriter(
            folder, "train", ready.dtype, max_tokens=how.shard_tokens, written=begun.done.shard_tokens
        ) as train,
        TokenWriter(folder, "heldout", ready.dtype, max_tokens=how.shard_tokens) as heldout,
    ):
        done, shared = _write_train(train, encode, source, begun, journal=journal, how=how)
        held = _Held(source, split, lines, shared)
        kept = _write_heldout(heldout, encode, held)
    n_checked, n_lossy = _checked(ready, held)
    manifest = Manifest(
        fingerprint=_fingerprint(ready, train, heldout),
        tokenizer=ready.name,
        vocab_size=ready.vocab_size,
        separator=ready.separator,
        n_sample_bytes=done.n_sample_bytes,
        n_replaced_bytes=done.n_replaced + kept.n_replaced,
        n_checked=n_checked,
        n_lossy=n_lossy,
        source=source.description,
        interpreter=source.interpreter,
        heldout_fraction=heldout_fraction,
        split=split.rule,
        n_files=len(source.files),
        n_documents=split.n_documents,
        n_duplicates_dropped=split.n_duplicates,
        n_near_duplicates_dropped=split.n_on(Side.HELDOUT) - kept.n_documents,
        n_train_documents=done.n_documents,
        n_heldout_documents=kept.n_documents,
        n_train_bytes=done.n_bytes,
        n_heldout_bytes=kept.n_bytes,
        n_train_tokens=train.n_tokens,
        n_heldout_tokens=heldout.n_tokens,
        train_shards=tuple(train.shard_tokens),
        heldout_shards=tuple(heldout.shard_tokens),
    )
    journal.remove()
    if folder is not None:
        (folder / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


@dataclass(frozen=True)
class _Begun:
    """All that is known before a token is written, and what an earlier builder wrote.

    Attributes:
        lines: those of the held-out text.
    """

    tokenizer: Tokenizer
    split: Split
    lines: LineSet
    done: Done


def _noted(folder: Path, noted: Notes | None, tokenizer: Tokenizer | BpeToTrain, how: Writing) -> _Begun | None:
    """What an earlier builder of this corpus noted, where its shards are those that this one would write."""
    if noted is None or noted.done.max_tokens != how.shard_tokens:
        return None
    ready = _earlier(folder, tokenizer)
    if ready is None or ready.name != noted.done.tokenizer or not _are_written(folder, ready, noted.done):
        return None
    return _Begun(ready, noted.split, noted.lines, noted.done)


def _begin(
    folder: Path | None, source: Source, tokenizer: Tokenizer | BpeToTrain, heldout_fraction: float, how: Writing
) -> _Begun:
    split = _split(source, heldout_fraction, folder, how)
    ready, n_sample_bytes = _trained(tokenizer, source, split, how)
    if folder is not None and ready.file is not None:
        (folder / TOKENIZER_FILE).write_bytes(ready.file)
    lines = line_set(_texts(source, split, Side.HELDOUT))
    done = Done(
        tokenizer=ready.name,
        max_tokens=how.shard_tokens,
        n_sample_bytes=n_sample_bytes,
        shared=packed(np.zeros(len(lines.hashes), np.bool_)),
    )
    return _Begun(ready, split, lines, done)


def _earlier(folder: Path, tokenizer: Tokenizer | BpeToTrain) -> Tokenizer | None:
    """The tokenizer, as an earlier builder trained it where it had to be trained; None where that one is not there."""
    if isinstance(tokenizer, Tokenizer):
        return tokenizer
    try:
        return tokenizer.saved((folder / TOKENIZER_FILE).read_bytes())
    except (OSError, IsoflopError):
        return None


def _are_written(folder: Path, tokenizer: Tokenizer, done: Done) -> bool:
    sizes = [n_tokens * tokenizer.dtype.itemsize for n_tokens in done.shard_tokens]
    paths = [folder / shard_name("train", index) for index in range(len(sizes))]
    return all(path.is_file() and path.stat().st_size >= size for path, size in zip(paths, sizes, strict=True))


def _split(source: Source, heldout_fraction: float, folder: Path | None, how: Writing) -> Split:
    meter = Meter(how.on_progress, Stage.READING, sum(file.n_bytes for file in source.files))

    def on_read(document: Document) -> None:
        # An interpreter's own sources are text, and its corpus stays what it is.
        if source.interpreter is None:
            refuse_binary(document.text, path=document.path, start=document.start)
        meter.add(len(document.text))

    return split_documents(source.documents(), heldout_fraction=heldout_fraction, on_read=on_read, folder=folder)


def _trained(tokenizer: Tokenizer | BpeToTrain, source: Source, split: Split, how: Writing) -> tuple[Tokenizer, int]:
    """The tokenizer, and the bytes of training text that it was trained on."""
    if isinstance(tokenizer, Tokenizer):
        return tokenizer, 0

    def sample() -> Iterator[bytes]:
        return evenly_spaced(_texts(source, split, Side.TRAIN), n_bytes=split.n_bytes)

    step = step_within_memory(sample())
    meter = Meter(how.on_progress, Stage.TRAINING, min(split.n_bytes, SAMPLE_BYTES) // step)

    def heard() -> Iterator[bytes]:
        for text in islice(sample(), 0, None, step):
            meter.add(len(text))
            yield text

    return tokenizer.trained(heard()), meter.n_bytes


def _texts(source: Source, split: Split, side: Side) -> Iterator[bytes]:
    return (document.text for document in split.of_side(source.documents(), side))


def _write_train(
    train: TokenWriter, encode: Encode, source: Source, begun: _Begun, *, journal: Journal, how: Writing
) -> tuple[Done, NDArray[np.bool_]]:
    """What is done when all training documents are written, and which of the held-out lines are in them."""
    done, shared = begun.done, begun.done.shared_lines(len(begun.lines.hashes))
    meter = Meter(how.on_progress, Stage.TOKENISING, begun.split.n_bytes, done.n_bytes)
    rest = islice(_texts(source, begun.split, Side.TRAIN), done.n_documents, None)
    for batch in encode(rest):
        train.write(batch.tokens)
        shared[batch.shared] = True
        done = done.and_then(batch)
        meter.add(batch.n_bytes)
        if journal.is_due:
            train.sync()
            at = done.model_copy(update={"shard_tokens": tuple(train.shard_tokens), "shared": packed(shared)})
            journal.note(Notes(begun.split, begun.lines, at))
    return done, shared


@dataclass(frozen=True)
class _Held:
    """The held-out documents, read anew each time."""

    source: Source
    split: Split
    lines: LineSet
    shared: NDArray[np.bool_]

    def kept(self) -> Iterator[bytes]:
        """Their texts without near-duplicates of the training text."""
        # One document repeats itself as its author meant it to.
        keeps_all = self.split.rule == "by_position"
        for text in _texts(self.source, self.split, Side.HELDOUT):
            if keeps_all or not is_near_duplicate(text, self.lines, self.shared):
                yield text


def _write_heldout(heldout: TokenWriter, encode: Encode, held: _Held) -> Done:
    kept = Done(tokenizer="", max_tokens=0)
    for batch in encode(held.kept()):
        heldout.write(batch.tokens)
        kept = kept.and_then(batch)
    if not kept.n_documents:
        raise IsoflopError(
            f"No held-out text remains: each of {held.split.n_on(Side.HELDOUT)} held-out documents has most of its "
            "lines in the training text.",
            hint="Remove copies from the corpus, or raise corpus.heldout_fraction.",
        )
    return kept


def _checked(tokenizer: Tokenizer, held: _Held) -> tuple[int, int]:
    """How many held-out documents were decoded again, and how many came back as another text."""
    if tokenizer.keeps_any_bytes:
        return 0, 0
    n_checked = n_lossy = n_bytes = 0
    for text in map(as_utf8, held.kept()):
        n_checked += 1
        n_lossy += tokenizer.decode(tokenizer.encode(text)) != text
        n_bytes += len(text)
        if n_bytes >= _CHECKED_BYTES:
            break
    return n_checked, n_lossy


def _fingerprint(tokenizer: Tokenizer, train: TokenWriter, heldout: TokenWriter) -> str:
    # Digests have a fixed length: no text can move from one side to the other and leave the hash as it was.
    content = tokenizer.name.encode() + b"\0" + train.digest + heldout.digest
    return hashlib.sha256(content).hexdigest()[:FINGERPRINT_LENGTH]
