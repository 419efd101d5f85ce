"""Tables as people write them: what a minimal clean one becomes, and what reading it says."""

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest

from isoflop.errors import IsoflopError
from isoflop.finding import Finding
from isoflop.fit import Question
from isoflop.sources.columns.column_request import parse_columns
from isoflop.sources.columns.conditions import parse_where
from isoflop.sources.columns.header import OPTIONAL, REQUIRED
from isoflop.sources.grouping import Grouping, grouped
from isoflop.sources.load import load_each, load_sources
from isoflop.sources.source import Pool, Source, fit_source
from isoflop.sources.table_options import TableOptions
from tests.report_examples import DATA

CASES = DATA / "cases"
BASE = CASES / "base.csv"
with BASE.open() as _file:
    RUNS = [tuple(float(row[name]) for name in REQUIRED) for row in csv.DictReader(_file)]


def case(number: int, name: str = "input.csv") -> str:
    [folder] = CASES.glob(f"{number:02d}-*")
    return str(folder / name)


def write(folder: Path, header: Sequence[str], rows: Sequence[Sequence[object]], name: str = "runs.csv") -> str:
    with (folder / name).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return str(folder / name)


def options(columns: Sequence[str] = (), where: Sequence[str] = (), **others) -> TableOptions:
    return TableOptions(columns=parse_columns(columns, REQUIRED + OPTIONAL), where=parse_where(where), **others)


def load(*sources: str, **others) -> Source | Pool:
    return load_sources(sources, db=Path("none.db"), sweep=None, options=options(**others))


def each(*sources: str, **others) -> list[Source]:
    return load_each(sources, db=Path("none.db"), sweep=None, options=options(**others))


def refusal(*sources: str, **others) -> IsoflopError:
    with pytest.raises(IsoflopError) as refused:
        load(*sources, **others)
    assert refused.value.hint and "\n" not in refused.value.message + refused.value.hint
    return refused.value


def finding(source: Source | Pool, code: str) -> Finding:
    [found] = [one for one in source.findings if one.code == code]
    return found


def codes(source: Source | Pool) -> set[str]:
    return {one.code for one in source.findings}


def exponents(source: Source | Pool) -> tuple[float, float]:
    """a and b of the parabolas, as a fit of the source reads its budgets."""
    frontier = fit_source(grouped(source, Grouping()), Question()).frontier
    assert frontier is not None
    return frontier.exponent_a, frontier.exponent_b


# numpy.polyfit of base.csv, budget by budget: floors 114.1M, 250.0M, 539.6M.
BASE_A, BASE_B = 0.49556, 0.50444
