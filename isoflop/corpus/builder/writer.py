"""Writes one corpus into a folder: documents to sides, to tokens, to shards and a manifest."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isoflop.corpus.builder.document_batches import as_utf8
from isoflop.corpus.builder.encoder_pool import Encode, EncoderPool, encoder_pool
from isoflop.corpus.builder.line_set import LineSet, is_near_duplicate, line_set
from isoflop.corpus.builder.notes import NOTE_SECONDS, Done, Journal, Notes, Written, packed
from isoflop.corpus.builder.part_sides import PartSides
from isoflop.corpus.builder.part_streams import SideWriter, room_for_parts
from isoflop.corpus.builder.split import Side, Split, split_documents
from isoflop.corpus.builder.stages import Meter, OnProgress, Stage
from isoflop.corpus.corpus import FINGERPRINT_LENGTH, MANIFEST_NAME, Manifest
from isoflop.corpus.documents import Document, Source
from isoflop.corpus.shards import TokenWriter, shard_name
from isoflop.corpus.tokenizers.bpe import SAMPLE_BYTES, evenly_spaced, step_within_memory
from isoflop.corpus.tokenizers.tokenizer import Tokenizer
from isoflop.corpus.tokenizers.tokenizer_choice import BpeToTrain
from isoflop.corpus.tokenizers.tokenizer_file import TOKENIZER_FILE, tokenizers_library
from isoflop.corpus_facts import PartCounts
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
    trained in between. Memory holds two bytes a document (of a mixture 12), and of the text a few batches.

    Raises:
        IsoflopError: a file is unreadable or is not text, nothing can be held out, or the text cannot be encoded.
    """
    if isinstance(tokenizer, BpeToTrain):
        tokenizers_library()  # a library that is missing is told before the text is read
    n_bytes = sum(file.n_bytes for file in source.files)
    with encoder_pool(tokenizer, processes=how.processes, n_bytes=n_bytes) as pool:
        return _written(folder, source, tokenizer, pool, heldout_fraction=heldout_fraction, how=how)


def _written(
    folder: Path | None,
    source: Source,
    tokenizer: Tokenizer | BpeToTrain,
    pool: EncoderPool,
    *,
    heldout_fraction: float,
    how: Writing,
) -> Manifest:
    journal = Journal(folder, how.note_seconds)
    begun = _noted(folder, journal.read(), source, tokenizer, how=how) if folder is not None else None
    if begun is None:
        begun = _begin(folder, source, tokenizer, heldout_fraction, how)
    ready, split, done = begun.tokenizer, begun.split, begun.done
    final = () if source.parts else done.streams[0].shard_tokens
    with (
        pool.encoder(ready, begun.lines) as encode,
        room_for_parts(folder, source.parts) as room,
        TokenWriter(folder, "train", ready.dtype, max_tokens=how.shard_tokens, written=final) as train,
        TokenWriter(folder, "heldout", ready.dtype, max_tokens=how.shard_tokens) as heldout,
        SideWriter(
            room, "train", source.parts, final=train, written=done.streams, n_replaced=done.n_replaced
        ) as train_side,
        SideWriter(room, "heldout", source.parts, final=heldout) as heldout_side,
    ):
        shared = _write_train(train_side, encode, source, begun, journal=journal, how=how)
        held = _Held(source, split, begun.lines, shared)
        _write_heldout(heldout_side, encode, held)
        train_side.close()
        heldout_side.close()
    n_checked, n_lossy = _checked(ready, held)
    manifest = Manifest(
        fingerprint=_fingerprint(ready, train, heldout),
        tokenizer=ready.name,
        vocab_size=ready.vocab_size,
        separator=ready.separator,
        n_sample_bytes=done.n_sample_bytes,
        n_replaced_bytes=train_side.n_replaced + heldout_side.n_replaced,
        n_checked=n_checked,
        n_lossy=n_lossy,
        source=source.description,
        interpreter=source.interpreter,
        heldout_fraction=heldout_fraction,
        split=split.rule,
        n_files=len(source.files),
        n_documents=split.n_documents,
        n_duplicates_dropped=split.n_duplicates,
        n_near_duplicates_dropped=split.n_on(Side.HELDOUT) - heldout_side.n_documents,
        n_train_documents=train_side.n_documents,
        n_heldout_documents=heldout_side.n_documents,
        n_train_bytes=train_side.n_bytes if source.is_text else None,
        n_heldout_bytes=heldout_side.n_bytes if source.is_text else None,
        n_train_tokens=train.n_tokens,
        n_heldout_tokens=heldout.n_tokens,
        n_empty_dropped=done.n_empty,
        mix=_part_counts(source, train_side, heldout_side),
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


def _noted(
    folder: Path, noted: Notes | None, source: Source, tokenizer: Tokenizer | BpeToTrain, *, how: Writing
) -> _Begun | None:
    """What an earlier builder of this corpus noted, where its shards are those that this one would write."""
    if noted is None or noted.done.max_tokens != how.shard_tokens:
        return None
    ready = _earlier(folder, tokenizer)
    if ready is None or ready.name != noted.done.tokenizer:
        return None
    names = [f"train-part{number}" for number in range(len(source.parts))] or ["train"]
    streams = noted.done.streams
    if len(streams) != len(names):
        return None
    if not all(_is_written(folder, name, stream, ready) for name, stream in zip(names, streams, strict=True)):
        return None
    return _Begun(ready, noted.split, noted.lines, noted.done)


def _is_written(folder: Path, name: str, stream: Written, tokenizer: Tokenizer) -> bool:
    """Whether the shards of a stream hold at least what is noted of them."""
    sizes = [n_tokens * tokenizer.dtype.itemsize for n_tokens in stream.shard_tokens]
    paths = [folder / shard_name(name, index) for index in range(len(sizes))]
    return all(path.is_file() and path.stat().st_size >= size for path, size in zip(paths, sizes, strict=True))


def _earlier(folder: Path, tokenizer: Tokenizer | BpeToTrain) -> Tokenizer | None:
    """The tokenizer, as an earlier builder trained it where it had to be trained; None where that one is not there."""
    if isinstance(tokenizer, Tokenizer):
        return tokenizer
    try:
        return tokenizer.saved((folder / TOKENIZER_FILE).read_bytes())
    except (OSError, IsoflopError):
        return None


def _begin(
    folder: Path | None, source: Source, tokenizer: Tokenizer | BpeToTrain, heldout_fraction: float, how: Writing
) -> _Begun:
    split, n_empty = _split(source, heldout_fraction, folder, how)
    _refuse_one_block(source, split)
    ready, n_sample_bytes = _trained(tokenizer, source, split, how)
    if folder is not None and ready.file is not None:
        (folder / TOKENIZER_FILE).write_bytes(ready.file)
    lines = line_set(_texts(source, split, Side.HELDOUT) if source.is_text else ())  # tokens have none
    done = Done(
        tokenizer=ready.name,
        max_tokens=how.shard_tokens,
        n_empty=n_empty,
        n_sample_bytes=n_sample_bytes,
        streams=tuple(Written() for _ in source.parts or (None,)),
        shared=packed(np.zeros(len(lines.hashes), np.bool_)),
    )
    return _Begun(ready, split, lines, done)


def _split(source: Source, heldout_fraction: float, folder: Path | None, how: Writing) -> tuple[Split, int]:
    """The split, and the number of records without text."""
    meter = Meter(how.on_progress, Stage.READING, sum(file.n_bytes for file in source.files))
    sides, n_empty = PartSides(source), 0

    def on_read(document: Document) -> None:
        sides.see(document)
        meter.add(len(document.text))

    def on_empty() -> None:
        nonlocal n_empty
        n_empty += 1

    split = split_documents(
        source, heldout_fraction=heldout_fraction, on_read=on_read, on_empty=on_empty, folder=folder
    )
    return sides.applied(split), n_empty


def _refuse_one_block(source: Source, split: Split) -> None:
    """Nothing is cut within a block of tokens, nor within the only document of a mixture."""
    if split.rule == "by_position" and (source.parts or not source.is_text):
        raise IsoflopError(
            f"The corpus ({source.description}) is one document, {split.n_documents} times: nothing can be held out.",
            hint="Point corpus.paths at more text.",
        )


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
    return (document.text for document in split.of_side(source, side))


def _write_train(
    train: SideWriter, encode: Encode, source: Source, begun: _Begun, *, journal: Journal, how: Writing
) -> NDArray[np.bool_]:
    """Which of the held-out lines are in the training text, all of which is written."""
    done, shared = begun.done, begun.done.shared_lines(len(begun.lines.hashes))
    meter = Meter(how.on_progress, Stage.TOKENISING, begun.split.n_bytes, done.n_bytes)
    rest = begun.split.of_side(source, Side.TRAIN, skip=done.n_documents)
    for batch in encode(rest):
        train.write(batch)
        shared[batch.shared] = True
        meter.add(batch.n_bytes)
        if journal.is_due:
            changes = {"streams": train.synced(), "n_replaced": train.n_replaced, "shared": packed(shared)}
            journal.note(Notes(begun.split, begun.lines, done.model_copy(update=changes)))
    return shared


@dataclass(frozen=True)
class _Held:
    """The held-out documents, read anew each time."""

    source: Source
    split: Split
    lines: LineSet
    shared: NDArray[np.bool_]

    def kept(self) -> Iterator[Document]:
        """Those that are no near-duplicates of the training text."""
        # One document repeats itself as its author meant it to, and tokens have no lines.
        keeps_all = self.split.rule == "by_position" or not self.source.is_text
        for document in self.split.of_side(self.source, Side.HELDOUT):
            if keeps_all or not is_near_duplicate(document.text, self.lines, self.shared):
                yield document


def _write_heldout(heldout: SideWriter, encode: Encode, held: _Held) -> None:
    for batch in encode(held.kept()):
        heldout.write(batch)
    if not heldout.n_documents:
        raise IsoflopError(
            f"No held-out text remains: each of {held.split.n_on(Side.HELDOUT)} held-out documents has most of its "
            "lines in the training text.",
            hint="Remove copies from the corpus, or raise corpus.heldout_fraction.",
        )


def _part_counts(source: Source, train: SideWriter, heldout: SideWriter) -> tuple[PartCounts, ...]:
    return tuple(
        PartCounts(part.description, part.weight, one.n_taken, other.n_taken, one.n_tokens, other.n_tokens)
        for part, one, other in zip(source.parts, train.counts, heldout.counts, strict=False)
    )


def _checked(tokenizer: Tokenizer, held: _Held) -> tuple[int, int]:
    """How many held-out documents were decoded again, and how many came back as another text."""
    if tokenizer.keeps_any_bytes:
        return 0, 0
    n_checked = n_lossy = n_bytes = 0
    for text in (as_utf8(document.text) for document in held.kept()):
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
