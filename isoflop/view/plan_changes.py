"""What a new plan changes, as text and JSON."""

from collections.abc import Sequence

from rich.console import Console

from isoflop.store import PlanChanges, PlannedRun
from isoflop.units import format_flops
from isoflop.view.drawing import table_block, text
from isoflop.view.table import Column, Table
from isoflop.wording import ABSENT, count, runs

# Runs of each kind, and keys, that the text names; --json lists them all.
_NAMED = 4


def changes_sentence(changes: PlanChanges) -> str:
    """How many runs are kept, new and no longer asked for."""
    gone = changes.no_longer_asked_for
    numbers = f"{runs(len(changes.kept))} kept, {len(changes.new)} new, {len(gone)} no longer asked for"
    results = sum(run.status is not None for run in gone)
    return numbers + (f" ({_results(results)} in the database)" if results else "")


def _results(number: int) -> str:
    return "its result stays" if number == 1 else f"{number} results stay"


def changes_document(changes: PlanChanges) -> dict[str, object]:
    """The `changes` of `isoflop plan --json`: run ids by kind, and the keys with their old and new values."""
    keys = changes.keys
    return {
        "kept": [run.run_id for run in changes.kept],
        "new": [run.run_id for run in changes.new],
        "no_longer_asked_for": [run.run_id for run in changes.no_longer_asked_for],
        "corpus_fingerprint": {"old": changes.corpus[0], "new": changes.corpus[1]} if changes.corpus else None,
        "keys": None if keys is None else {name: {"old": old, "new": new} for name, (old, new) in keys.items()},
    }


def print_changes(changes: PlanChanges, console: Console) -> None:
    """Nothing; `console` shows which keys changed, how many runs that concerns, and the first of them."""
    console.print(text(f"Changed since it was last planned: {changes_sentence(changes)}", "bold"))
    keys = list((changes.keys or {}).items())
    for name, (old, new) in keys[:_NAMED]:
        console.print(text(f"  {name}: {_value(old)} -> {_value(new)}"))
    if len(keys) > _NAMED:
        console.print(text(f"  ... and {len(keys) - _NAMED} more keys", "dim"))
    if changes.corpus:
        console.print(text(f"  text of the corpus, by fingerprint: {changes.corpus[0]} -> {changes.corpus[1]}"))
    if changes.keys is None:
        console.print(text("  The old keys were written by another version of isoflop and cannot be compared.", "dim"))
    for title, listed in (("New", changes.new), ("No longer asked for", changes.no_longer_asked_for)):
        if listed:
            console.print(table_block(_table(title, listed), console))
    console.print(text(""))


def _value(value: object) -> str:
    """A value as a sweep file writes it; in words where the key was absent."""
    match value:
        case None:
            return "not given"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}".replace("e+", "e")
        case str():
            return f'"{value}"'
        case list():
            return f"[{', '.join(_value(item) for item in value)}]"
        case _:
            return str(value)


def _table(title: str, listed: Sequence[PlannedRun]) -> Table:
    columns = (
        Column("budget"),
        Column("N"),
        Column("D", spare=1),
        Column("run", numeric=False, whole=True),
        Column("result", numeric=False),
    )
    rows = tuple(
        (format_flops(run.budget_flops), count(run.n_params), count(run.n_tokens), run.run_id, run.status or ABSENT)
        for run in listed[:_NAMED]
    )
    more = f"... and {len(listed) - _NAMED} more" if len(listed) > _NAMED else None
    return Table(title, columns, rows, more)
