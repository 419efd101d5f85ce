"""What `clean` shows of what it found or freed."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from isoflop.artifacts.inventory import Inventory, Item, Kind, LeftAlone
from isoflop.view.clean_view import print_inventory

ARTIFACTS, DB = Path("artifacts"), Path("x.db")


def shown(n_items: int, n_left_alone: int = 0, *, freed: bool) -> str:
    items = [Item(Kind.RUN, Path(f"run-{number:02d}"), 1000 * (number + 1), ARTIFACTS) for number in range(n_items)]
    left = [LeftAlone(Path(f"odd-{number:02d}"), "it is a link") for number in range(n_left_alone)]
    console = Console(file=io.StringIO(), width=100)
    print_inventory(Inventory(tuple(items), tuple(left)), ARTIFACTS, DB, console, freed=freed)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize(("number", "more"), [(10, ""), (11, "... and 1 more"), (25, "... and 15 more")])
def test_the_ten_largest_are_named_and_the_others_counted(number: int, more: str) -> None:
    text = shown(number, freed=False)
    named = [line.split()[-1] for line in text.splitlines() if "run-" in line]
    assert named == [f"run-{index:02d}" for index in reversed(range(number))][:10]
    assert "more" not in text if not more else f"{more}\n" in text


@pytest.mark.parametrize(("number", "more"), [(10, ""), (11, "... and 1 more"), (25, "... and 15 more")])
def test_ten_that_are_left_alone_are_named_and_the_others_counted(number: int, more: str) -> None:
    text = shown(0, number, freed=False)
    assert text.count(": it is a link") == 10
    assert "more" not in text if not more else f"{more}\n" in text


def test_what_is_needed_now_is_told_from_what_was_needed_when_it_was_freed() -> None:
    before, after = shown(3, freed=False), shown(3, freed=True)
    assert before.startswith("To be freed: 6.0 kB that no sweep of x.db needs\n")
    assert "Nothing was deleted: the same command with --yes deletes 6.0 kB." in before
    assert after.startswith("Freed: 6.0 kB that no sweep of x.db needed\n")
    assert "--yes" not in after
    assert shown(0, freed=False) == "There is nothing to free in artifacts that no sweep of x.db needs.\n"
    assert shown(0, freed=True) == "There is nothing to free in artifacts that no sweep of x.db needed.\n"
