"""What other databases want of a folder of artifacts, so that one does not free what another keeps.

Every database that trains into the folder leaves its path there: <artifacts>/databases/<hash of the path>.json.
A database that is no longer at its path wants nothing.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from isoflop.artifacts.wanted import wanted_by_any
from isoflop.errors import IsoflopError
from isoflop.files import write_atomically
from isoflop.store import KnownRun, Store, read_untouched

DATABASES = "databases"


@dataclass(frozen=True)
class Elsewhere:
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
    """Note in the folder that the database trains into it."""
    path = str(db.resolve())
    note = artifacts / DATABASES / f"{hashlib.sha256(path.encode(errors='surrogateescape')).hexdigest()[:16]}.json"
    if not note.exists():
        note.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(note, json.dumps({"path": path}).encode())


def read_elsewhere(artifacts: Path, db: Path) -> Elsewhere:
    """What the databases that signed in want of the folder, without `db` itself.

    Raises:
        IsoflopError: one of them cannot be read, so that nobody can say what it wants.
    """
    found = Elsewhere()
    for note, path in _signed_in(artifacts):
        if not path.exists() or (db.exists() and path.samefile(db)):
            continue
        try:
            runs, weights = read_untouched(path, needs_of)
        except IsoflopError as error:
            raise IsoflopError(
                f"The database {str(path)!r} trains into {str(artifacts)!r} too and cannot be read: {error.message}",
                hint=f"Mend it, or delete {str(note)!r} if it no longer matters.",
            ) from error
        asked_for = {run_id: run for run_id, run in runs.items() if run.asked_for}
        found = Elsewhere(
            asked_for=found.asked_for | dict.fromkeys(asked_for, path),
            weights=found.weights | weights,
            corpora=found.corpora | {run.corpus_fingerprint for run in asked_for.values()},
        )
    return found


def _signed_in(artifacts: Path) -> Iterator[tuple[Path, Path]]:
    """The notes in the folder and the databases they name."""
    for note in sorted((artifacts / DATABASES).glob("*.json")):
        try:
            yield note, Path(json.loads(note.read_bytes())["path"])
        except (OSError, ValueError, TypeError, KeyError):
            continue  # none of ours


def needs_of(store: Store) -> tuple[dict[str, KnownRun], frozenset[str]]:
    """The runs that the database knows, and the ids of those whose weights its sweeps keep."""
    return store.known_runs(), wanted_by_any(store, store.sweep_names())
