"""The runs that a person names, by id or by the first digits of one, held still while a decision is written."""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from isoflop.errors import IsoflopError
from isoflop.store import Store, open_store, read_snapshot
from isoflop.sweep.locks import sweep_locks

# Fewer digits are a slip of the finger rather than a choice.
FEWEST_DIGITS = 4

_NAMED = 4


@dataclass(frozen=True)
class Chosen:
    """Runs to decide about.

    Attributes:
        run_ids: as they were named, each once.
        sweeps: names of the sweeps that ask for any of them.
        before: the reasons of those that were excluded so far, by run id.
        store: to write to.
    """

    run_ids: tuple[str, ...]
    sweeps: tuple[str, ...]
    before: Mapping[str, str]
    store: Store


@contextlib.contextmanager
def chosen_runs(db: Path, names: Sequence[str]) -> Iterator[Chosen]:
    """A block under the lock of every sweep that asks for one of the runs that `names` mean.

    Raises:
        IsoflopError: no database, no such run, not one alone, or a sweep is held by another process.
    """

    def look_up(reader: Store) -> tuple[tuple[str, ...], tuple[str, ...]]:
        found = _resolve(reader, names)
        return found, reader.sweeps_asking_for(found)

    run_ids, sweeps = read_snapshot(db, look_up)  # opened to write, a missing database would be made
    with sweep_locks(db, sweeps), open_store(db, write=True) as store:
        if store.sweeps_asking_for(run_ids) != sweeps:
            raise IsoflopError("A sweep was planned at the same moment.", hint="Run the command again.")
        excluded = store.exclusions()
        before = {run_id: excluded[run_id] for run_id in run_ids if run_id in excluded}
        yield Chosen(run_ids, sweeps, before, store)


def _resolve(store: Store, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_run_id(store, name.strip().lower()) for name in names))


def _run_id(store: Store, name: str) -> str:
    listed = "`isoflop plan SWEEP` and `isoflop report SWEEP` list the runs."
    if not re.fullmatch(rf"[0-9a-f]{{{FEWEST_DIGITS},}}", name):
        raise IsoflopError(
            f"{name!r} is not a run id or at least its first {FEWEST_DIGITS} digits.",
            hint=f"Run ids are hexadecimal; {listed}",
        )
    found = store.runs_starting_with(name)
    if not found:
        raise IsoflopError(f"The database has no run {name!r}.", hint=listed)
    if len(found) > 1:
        named = ", ".join(found[:_NAMED]) + (", ..." if len(found) > _NAMED else "")
        raise IsoflopError(f"{len(found)} run ids begin with {name!r}: {named}.", hint="Give more digits.")
    return found[0]
