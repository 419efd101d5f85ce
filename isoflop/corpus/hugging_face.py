"""Datasets of Hugging Face's by name: streamed once, up to a number of bytes, into a file that is read like any other.

What is fetched lies in a spool, JSON lines under a name from the request, beside a record of what it is. A remote
stream cannot be read again for free, and may differ when it is.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from isoflop.corpus.documents import Source, SourceFile, source_file
from isoflop.corpus.formats.json_lines import JsonLinesReader
from isoflop.corpus.formats.record_faults import no_such_field, not_text
from isoflop.errors import IsoflopError
from isoflop.files import alone_at, remove_temporaries, temporary_name, write_atomically
from isoflop.spec import SourceSpec

_FIELD = "text"


def spooled(spec: SourceSpec, *, base: Path, spools: Path | None, fetch: bool) -> Source:
    """The dataset that `spec` asks for, out of its spool in `spools`, where it is put first if `fetch`.

    Raises:
        IsoflopError: it has to be fetched and may not or cannot be: no such dataset, no network, no such field.
    """
    request = _Request.of(spec, base)
    if spools is None:
        raise _not_here(request)
    path = spools / f"{request.key}.jsonl"
    if not path.exists():
        if not fetch:
            raise _not_here(request)
        try:
            with alone_at(spools / "lock"):
                remove_temporaries(spools)
                if not path.exists():
                    _fetch(request, path)
        except OSError as error:
            raise IsoflopError(
                f"Cannot put the dataset {request.name!r} into {str(spools)!r}: {error.strerror or error}.",
                hint="Give a folder that can be written, with room for corpus.max_bytes (--artifacts).",
            ) from error
    file = source_file(path, PurePath(path.name))
    return Source(request.in_words(_fetched(path)), None, (file,), JsonLinesReader(_FIELD))


@dataclass(frozen=True)
class _Request:
    """What is asked for. `local` are the files of a dataset that is a folder here, with size and time; `name` is what
    the sweep file calls it, `dataset` what the library does."""

    name: str
    dataset: str
    subset: str | None
    split: str
    revision: str | None
    field: str
    max_bytes: int
    local: tuple[SourceFile, ...]

    @classmethod
    def of(cls, spec: SourceSpec, base: Path) -> "_Request":
        assert spec.dataset is not None and spec.max_bytes is not None  # the sweep file was checked
        folder = base / spec.dataset
        files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
        return cls(
            spec.dataset,
            str(folder) if files else spec.dataset,
            spec.subset,
            spec.split or "train",
            spec.revision,
            spec.text_field,
            spec.max_bytes,
            tuple(source_file(path, path.relative_to(folder)) for path in files),
        )

    @property
    def key(self) -> str:
        asked = [self.dataset, self.subset, self.split, self.revision, self.field, self.max_bytes]
        local = [(file.name, file.n_bytes, file.mtime_ns) for file in self.local]
        return hashlib.sha256(json.dumps([asked, local]).encode()).hexdigest()[:32]

    def in_words(self, fetched: dict[str, Any]) -> str:
        """What was fetched, as a manifest names it."""
        revision = fetched.get("revision") or "of unknown revision"
        subset = f", subset {self.subset}" if self.subset else ""
        whole = "all" if fetched.get("is_whole") else f"the first {fetched.get('n_bytes')} bytes"
        return f"dataset {self.name}{subset}, split {self.split}, {whole}, revision {revision}"


def _fetch(request: _Request, path: Path) -> None:
    """Puts the dataset into `path`, with a record beside it of what it is."""
    temporary = temporary_name(path)
    n_bytes = n_records = 0
    revision, records = _stream(request)
    is_whole = True
    try:
        with temporary.open("wb") as opened:
            for record in records:
                text = _text(request, record, n_records)
                opened.write(json.dumps({_FIELD: text}).encode() + b"\n")
                n_bytes += len(text.encode("utf-8", "surrogatepass")) if text else 0
                n_records += 1
                if n_bytes >= request.max_bytes:
                    is_whole = False
                    break
        about = {"revision": revision, "n_bytes": n_bytes, "n_records": n_records, "is_whole": is_whole}
        write_atomically(_record_of(path), json.dumps({"schema_version": 1, **about}).encode())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _stream(request: _Request) -> tuple[str | None, Iterator[Any]]:
    """The revision as far as it is known, and the records one by one."""
    try:
        import datasets
    except ImportError:
        raise IsoflopError(
            'corpus.source = "hf" needs the library `datasets`, which is not installed.',
            hint="`pip install 'isoflop[hf]'`, or give files of the dataset with source = \"parquet\".",
        ) from None
    options = {"split": request.split, "revision": request.revision}
    with _told(request):
        builder = datasets.load_dataset_builder(request.dataset, request.subset, revision=request.revision)
        stream = datasets.load_dataset(request.dataset, request.subset, streaming=True, **options)
    columns = stream.column_names
    if columns is not None and request.field not in columns:
        raise no_such_field(f"The dataset {request.name!r}", request.field, columns, noun="field")

    def records() -> Iterator[Any]:
        with _told(request):
            yield from stream

    return builder.hash or request.revision, records()


@contextmanager
def _told(request: _Request) -> Iterator[None]:
    try:
        yield
    except (IsoflopError, GeneratorExit):
        raise
    # The library, its file systems and the formats it reads raise errors of any type.
    except Exception as error:
        why = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        raise IsoflopError(
            f"Cannot fetch the dataset {request.name!r}, split {request.split!r}: {why}.",
            hint="Check corpus.dataset, subset, split and revision, and the network (HF_HUB_OFFLINE must not be set).",
        ) from error


def _text(request: _Request, record: Any, n_before: int) -> str | None:
    place = f"The dataset {request.name!r}, record {n_before + 1},"
    if request.field not in record:
        raise no_such_field(place.rstrip(","), request.field, record, noun="field")
    value = record[request.field]
    if value is not None and not isinstance(value, str):
        raise not_text(place.rstrip(","), request.field, f"of type {type(value).__name__}")
    return value


def _fetched(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(_record_of(path).read_bytes())
        return about if isinstance(about, dict) else {}
    except (OSError, ValueError):
        return {}


def _record_of(path: Path) -> Path:
    return path.with_suffix(".json")


def _not_here(request: _Request) -> IsoflopError:
    return IsoflopError(
        f"The dataset {request.name!r} has not been fetched yet.",
        hint="Run `isoflop plan` without --dry-run first: it fetches the text once and keeps it.",
    )
