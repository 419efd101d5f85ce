"""The clean table that people's files distort, and what a file says of it."""

from pathlib import Path

import pytest

from isoflop.errors import IsoflopError
from isoflop.sources.columns.column_request import ColumnRequest
from isoflop.sources.load import load_source
from isoflop.sources.source import Source
from isoflop.sources.table_options import TableOptions

CASES = Path(__file__).parent / "data" / "cases"
BASE = CASES / "base.csv"
COLUMNS = ("budget_flops", "n_params", "n_tokens", "loss")
# As the file has them: no reader of ours between.
CELLS = [line.split(",") for line in BASE.read_text(encoding="utf-8").splitlines()[1:]]
ROWS = [tuple(map(float, cells)) for cells in CELLS]
OBJECTS = [
    dict(zip(COLUMNS, (float(c), int(n), int(d), float(loss)), strict=True)) for c, n, d, loss in CELLS
]  # numbers of JSON


def table(separator: str = ",", cells=CELLS, header=COLUMNS) -> str:
    """The table as text."""
    return "".join(separator.join(row) + "\n" for row in [header, *cells])


def save(folder: Path, content: str | bytes, name: str = "runs.csv") -> Path:
    """The file with that content."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def load(path: Path, **columns: str) -> Source:
    """The source that the file is; `columns` are theirs by ours."""
    requests = tuple(ColumnRequest(ours, theirs) for ours, theirs in columns.items())
    return load_source(str(path), db=path.parent / "isoflop.db", sweep=None, options=TableOptions(requests))


def rows(path: Path, **columns: str) -> list[tuple[float, ...]]:
    """Budget, parameters, tokens and loss of every row."""
    return [row[:4] for row in load(path, **columns).rows]


def notes(path: Path) -> list[str]:
    """What the source says of how it was read."""
    return [str(note) for f in load(path).findings if f.code == "table_read_as" for note in f.values["notes"]]


def refusal(path: Path) -> IsoflopError:
    """The error of a file that cannot be read: one sentence and a hint."""
    with pytest.raises(IsoflopError) as refused:
        load(path)
    assert refused.value.hint and "\n" not in refused.value.message
    return refused.value
