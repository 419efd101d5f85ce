"""Builds a corpus once and finds it again: `<root>/<fingerprint>/`, an index of requests, a lock."""

import contextlib
import fcntl
import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from isoflop.corpus.corpus import Corpus, load_corpus
from isoflop.corpus.integrity import has_stamp, is_intact, stamp
from isoflop.corpus.ready_tokens import ready_tokenizer
from isoflop.corpus.shards import SHARD_TOKENS
from isoflop.corpus.sources import Source, find_source
from isoflop.corpus.tokenizer import make_tokenizer
from isoflop.corpus.writer import write_corpus
from isoflop.corpus_facts import CorpusFacts
from isoflop.errors import IsoflopError
from isoflop.files import TEMPORARY_SUFFIX, remove_temporaries, write_atomically
from isoflop.spec import CorpusSpec, TokenizerSpec

# Raised when the same files give other tokens than before, so that older index entries are forgotten.
_BUILD_VERSION = 1

_UNFINISHED = "building-"
# Where what was fetched from elsewhere lies beside the corpora.
SPOOLS = "spools"

OnProgress = Callable[[float], None]


def open_corpus(
    spec: CorpusSpec,
    tokenizer: TokenizerSpec,
    *,
    root: Path,
    base: Path,
    on_progress: OnProgress | None = None,
    shard_tokens: int = SHARD_TOKENS,
) -> Corpus:
    """The corpus that `spec` asks for, built under `root` unless it is there.

    Any number of processes may call this at once: one builds and the others wait for it. A builder that is
    killed leaves nothing that is ever taken for a corpus.

    Args:
        base: folder of the sweep file, where relative paths start.
        on_progress: hears the share that is done, 0 to 1, while the corpus is built.
        shard_tokens: tokens per file. They do not enter the fingerprint.

    Raises:
        IsoflopError: a source is missing, unreadable, empty, not text or being written to; `root` cannot be written.
    """
    source = find_source(spec, base=base, spools=root / SPOOLS)
    _tidy(root)
    key = _request_key(spec, tokenizer, source)
    if (known := _known_corpus(root, key)) is not None:
        return known
    try:
        with _lock(root):
            # Another process may have built it while this one waited for the lock.
            if (known := _known_corpus(root, key)) is not None:
                return known
            _remove_unfinished(root)
            with _unfinished_folder(root) as folder:
                fingerprint = write_corpus(
                    folder,
                    source,
                    tokenizer=ready_tokenizer(spec) or make_tokenizer(tokenizer),
                    heldout_fraction=spec.heldout_fraction,
                    shard_tokens=shard_tokens,
                    on_read=_share_done(source, on_progress),
                ).fingerprint
                _check_unchanged(source, find_source(spec, base=base, spools=root / SPOOLS))
                _put_in_place(folder, root, fingerprint)
            stamp(load_corpus(root, fingerprint), root / fingerprint)
            _remember(root, key, fingerprint)
    except OSError as error:
        width = (ready_tokenizer(spec) or make_tokenizer(tokenizer)).dtype.itemsize
        raise IsoflopError(
            f"Cannot build the corpus in {str(root)!r}: {error.strerror}.",
            hint=f"Give a folder that can be written and locked, with room for {width} bytes per token (--artifacts).",
        ) from error
    return load_corpus(root, fingerprint)


def count_corpus(
    spec: CorpusSpec, tokenizer: TokenizerSpec, *, root: Path, base: Path, on_progress: OnProgress | None = None
) -> CorpusFacts:
    """The facts of the corpus that `open_corpus` gives for the same arguments; nothing is written anywhere.

    They are looked up where the corpus is built, and else counted: the text is read and tokenised as for a build.

    Raises:
        IsoflopError: a source is missing, unreadable, empty, not text or being written to.
    """
    source = find_source(spec, base=base, spools=root / SPOOLS, fetch=False)
    if (known := _remembered(root, _request_key(spec, tokenizer, source))) is not None:
        return known.facts
    manifest = write_corpus(
        None,
        source,
        tokenizer=ready_tokenizer(spec) or make_tokenizer(tokenizer),
        heldout_fraction=spec.heldout_fraction,
        shard_tokens=SHARD_TOKENS,
        on_read=_share_done(source, on_progress),
    )
    _check_unchanged(source, find_source(spec, base=base, spools=root / SPOOLS, fetch=False))
    return manifest.facts


def _share_done(source: Source, on_progress: OnProgress | None) -> Callable[[int], None]:
    # Every file is read at most twice.
    n_bytes_in_all = 2 * sum(file.n_bytes for file in source.files)
    n_bytes_done = 0

    def on_read(n_bytes: int) -> None:
        nonlocal n_bytes_done
        n_bytes_done += n_bytes
        if on_progress is not None:
            on_progress(min(1.0, n_bytes_done / n_bytes_in_all))  # packed files hold more

    return on_read


@contextmanager
def _unfinished_folder(root: Path) -> Iterator[Path]:
    folder = root / f"{_UNFINISHED}{uuid.uuid4().hex}"
    folder.mkdir()
    try:
        yield folder
    finally:
        # Gone already where it was renamed into place.
        shutil.rmtree(folder, ignore_errors=True)


def _tidy(root: Path) -> None:
    """Remove the temporary files of index writers that were killed, if there are any and nobody writes now."""
    index = root / "index"
    if any(index.glob(f".*{TEMPORARY_SUFFIX}")):
        with contextlib.suppress(OSError), _lock(root):
            remove_temporaries(index)


def _remove_unfinished(root: Path) -> None:
    # Whoever holds the lock is the only builder: what others left, a kill left.
    for folder in root.glob(f"{_UNFINISHED}*"):
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


@contextmanager
def _lock(root: Path) -> Iterator[None]:
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("ab") as file:
        # The operating system frees it however the process ends.
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _request_key(spec: CorpusSpec, tokenizer: TokenizerSpec, source: Source) -> str:
    request = {
        "version": _BUILD_VERSION,
        "corpus": spec.request(),
        "tokenizer": tokenizer.model_dump(mode="json"),
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
        corpus = load_corpus(root, entry["fingerprint"])
        return corpus if is_intact(corpus, root / corpus.manifest.fingerprint) else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError, IsoflopError):
        return None


def _remember(root: Path, key: str, fingerprint: str) -> None:
    path = _index_entry(root, key)
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, json.dumps({"schema_version": 1, "fingerprint": fingerprint}).encode())
