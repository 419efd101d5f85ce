"""What other databases want of a folder of artifacts, so that one does not free what another keeps.

Every database that trains into the folder leaves its path there: <artifacts>/databases/<hash of the path>.json.
A database that was deleted wants nothing; one out of reach (damaged, on a disk that is not mounted) keeps everything.
"""

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from isoflop.artifacts.retention import weights_any_keeps
from isoflop.errors import IsoflopError, why_inaccessible
from isoflop.files import write_atomically
from isoflop.store import KnownRun, Store, read_snapshot

DATABASES = "databases"
_NOTE_NAME = re.compile(r"[0-9a-f]{16}\.json")
# A path has at most 4096 bytes (Linux), and JSON makes at most six of each.
_LONGEST_NOTE = 32 * 1024


@dataclass(frozen=True)
class OtherDatabases:
    """What the other databases want.

    Attributes:
        asked_for: the database that asks for a run, by run id.
        weights: ids of the runs whose weights they keep.
        corpora: fingerprints of the corpora their runs read.
    """

    asked_for: dict[str, Path] = field(default_factory=dict)
    weights: frozenset[str] = frozenset()
    corpora: frozenset[str] = frozenset()


def sign_in(artifacts: Path, db: Path) -> None:
    """Note in the folder that the database trains into it; anew at every run, so that others look again."""
    path = str(db.resolve())
    note = artifacts / DATABASES / f"{hashlib.sha256(path.encode()).hexdigest()[:16]}.json"
    note.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(note, json.dumps({"path": path}).encode())


def notes(artifacts: Path) -> tuple[tuple[str, int], ...]:
    """The notes in the folder by name and time: what tells whether somebody signed in since."""
    return tuple((note.name, note.lstat().st_mtime_ns) for note in _notes(artifacts))


def read_other_databases(artifacts: Path, db: Path) -> OtherDatabases:
    """What the databases that signed in want of the folder, without `db` itself.

    Raises:
        IsoflopError: one of them cannot be read, so that nobody can say what it wants.
    """
    found = OtherDatabases()
    for note in _notes(artifacts):
        try:
            path = _database(note)
            if path is None or (db.exists() and path.samefile(db)):
                continue
            runs, weights = read_snapshot(path, needs_of)
        except (IsoflopError, OSError, ValueError) as error:
            reason = error.message.rstrip(".") if isinstance(error, IsoflopError) else why_inaccessible(error, note)
            raise IsoflopError(
                f"Another database that trains into {str(artifacts)!r} cannot be read for what it keeps: {reason}.",
                hint=f"Repair that database, or delete {str(note)!r} if the database no longer matters.",
            ) from error
        asked_for = {run_id: run for run_id, run in runs.items() if run.asked_for}
        found = OtherDatabases(
            asked_for=found.asked_for | dict.fromkeys(asked_for, path),
            weights=found.weights | weights,
            corpora=found.corpora | {run.corpus_fingerprint for run in asked_for.values()},
        )
    return found


def _notes(artifacts: Path) -> list[Path]:
    return sorted(path for path in (artifacts / DATABASES).glob("*.json") if _NOTE_NAME.fullmatch(path.name))


def _database(note: Path) -> Path | None:
    """The database that the note names; None where it was deleted: its folder is there, and it is not.

    Raises:
        IsoflopError, OSError, ValueError: the note is damaged, or the database out of reach.
    """
    damaged = IsoflopError(f"{str(note)!r} is damaged.", hint="")
    if not note.is_file() or note.stat().st_size > _LONGEST_NOTE:
        raise damaged
    try:
        content = json.loads(note.read_bytes())
    except (ValueError, RecursionError):
        raise damaged from None
    if not isinstance(content, dict) or not isinstance(content.get("path"), str):
        raise damaged
    path = Path(content["path"])
    path.parent.stat()  # a disk that is not mounted holds a database that nobody deleted
    try:
        path.lstat()
    except FileNotFoundError:
        return None
    return path


def needs_of(store: Store) -> tuple[dict[str, KnownRun], frozenset[str]]:
    """The runs that the database knows, and the ids of those whose weights its sweeps keep."""
    return store.known_runs(), weights_any_keeps(store, store.sweep_names())
