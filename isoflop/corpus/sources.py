"""Where text comes from: the files a corpus is made of and the documents in them."""

import platform
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from isoflop.corpus.documents import Document, Part, Reader, Source, SourceFile, source_file
from isoflop.corpus.formats.arrow_records import ArrowReader
from isoflop.corpus.formats.json_lines import JsonLinesReader
from isoflop.corpus.formats.parquet_records import ParquetReader
from isoflop.corpus.formats.plain_text import LARGEST_DOCUMENT, TextReader, library_files, text_documents
from isoflop.corpus.formats.token_blocks import TokenReader
from isoflop.corpus.formats.token_headers import index_path
from isoflop.corpus.hugging_face import spooled
from isoflop.corpus.listing import Place, exists, listed
from isoflop.corpus.mixture import mixed
from isoflop.errors import IsoflopError
from isoflop.spec import CorpusSpec, SourceSpec
from isoflop.units import plural

__all__ = ["LARGEST_DOCUMENT", "Document", "Part", "Source", "SourceFile", "find_source", "is_absent", "text_documents"]

_READERS: Mapping[str, Callable[[SourceSpec], Reader]] = {
    "files": lambda spec: TextReader(),
    "jsonl": lambda spec: JsonLinesReader(spec.text_field),
    "parquet": lambda spec: ParquetReader(spec.text_field),
    "tokens": lambda spec: TokenReader(spec.vocab_size or 0, spec.separator, spec.format),
    "arrow": lambda spec: ArrowReader(spec.text_field),
}


def find_source(spec: CorpusSpec, *, base: Path, spools: Path | None = None, fetch: bool = True) -> Source:
    """The files that `spec` asks for, in order of name; relative paths start at `base`.

    What comes from elsewhere lies in the folder `spools`, where it is put first unless `fetch` is false.

    Raises:
        IsoflopError: a path is missing or unreadable, a pattern is malformed, or there is no text.
    """
    sources = [_one(source, base, spools, fetch) for source in spec.sources]
    source = mixed(sources, [part.weight for part in spec.mix]) if spec.mix else sources[0]
    if not any(file.n_bytes for file in source.files):
        raise IsoflopError(
            f"The corpus ({source.description}) is empty: no text in {plural(len(source.files), 'file')}.",
            hint="Point corpus.paths at files with text, or use another corpus.source.",
        )
    return source


def is_absent(spec: CorpusSpec, *, base: Path) -> bool:
    """Whether `spec` names files of which none is on this machine.

    A mixture of paths that exist and paths that do not is a mistake, for `find_source` to name.
    """
    paths = [entry for source in spec.sources for entry in source.paths]
    return bool(paths) and not any(exists(base / entry) for entry in paths)


def _one(spec: SourceSpec, base: Path, spools: Path | None, fetch: bool) -> Source:
    if spec.source == "python-stdlib":
        return _stdlib()
    if spec.source == "hf":
        return spooled(spec, base=base, spools=spools, fetch=fetch)
    found = listed(spec.paths, spec.pattern, base=base)
    if spec.source == "tokens":
        found = _with_heldout(spec, found, base)
    files = tuple(sorted(found.values(), key=lambda file: file.name))
    files = _with_indices(files) if spec.source == "tokens" else files
    description = f"{spec.source} {', '.join(spec.paths)}"
    return Source(description, None, files, _READERS[spec.source](spec), is_text=spec.source != "tokens")


def _with_heldout(spec: SourceSpec, found: dict[Place, SourceFile], base: Path) -> dict[Place, SourceFile]:
    """The files with their side, where the sweep file names what is held out."""
    if spec.heldout is None:
        return found
    held = {
        place: replace(file, heldout=True) for place, file in listed([spec.heldout], spec.pattern, base=base).items()
    }
    kept = {place: replace(file, heldout=False) for place, file in found.items() if place not in held}
    if not kept:
        raise IsoflopError(
            f"corpus.heldout = {spec.heldout!r} names every file of corpus.paths: nothing is left to train on.",
            hint="Name the file or folder to hold out, and list others in corpus.paths.",
        )
    return kept | held


def _with_indices(files: tuple[SourceFile, ...]) -> tuple[SourceFile, ...]:
    """The files, each followed by its index where it has one, so that a changed index is noticed."""
    found = []
    for file in files:
        found.append(file)
        index = index_path(file.path)
        if not file.path.endswith(".idx") and index.exists():
            found.append(source_file(index, Path(file.name).with_suffix(".idx")))
    return tuple(found)


def _stdlib() -> Source:
    root = Path(sysconfig.get_paths()["stdlib"])
    interpreter = f"{platform.python_implementation()} {platform.python_version()}"
    found = (source_file(path, path.relative_to(root)) for path in library_files(root) if path.is_file())
    files = tuple(sorted(found, key=lambda file: file.name))
    return Source(f"standard library of {interpreter}", interpreter, files, text_documents)
