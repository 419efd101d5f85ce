"""What lies in the folder of artifacts that no sweep of a database needs. Reads only.

Only names that isoflop makes are looked at: run directories of 12 hexadecimal digits, corpora of 16, temporary names.
Symbolic links are never followed. A folder of artifacts may serve several databases, so whatever belongs to a run that
this database does not know is left alone, and so is a result that no row of it holds.
"""

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from isoflop.artifacts.directory_locks import alone_with_corpora, is_claimed
from isoflop.artifacts.other_databases import OtherDatabases
from isoflop.corpus.corpus import FINGERPRINT_LENGTH
from isoflop.errors import IsoflopError
from isoflop.files import TEMPORARY_SUFFIX
from isoflop.run_spec import AnyRun
from isoflop.rundir import RunDir
from isoflop.rundir.layout import OWN_NAMES, RESULT_NAME, RUN_ID, again_dir
from isoflop.store import KnownRun

CORPORA = "corpora"

_CORPUS = rf"[0-9a-f]{{{FINGERPRINT_LENGTH}}}"
_JOB_NAME, _CORPUS_NAME = re.compile(RUN_ID), re.compile(_CORPUS)
_TEMPORARY = re.compile(rf"\..+\.\d+{re.escape(TEMPORARY_SUFFIX)}")
# A directory gets such a name when its removal begins, see `free`.
_HALF_REMOVED = re.compile(rf"\.({RUN_ID}|{_CORPUS})\.\d+{re.escape(TEMPORARY_SUFFIX)}")
_ANY_NAME = re.compile(r".*")
_UNFINISHED_CORPUS = re.compile(r"building-[0-9a-f]{32}")
_OURS = re.compile(rf"{OWN_NAMES.pattern}|{_TEMPORARY.pattern}")


# What stat(2) counts blocks in, whatever the file system's own block is.
_STAT_BLOCK_BYTES = 512


class Kind(StrEnum):
    """What can go."""

    WEIGHTS = "weights"
    CHECKPOINT = "checkpoint"
    RUN = "run"
    CORPUS = "corpus"
    TEMPORARY = "temporary"


@dataclass(frozen=True)
class Item:
    """A file or directory that no sweep of the database needs.

    Attributes:
        n_bytes: room it takes on the disk.
        guard: the run directory, or the folder of corpora, that nobody else may work in while it goes.
    """

    kind: Kind
    path: Path
    n_bytes: int
    guard: Path


@dataclass(frozen=True)
class LeftAlone:
    """A file or directory that nobody may take away, though no sweep of the database asks for it, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Inventory:
    """What can go and what is left alone, in order of path."""

    items: tuple[Item, ...]
    left_alone: tuple[LeftAlone, ...]


def take_inventory(
    artifacts: Path, known: Mapping[str, KnownRun], wanted: frozenset[str], others: OtherDatabases
) -> Inventory:
    """What of `artifacts` is not needed: `known` are the database's runs, `wanted` those whose weights are kept.

    What other databases want stays.

    Raises:
        IsoflopError: a folder or a file may not be looked into.
    """
    try:
        return _inventory(artifacts, known, wanted, others)
    except OSError as error:
        raise IsoflopError(
            f"Cannot look into {str(error.filename or artifacts)!r}: {error.strerror or error}.",
            hint="Mend its permissions, or move it out of the folder of artifacts.",
        ) from error


def _inventory(
    artifacts: Path, known: Mapping[str, KnownRun], wanted: frozenset[str], others: OtherDatabases
) -> Inventory:
    items: list[Item] = []
    left_alone: list[LeftAlone] = []
    for path in sorted(artifacts.iterdir()):
        if _is_folder(path, _HALF_REMOVED):
            items.append(Item(Kind.TEMPORARY, path, disk_usage(path), path))
        elif _is_folder(path, _JOB_NAME):
            run_ids = _run_ids(path)
            reason = _why_untouchable(path, run_ids, known, others)
            if reason is not None:
                left_alone.append(LeftAlone(path, reason))
            elif any(known[run_id].asked_for for run_id in run_ids):
                items.extend(_parts(path, run_ids, known, wanted | others.weights))
            else:
                items.append(Item(Kind.RUN, path, disk_usage(path), path))
    in_use = {run.corpus_fingerprint for run in known.values() if run.asked_for}
    in_use |= {run.corpus_fingerprint for entry in left_alone for run in _runs(entry.path)} | others.corpora
    items.extend(_repeats(again_dir(artifacts), known, left_alone))
    items.extend(_corpora(artifacts / CORPORA, in_use))
    return Inventory(tuple(items), tuple(left_alone))


def _why_untouchable(
    path: Path, run_ids: set[str], known: Mapping[str, KnownRun], others: OtherDatabases
) -> str | None:
    """Why nothing in the run directory may be judged by this database; None where it may."""
    if is_claimed(path):
        return "a process works on it"
    if not run_ids <= known.keys():
        return "unknown to this database"
    if any(known[run_id].asked_for for run_id in run_ids):
        return None
    for run_id in sorted(run_ids & others.asked_for.keys()):
        return f"the database {str(others.asked_for[run_id])!r} asks for it"
    if not all(_is_recorded(path, known[run_id]) for run_id in run_ids):
        return "holds a result that the database does not have"
    foreign = [entry.name for entry in path.iterdir() if not _OURS.fullmatch(entry.name)]
    return f"holds {foreign[0]!r}, which isoflop did not make" if foreign else None


def _runs(path: Path) -> tuple[AnyRun, ...]:
    job = RunDir(path).read_job()
    return job.runs if job else ()


def _run_ids(path: Path) -> set[str]:
    """The runs of a directory: those of its job, those that left a result, and the one that it is named after."""
    results = {match[1] for entry in path.iterdir() if (match := RESULT_NAME.fullmatch(entry.name))}
    return results | ({run.run_id for run in _runs(path)} or {path.name})


def _is_recorded(path: Path, run: KnownRun) -> bool:
    """Whether the run's result file, if there is one, is the result that the database has."""
    if not os.path.lexists(RunDir(path).result_path(run.run_id)):
        return True
    result = RunDir(path).read_result(run.run_id)
    if result is None:
        return False  # of a newer version, or damaged: not ours to judge
    return (result.status, result.finished_at) == (run.status, run.finished_at)


def _parts(path: Path, run_ids: set[str], known: Mapping[str, KnownRun], wanted: frozenset[str]) -> Iterator[Item]:
    """What can go of the directory of a run that is asked for."""
    run_dir = RunDir(path)
    for run_id in sorted(run_ids):
        if known[run_id].status is None:
            continue
        if run_id not in wanted and not run_dir.keep_path.exists():
            yield from _files(Kind.WEIGHTS, [run_dir.weights_path(run_id)], path)
            program = run_dir.program_dir(run_id)
            if _is_folder(program) and not program.parent.is_symlink():
                yield Item(Kind.WEIGHTS, program, disk_usage(program), path)
        yield from _files(Kind.CHECKPOINT, [run_dir.checkpoint_path(run_id)], path)
    for folder in (path, run_dir.checkpoint_dir):
        if _is_folder(folder):
            leftovers = sorted(entry for entry in folder.iterdir() if _TEMPORARY.fullmatch(entry.name))
            yield from _files(Kind.TEMPORARY, leftovers, path)


def _repeats(folder: Path, known: Mapping[str, KnownRun], left_alone: list[LeftAlone]) -> Iterator[Item]:
    """Trainings for weights alone (`run --again`) that ended before they had them; others join `left_alone`."""
    for path in sorted(folder.iterdir()) if _is_folder(folder) else ():
        if _is_folder(path, _HALF_REMOVED):
            yield Item(Kind.TEMPORARY, path, disk_usage(path), path)
        elif _is_folder(path, _JOB_NAME):
            if is_claimed(path):
                left_alone.append(LeftAlone(path, "a process works on it"))
            elif path.name not in known:
                left_alone.append(LeftAlone(path, "unknown to this database"))
            else:
                yield Item(Kind.CHECKPOINT, path, disk_usage(path), path)


def _files(kind: Kind, paths: Iterable[Path], guard: Path) -> Iterator[Item]:
    for path in paths:
        if path.is_file() and not path.is_symlink() and not path.parent.is_symlink():
            yield Item(kind, path, disk_usage(path), guard)


def _corpora(folder: Path, in_use: set[str]) -> Iterator[Item]:
    if not _is_folder(folder):
        return
    with alone_with_corpora(folder) as nobody_builds:
        for path in sorted(folder.iterdir()):
            if _is_folder(path, _CORPUS_NAME) and path.name not in in_use:
                yield Item(Kind.CORPUS, path, disk_usage(path), folder)
            elif nobody_builds and (_is_folder(path, _UNFINISHED_CORPUS) or _is_folder(path, _HALF_REMOVED)):
                yield Item(Kind.TEMPORARY, path, disk_usage(path), folder)


def _is_folder(path: Path, name: re.Pattern[str] = _ANY_NAME) -> bool:
    return name.fullmatch(path.name) is not None and path.is_dir() and not path.is_symlink()


def disk_usage(path: Path) -> int:
    """Bytes that a file, or a directory with all in it, takes on the disk: blocks allocated, as `du` counts them."""
    inside = (Path(folder) / name for folder, folders, files in os.walk(path) for name in (*folders, *files))
    return _allocated(path) + sum(_allocated(entry) for entry in inside)


def _allocated(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):  # a temporary file that its writer has just renamed
        return path.lstat().st_blocks * _STAT_BLOCK_BYTES
    return 0
