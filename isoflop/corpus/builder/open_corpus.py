"""Builds a corpus once and finds it again: `<root>/<fingerprint>/`, an index of requests, a lock."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from isoflop.corpus.builder.encoder_pool import EncoderDiedError
from isoflop.corpus.builder.notes import NOTE_SECONDS, Journal
from isoflop.corpus.builder.stages import OnProgress, Progress, Stage
from isoflop.corpus.builder.writer import Writing, write_corpus
from isoflop.corpus.corpus import Corpus, Manifest, load_corpus
from isoflop.corpus.integrity import has_stamp, is_intact, stamp
from isoflop.corpus.ready_tokens import ready_tokenizer
from isoflop.corpus.shards import SHARD_TOKENS
from isoflop.corpus.sources import Source, find_source
from isoflop.corpus.tokenizers.tokenizer_choice import make_tokenizer, tokenizer_request
from isoflop.corpus_facts import CorpusFacts
from isoflop.errors import IsoflopError
from isoflop.files import TEMPORARY_SUFFIX, alone_at, remove_temporaries, write_atomically
from isoflop.spec import CorpusSpec, TokenizerSpec

# Raised when the same files give other tokens than before, so that older index entries are forgotten.
_BUILD_VERSION = 1

# What other files with the same text may say otherwise.
_OF_THE_READING = {
    "source", "interpreter", "heldout_fraction", "split", "n_files", "n_documents", "n_duplicates_dropped",
    "n_near_duplicates_dropped", "n_empty_dropped", "mix",
}  # fmt: skip

_UNFINISHED = "building-"
# Where what was fetched from elsewhere lies beside the corpora.
SPOOLS = "spools"
_LOCK = "lock"


def open_corpus(
    spec: CorpusSpec,
    tokenizer: TokenizerSpec,
    *,
    root: Path,
    base: Path,
    on_progress: OnProgress | None = None,
    shard_tokens: int = SHARD_TOKENS,
    processes: int = 1,
    note_seconds: float = NOTE_SECONDS,
) -> Corpus:
    """The corpus that `spec` asks for, built under `root` unless it is there.

    Any number of processes may call this at once: one builds and the others wait for it. A builder that is
    killed leaves nothing that is ever taken for a corpus; the next one that is asked for the same goes on from there.

    Args:
        base: folder of the sweep file, where relative paths start.
        on_progress: hears how far it is while the corpus is built.
        shard_tokens: tokens per file. They do not enter the fingerprint.
        processes: that encode at once, where the tokenizer is worth it.
        note_seconds: between notes of how far it is, which a kill loses.

    Raises:
        IsoflopError: a source is missing, unreadable, empty, not text or being written to; `root` cannot be written.
    """
    source = find_source(spec, base=base, spools=root / SPOOLS)
    _tidy(root)
    key = _request_key(spec, tokenizer, source, base)
    if (known := _known_corpus(root, key)) is not None:
        return known
    try:
        with alone_at(root / _LOCK, lambda: _hear_wait(on_progress)):
            # Another process may have built it while this one waited for the lock.
            if (known := _known_corpus(root, key)) is not None:
                return known
            _remove_unfinished(root, but=key)
            with _unfinished_folder(root, key) as folder:
                made = write_corpus(
                    folder,
                    source,
                    tokenizer=ready_tokenizer(spec) or make_tokenizer(tokenizer, base=base),
                    heldout_fraction=spec.heldout_fraction,
                    how=Writing(shard_tokens, processes, note_seconds, on_progress),
                )
                _check_unchanged(source, find_source(spec, base=base, spools=root / SPOOLS))
                _put_in_place(folder, root, made.fingerprint)
            stamp(load_corpus(root, made.fingerprint), root / made.fingerprint)
            _remember(root, key, made)
    except OSError as error:
        raise IsoflopError(
            f"Cannot build the corpus in {str(root)!r}: {error.strerror}.",
            hint="Give a folder that can be written and locked (--artifacts), with room for 2 bytes per token, or 4 "
            "with more than 65,536 different tokens.",
        ) from error
    return _as_read(load_corpus(root, made.fingerprint), _reading(made))


def count_corpus(
    spec: CorpusSpec,
    tokenizer: TokenizerSpec,
    *,
    root: Path,
    base: Path,
    on_progress: OnProgress | None = None,
    processes: int = 1,
) -> CorpusFacts:
    """The facts of the corpus that `open_corpus` gives for the same arguments; nothing is written anywhere.

    They are looked up where the corpus is built, and else counted: the text is read and tokenised as for a build.

    Raises:
        IsoflopError: a source is missing, unreadable, empty, not text or being written to.
    """
    source = find_source(spec, base=base, spools=root / SPOOLS, fetch=False)
    if (known := _remembered(root, _request_key(spec, tokenizer, source, base))) is not None:
        return known.facts
    manifest = write_corpus(
        None,
        source,
        tokenizer=ready_tokenizer(spec) or make_tokenizer(tokenizer, base=base),
        heldout_fraction=spec.heldout_fraction,
        how=Writing(SHARD_TOKENS, processes, on_progress=on_progress),
    )
    _check_unchanged(source, find_source(spec, base=base, spools=root / SPOOLS, fetch=False))
    return manifest.facts


@contextmanager
def _unfinished_folder(root: Path, key: str) -> Iterator[Path]:
    """The folder in which the corpus of that request grows.

    It stays where the builder is killed, or interrupted after a note of how far it was, by a disk that is full, say;
    then the next one goes on.
    """
    folder = root / f"{_UNFINISHED}{key}"
    if not Journal(folder).has_notes:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(exist_ok=True)
    try:
        yield folder
    except (KeyboardInterrupt, EncoderDiedError, OSError):
        if not Journal(folder).has_notes:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    # Gone already where it was renamed into place.
    shutil.rmtree(folder, ignore_errors=True)


def _tidy(root: Path) -> None:
    """Remove the temporary files of index writers that were killed, if there are any and nobody writes now."""
    index = root / "index"
    if any(index.glob(f".*{TEMPORARY_SUFFIX}")):
        with contextlib.suppress(OSError), alone_at(root / _LOCK):
            remove_temporaries(index)


def _remove_unfinished(root: Path, *, but: str) -> None:
    # Whoever holds the lock is the only builder: what others left, a kill left.
    for folder in root.glob(f"{_UNFINISHED}*"):
        if folder.name != f"{_UNFINISHED}{but}":
            shutil.rmtree(folder, ignore_errors=True)


def _put_in_place(folder: Path, root: Path, fingerprint: str) -> None:
    target = root / fingerprint
    if target.exists():
        try:
            if is_intact(load_corpus(root, fingerprint), target):
                return
        except IsoflopError:
            pass
        shutil.rmtree(target)
    folder.rename(target)


def _check_unchanged(before: Source, after: Source) -> None:
    if before.files == after.files:
        return
    changed = min(set(before.files) ^ set(after.files), key=lambda file: file.name)
    raise IsoflopError(
        f"{changed.path!r} changed while the corpus was being read.",
        hint="Run the command again when nothing writes to the corpus.",
    )


def _hear_wait(on_progress: OnProgress | None) -> None:
    if on_progress is not None:
        on_progress(Progress(Stage.WAITING, 0, 0))


def _request_key(spec: CorpusSpec, tokenizer: TokenizerSpec, source: Source, base: Path) -> str:
    request = {
        "version": _BUILD_VERSION,
        "corpus": spec.request(),
        "tokenizer": tokenizer_request(tokenizer, base=base),
        "interpreter": source.interpreter,
        "files": [(file.name, file.path, file.n_bytes, file.mtime_ns) for file in source.files],
    }
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:32]


def _index_entry(root: Path, key: str) -> Path:
    return root / "index" / f"{key}.json"


def _known_corpus(root: Path, key: str) -> Corpus | None:
    """The corpus of that request, noted as read whole; None where it must be built."""
    corpus = _remembered(root, key)
    if corpus is not None:
        folder = root / corpus.manifest.fingerprint
        if not has_stamp(corpus, folder):
            stamp(corpus, folder)
    return corpus


def _remembered(root: Path, key: str) -> Corpus | None:
    # Whatever is wrong with an entry or with the corpus it names, building again is the cure.
    try:
        entry = json.loads(_index_entry(root, key).read_bytes())
        corpus = _as_read(load_corpus(root, entry["fingerprint"]), entry.get("read", {}))
        return corpus if is_intact(corpus, root / corpus.manifest.fingerprint) else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError, IsoflopError):
        return None


def _remember(root: Path, key: str, made: Manifest) -> None:
    path = _index_entry(root, key)
    path.parent.mkdir(exist_ok=True)
    entry = {"schema_version": 1, "fingerprint": made.fingerprint, "read": _reading(made)}
    write_atomically(path, json.dumps(entry).encode())


def _reading(made: Manifest) -> dict[str, Any]:
    return made.model_dump(mode="json", include=_OF_THE_READING)


def _as_read(corpus: Corpus, reading: Mapping[str, Any]) -> Corpus:
    """The corpus with what one request read; its folder says what the first one did that came to these tokens."""
    known = {name: value for name, value in reading.items() if name in _OF_THE_READING}
    return replace(corpus, manifest=Manifest.model_validate(corpus.manifest.model_dump(mode="json") | known))
