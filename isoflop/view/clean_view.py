"""What `isoflop clean` found or freed, as text and JSON."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from isoflop.artifacts.inventory import Inventory, Item, Kind
from isoflop.units import format_bytes
from isoflop.view.document import SCHEMA_VERSION
from isoflop.view.drawing import table_block, text
from isoflop.view.table import Column, Table

# Entries named one by one; --json lists them all.
_NAMED = 10

_WHAT = {
    Kind.WEIGHTS: "final weights that no sweep's run.keep asks for",
    Kind.CHECKPOINT: "checkpoints of runs that have ended, and of interrupted trainings for weights (again/)",
    Kind.RUN: "runs that no sweep asks for; their results stay in the database",
    Kind.CORPUS: "corpora that no run reads",
    Kind.TEMPORARY: "leftovers of killed processes",
}


def clean_document(inventory: Inventory, artifacts: Path, db: Path, *, freed: bool) -> dict[str, object]:
    """The JSON document of `isoflop clean --json`; sizes in bytes as allocated on the disk."""
    return {
        "schema_version": SCHEMA_VERSION,
        "database": str(db),
        "artifacts": str(artifacts),
        "freed": freed,
        "items": [{"kind": item.kind.value, "path": str(item.path), "bytes": item.n_bytes} for item in inventory.items],
        "total_bytes": _total(inventory.items),
        "left_alone": [{"path": str(entry.path), "reason": entry.reason} for entry in inventory.left_alone],
    }


def print_inventory(inventory: Inventory, artifacts: Path, db: Path, console: Console, *, freed: bool) -> None:
    """Nothing; `console` shows what no sweep needs, or needed: by kind, then the largest, then what is left alone."""
    size, items = format_bytes(_total(inventory.items)), inventory.items
    needed = "needed" if freed else "needs"
    if not items:
        console.print(text(f"There is nothing to free in {artifacts} that no sweep of {db} {needed}."))
    else:
        console.print(text(f"{'Freed' if freed else 'To be freed'}: {size} that no sweep of {db} {needed}", "bold"))
        console.print(table_block(_by_kind(items), console))
        console.print(table_block(_largest(items), console))
    if inventory.left_alone:
        console.print(text(""), text("Left alone", "bold"), sep="\n")
        for entry in inventory.left_alone[:_NAMED]:
            console.print(text(f"{entry.path}: {entry.reason}"))
        _print_rest(len(inventory.left_alone), console)
    if items and not freed:
        console.print(text(""), text(f"Nothing was deleted: the same command with --yes deletes {size}."), sep="\n")


def _print_rest(number: int, console: Console) -> None:
    if number > _NAMED:
        console.print(text(f"... and {number - _NAMED} more", "dim"))


def _total(items: Sequence[Item]) -> int:
    return sum(item.n_bytes for item in items)


def _by_kind(items: Sequence[Item]) -> Table:
    rows = []
    for kind, what in _WHAT.items():
        group = [item for item in items if item.kind is kind]
        if group:
            rows.append((str(len(group)), format_bytes(_total(group)), what))
    columns = (Column("number"), Column("on disk"), Column("what", numeric=False))
    return Table("By kind", columns, tuple(rows))


def _largest(items: Sequence[Item]) -> Table:
    largest = sorted(items, key=lambda item: (-item.n_bytes, item.path))[:_NAMED]
    rows = tuple((format_bytes(item.n_bytes), str(item.path)) for item in largest)
    more = f"... and {len(items) - _NAMED} more" if len(items) > _NAMED else None
    return Table("Largest", (Column("on disk"), Column("path", numeric=False)), rows, more)
