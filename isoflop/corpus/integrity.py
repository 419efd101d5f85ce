"""Whether a corpus on disk still holds the tokens it was built from."""

import contextlib
import hashlib
import json
from pathlib import Path

from isoflop.corpus.corpus import FINGERPRINT_LENGTH, Corpus, Manifest, damaged, load_corpus
from isoflop.corpus.shards import TokenStream, shard_name
from isoflop.corpus.tokenizers.tokenizer_file import TOKENIZER_FILE, has_a_file, is_named_after
from isoflop.files import write_atomically

STAMP_NAME = "verified.json"


def is_intact(corpus: Corpus, folder: Path) -> bool:
    """Whether the shards in `folder` are those that were built. Nothing is written.

    Files whose size and time of change are as when they were last read whole count as read; others are hashed.
    """
    return has_stamp(corpus, folder) or (
        fingerprint_of(corpus) == corpus.manifest.fingerprint and _has_its_tokenizer(corpus.manifest, folder)
    )


def load_intact(root: Path, fingerprint: str) -> Corpus:
    """The corpus with that fingerprint among those built under `root`, with the tokens that it was built with.

    Raises:
        IsoflopError: as of `load_corpus`, or its files were altered since.
    """
    corpus = load_corpus(root, fingerprint)
    if not is_intact(corpus, corpus.folder):
        raise damaged(corpus.folder, "its files are not those that were built")
    return corpus


def has_stamp(corpus: Corpus, folder: Path) -> bool:
    """Whether the shards in `folder` are as when they were last read whole, by size and time of change."""
    return _read(folder / STAMP_NAME) == _stamp(corpus, folder)


def stamp(corpus: Corpus, folder: Path) -> None:
    """Note that the shards in `folder` have just been written or read whole."""
    with contextlib.suppress(OSError):  # a folder that cannot be written is read again next time
        write_atomically(folder / STAMP_NAME, json.dumps(_stamp(corpus, folder)).encode())


def fingerprint_of(corpus: Corpus) -> str:
    """The fingerprint of the tokens as they lie on disk, as `isoflop.corpus.builder.writer` makes it."""
    content = corpus.manifest.tokenizer.encode() + b"\0" + _digest(corpus.train) + _digest(corpus.heldout)
    return hashlib.sha256(content).hexdigest()[:FINGERPRINT_LENGTH]


def _has_its_tokenizer(manifest: Manifest, folder: Path) -> bool:
    """Whether the tokenizer's file, where there must be one, is the one that the tokens are of."""
    try:
        content = (folder / TOKENIZER_FILE).read_bytes()
    except OSError:
        return not has_a_file(manifest.tokenizer)
    return is_named_after(manifest.tokenizer, content)


def _digest(stream: TokenStream) -> bytes:
    sha = hashlib.sha256()
    for shard in stream.shards:
        sha.update(shard.data)
    return sha.digest()


def _stamp(corpus: Corpus, folder: Path) -> dict[str, object]:
    sides = {"train": corpus.manifest.train_shards, "heldout": corpus.manifest.heldout_shards}
    names = [shard_name(side, number) for side, shards in sides.items() for number in range(len(shards))]
    names += [TOKENIZER_FILE] if (folder / TOKENIZER_FILE).exists() else []
    states = {name: (folder / name).stat() for name in names}
    return {"schema_version": 1, "shards": {name: [at.st_size, at.st_mtime_ns] for name, at in states.items()}}


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
