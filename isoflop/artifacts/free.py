"""Frees what an inventory lists. Whatever moment a kill comes at, nothing half-removed is ever taken for whole."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from isoflop.artifacts.directory_locks import alone_in, alone_with_corpora
from isoflop.artifacts.inventory import CORPORA, Inventory, Item, Kind, LeftAlone
from isoflop.errors import IsoflopError
from isoflop.files import temporary_name


def free(inventory: Inventory) -> Inventory:
    """What was freed of `inventory`, and with what was left alone that which a process turned out to work on.

    Raises:
        IsoflopError: something may not be deleted.
    """
    freed, busy = list[Item](), list[LeftAlone]()
    for item in inventory.items:
        if _free(item):
            freed.append(item)
        else:
            busy.append(LeftAlone(item.path, "a process works on it"))
    return Inventory(tuple(freed), (*inventory.left_alone, *busy))


def _free(item: Item) -> bool:
    try:
        with _alone(item) as alone:
            if alone:
                _remove(item.path, whole=item.kind not in (Kind.TEMPORARY, Kind.WEIGHTS))
            return alone
    except FileNotFoundError:
        return True  # another `clean` was faster
    except OSError as error:
        raise IsoflopError(
            f"Cannot delete {str(item.path)!r}: {error.strerror}.",
            hint="Correct the permissions, then run `isoflop clean` again; files deleted so far stay deleted.",
        ) from error


@contextlib.contextmanager
def _alone(item: Item) -> Iterator[bool]:
    if item.guard.name == CORPORA:
        with alone_with_corpora(item.guard) as alone:
            yield alone
    elif item.kind is Kind.TEMPORARY and item.guard == item.path:
        yield True  # what a killed removal left: nobody looks there
    else:
        with alone_in(item.guard) as alone:
            yield alone


def _remove(path: Path, *, whole: bool) -> None:
    """Delete a file at once; a directory under a name that nothing reads, which a later removal finds."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    if whole:
        path = path.rename(temporary_name(path))
    shutil.rmtree(path)
