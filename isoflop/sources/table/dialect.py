"""How a text is laid out as a table: which line names the columns, and what separates the fields."""

import contextlib
import csv
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

from isoflop.sources.columns.known_names import known

# In this order where two do equally well.
_SEPARATORS = (",", "\t", ";")
# Signs that texts hold too, spaces more than bars: only where every row has as many as the header, or that is known.
_BAR, _SPACE = "|", " "
_PREFERRED = {".tsv": "\t", ".tab": "\t"}

_SAMPLED_LINES = 100
_SAMPLED_CHARACTERS = 2**20
# Titles and notes that may stand above the header without a sign.
_TITLE_LINES = 20
_SURE_COLUMNS = 3

_LINE = re.compile(r"([^\r\n]*)(\r\n|\r|\n|$)")
_EXCEL_SEPARATOR = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(\d[\d.,]*|\.\d+)(e[+-]?\d+)?|nan|[+-]?inf", re.IGNORECASE)


@dataclass(frozen=True)
class Layout:
    """Where the columns of a table are named, and what separates its fields.

    Attributes:
        separator: the sign between two fields.
        start: where in the text the header begins, behind the sign of a comment.
        line: the line that `start` is in.
        names_rows: whether rows have a field more than the header, which numbers or names them.
        keeps_signs: whether rows of all fields that begin with # are rows: their first field is a name.
        sure: whether there is no doubt that this is a table.
        notes: what a reader should know of the header, a sentence each.
    """

    separator: str
    start: int
    line: int
    names_rows: bool
    keeps_signs: bool
    sure: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Line:
    number: int
    start: int
    text: str


@dataclass(frozen=True)
class _Trial:
    """The first lines of a table, split by one sign."""

    separator: str
    header: list[str]
    rows: list[list[str]]
    known: int
    first_known: bool

    @property
    def regular(self) -> float:
        """Share of the rows that have a field for every column; one more may be empty, or name the row."""
        fitting = sum(len(row) in (len(self.header), len(self.header) + 1) for row in self.rows)
        return fitting / len(self.rows) if self.rows else 1.0

    @property
    def equal(self) -> bool:
        """Whether every row, and there are some, has exactly a field for every column."""
        return bool(self.rows) and all(len(row) == len(self.header) for row in self.rows)

    @property
    def sure(self) -> bool:
        """Whether even a sign that texts are full of is no accident."""
        return len(self.header) >= _SURE_COLUMNS and (self.known > 1 or self.equal or _names_rows(self))

    @property
    def numeric(self) -> float:
        """Share of the rows' fields that are numbers."""
        fields = [field for row in self.rows for field in row if field.strip()]
        return sum(is_numeric(field) for field in fields) / max(1, len(fields))


def layout_of(text: str, *, suffix: str, wanted: Collection[str]) -> Layout:
    """How `text` is laid out; `suffix` and `wanted` are as of `read_table`."""
    lines = _lines(text)
    first = next(lines, _Line(1, 0, ""))
    chosen = _EXCEL_SEPARATOR.fullmatch(first.text)
    if chosen:
        head = list(islice(lines, _SAMPLED_LINES))
        return _laid_out(head, [chosen[1]], wanted) if head else _laid_out([first], [","], wanted)
    preferred = _PREFERRED.get(suffix, ",")
    separators = sorted(_SEPARATORS, key=lambda sign: sign != preferred)
    return _laid_out([first, *islice(lines, _SAMPLED_LINES)], separators, wanted)


def is_numeric(field: str) -> bool:
    """Whether a field is a number in some spelling, thousands separators among them."""
    return _NUMBER.fullmatch(field.strip()) is not None


def _laid_out(head: Sequence[_Line], separators: Sequence[str], wanted: Collection[str]) -> Layout:
    """The layout of the lines `head`; comments above the header are the first of them."""
    position = next((i for i, line in enumerate(head) if not line.text.lstrip().startswith("#")), len(head) - 1)
    best = _best(head[position:], separators, wanted)
    notes: tuple[str, ...] = ()
    start, number = head[position].start, head[position].number
    if not best.known and (below := _titled(head[position:], separators, wanted)):
        position += below
        best = _best(head[position:], separators, wanted)
        start, number = head[position].start, head[position].number
        notes = (f"The columns are named in line {number}; what stands above is left out.",)
    elif position and not best.known:
        sign, names = head[position - 1], _uncommented(head[position - 1].text)
        named = _best([_Line(sign.number, 0, names), *head[position:]], separators, wanted)
        telling = named.known > 1 or (_is_data(best.header) and not _is_data(named.header))
        if len(named.header) > 1 and named.equal and telling:
            best, start, number = named, sign.start + len(sign.text) - len(names), sign.number
    comments = [row for row in _records(head[position + 1 :], best.separator) if row[0].startswith("#")]
    return Layout(
        separator=best.separator,
        start=start,
        line=number,
        names_rows=_names_rows(best),
        keeps_signs=_first_is_a_name(best, comments),
        sure=best.known > 0 or (best.sure and best.numeric >= 1 / 2),
        notes=notes,
    )


def _uncommented(line: str) -> str:
    """A line behind the sign of a comment."""
    bare = line.lstrip("#")
    return bare.lstrip(" \t") if bare[:1].isspace() else bare


def _lines(text: str) -> Iterator[_Line]:
    """The lines of `text` that are not blank, with their numbers; only its beginning."""
    for number, match in enumerate(_LINE.finditer(text, 0, _SAMPLED_CHARACTERS), start=1):
        if match[1].strip(" \t,;"):
            yield _Line(number, match.start(), match[1])


def _best(lines: Sequence[_Line], separators: Sequence[str], wanted: Collection[str]) -> _Trial:
    """The lines, the header first, split by the sign that fits best."""
    trials = [_trial(lines, sign, wanted) for sign in separators]
    if len(separators) == 1:
        return trials[0]
    bars, spaces = (_trial(lines, sign, wanted) for sign in (_BAR, _SPACE))
    several = [trial for trial in trials if len(trial.header) > 1] + ([bars] if bars.sure else [])
    if not several:
        return spaces if spaces.sure else trials[0]
    return max(several, key=lambda trial: (trial.known, trial.regular, len(trial.header)))


def _trial(lines: Sequence[_Line], separator: str, wanted: Collection[str]) -> _Trial:
    header, *rows = _records(lines, separator) or [[""]]
    header = [column.strip() for column in header]
    rows = [row for row in rows if not row[0].startswith("#") and not is_rule(row)]
    names = known(header, wanted)
    return _Trial(separator, header, rows, len(names), first_known=header[0] in names)


def _records(lines: Sequence[_Line], separator: str) -> list[list[str]]:
    """The fields of each line; of none from a field on that is endless."""
    reader = csv.reader([f"{line.text}\n" for line in lines], delimiter=separator, skipinitialspace=True)
    records: list[list[str]] = []
    with contextlib.suppress(csv.Error):
        records.extend(fields for fields in reader if fields)
    return records


def is_rule(fields: Sequence[str]) -> bool:
    """Whether a row is the line of dashes that Markdown, psql or a printed table has below its header."""
    return all(not field.strip(" -:+") for field in fields) and any("--" in field for field in fields)


def _titled(lines: Sequence[_Line], separators: Sequence[str], wanted: Collection[str]) -> int | None:
    """Which of the next lines names two of the columns that are looked for."""
    for index, line in enumerate(lines[:_TITLE_LINES]):
        if any(_trial([line], sign, wanted).known > 1 for sign in (*separators, _BAR, _SPACE)):
            return index
    return None


def _is_data(fields: Sequence[str]) -> bool:
    """Whether a line that should name the columns holds numbers only."""
    given = [field for field in fields if field.strip()]
    return bool(given) and all(map(is_numeric, given))


def _names_rows(trial: _Trial) -> bool:
    """Whether every row has a field more than the header, and the first numbers or names it (as R writes tables).

    The first name of the header has to be one that neither numbers nor names rows: else a decimal comma in the last
    field, not a row's name, may be what is too much.
    """
    if not (trial.first_known and trial.rows) or any(
        len(row) != len(trial.header) + 1 or not row[-1].strip() for row in trial.rows
    ):
        return False
    first = [row[0].strip() for row in trial.rows]
    if all(field.isdecimal() and field.isascii() and len(field) < 16 for field in first):
        return int(first[0]) in (0, 1) and all(int(after) - int(before) == 1 for before, after in pairwise(first))
    return not any(map(is_numeric, first)) and len({*first}) == len(first)


def _first_is_a_name(trial: _Trial, comments: Sequence[Sequence[str]]) -> bool:
    """Whether rows of all fields whose first begins with # are rows: others, if any, have a text there too."""
    whole = any(len(row) == len(trial.header) for row in comments)
    first = [row[0] for row in trial.rows]
    return whole and not any(map(is_numeric, first))
