"""Whether `fit` has an answer or one sentence for every table, however odd: thousands of garbled ones, in process.

    OMP_NUM_THREADS=1 python benchmarks/fuzz_tables.py [--cases 10000] [--seed 0] [--only INDEX] [--keep FOLDER]

Each table is drawn by its own seed: runs of a known surface, odd cells, columns and rows among them; written in one of
the formats, encodings and compressions; and then perhaps damaged, byte by byte. `fit` reads it, fits it, and writes its
JSON document and its report for a terminal. Anything but that or an IsoflopError is a find: another exception, a
warning of numpy's, NaN or Infinity in the document, an error of several lines, more than 20 seconds. Exits with 1 if
there are any. --keep leaves the tables that were finds in a folder.
"""

import bz2
import csv
import gzip
import io
import json
import lzma
import math
import random
import sys
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from fuzz import flipped_bits, fuzz, lost_piece, repeated_piece, what_was_raised
from rich.console import Console

from isoflop.cli.request import Request, read_and_fit
from isoflop.errors import IsoflopError
from isoflop.report.fit_document import fit_document
from isoflop.report.terminal import print_summary
from isoflop.view.document import dumps

COLUMNS = ("budget_flops", "n_params", "n_tokens", "loss")
OPTIONAL = ("loss_se", "trunk", "seed", "tokenizer", "param_count", "note", "", "Unnamed: 0", "unique_tokens", "N")
ALIASES = (
    "C",
    "flops",
    "N",
    "params",
    "D",
    "tokens",
    "val_loss",
    "Loss",
    "perplexity",
    "loss\n(nats)",
    "#",
    "\x1b[31m",
)
ODD = (
    None, "", " ", "nan", "NaN", "inf", "-inf", "null", "None", "N/A", "#N/A", "crashed", "running", "0", "-1", "1e999",
    "1e-400", "-0", "1_000", "0x10", "1,234,567", "1.234,5", "3,5", "125M", "1.4T", "2.2e19", "1e18 FLOPs", "\uff16",
    "true", "=1+1", '"', "'", "a,b", "a;b", "a\tb", "#", "# x", "\x00", "\x1b[2J", "é", "\u2028", "\U0001f600",
    "9" * 400, "9" * 5000, "1" + "0" * 308, "5e-324", "1e-100", "1e100", "1e308", "x" * 200_000, "{}", "[]", "1/0",
)  # fmt: skip
ODD_NUMBERS = (
    0, -1, 1, 10**30, 10**400, -(10**20), 2**63, 2**64, 0.0, -0.0, 1e308, 5e-324, 1e-100, 1e100, math.nan, math.inf,
    -math.inf, True, False, 1.5, 1e6, 1e-6,
)  # fmt: skip
COLUMN_REQUESTS = (
    "n_params=N", "budget_flops=6ND", "n_tokens=C/6N", "n_params=C/6D", "n_params=n_params*1e6", "n_tokens=loss/1e300",
    "budget_flops=n_params*n_tokens*6", "loss=n_params", "loss_se=loss", "loss=loss*1e308", "trunk=note", "trunk=1e18",
)  # fmt: skip
CONDITIONS = ("note=a", "note!=a", "loss<3", "loss>=3", "n_params>1e7", "absent=1", "loss=nan", "=", "tokenizer=b")

Cells = list[list[Any]]


@dataclass(frozen=True)
class Drawn:
    """One garbled table.

    Attributes:
        how: what was done to it, in words.
        name: of its file.
        request: the options of `fit`.
    """

    how: str
    name: str
    content: bytes
    request: Request

    @property
    def contents(self) -> dict[str, bytes]:
        """Its file by name."""
        return {self.name: self.content}


def drawn(seed: int, index: int, folder: Path) -> Drawn:
    """Table `index` of that seed."""
    draw = random.Random(f"{seed}-{index}")
    header, cells = _runs(draw)
    changes = [draw.choice(CHANGES) for _ in range(draw.choice((0, 0, 1, 1, 2, 4)))]
    for change in changes:
        change(draw, header, cells)
    write = draw.choice(WRITERS)
    suffix, content = write(draw, header, cells)
    if draw.random() < 0.15:
        ending, pack = draw.choice(PACKERS)
        suffix, content = suffix + ending, pack(content)
    damages = [draw.choice(DAMAGES) for _ in range(draw.choice((0, 0, 0, 1, 1, 3)))]
    for damage in damages:
        content = damage(draw, content)
    suffix = (
        suffix if draw.random() < 0.9 else draw.choice(("", ".csv", ".txt", ".json", ".jsonl", ".parquet", ".xlsx"))
    )
    steps = [one.__name__.strip("_") for one in (*changes, write, *damages)]
    return Drawn(", ".join(steps), f"runs{suffix}", content, _request(draw, folder))


def _request(draw: random.Random, folder: Path) -> Request:
    return Request(
        db=folder / "isoflop.db",
        columns=[draw.choice(COLUMN_REQUESTS)] if draw.random() < 0.1 else [],
        where=[draw.choice(CONDITIONS)] if draw.random() < 0.05 else [],
        group=draw.choice(("note", "tokenizer", "loss", "absent")) if draw.random() < 0.03 else None,
        loss_unit=draw.choice(("nats", "bits", "bits-per-byte", "perplexity")) if draw.random() < 0.1 else None,
        higher_is_better=draw.random() < 0.05,
        unit_check=draw.random() < 0.8,
        budget_tolerance=draw.choice((0.0, 0.02, 0.5)) if draw.random() < 0.1 else None,
        targets=[f"1e{draw.randint(15, 25)}"] if draw.random() < 0.5 else [],
        window=0.6 if draw.random() < 0.15 else None,
        suggest=draw.choice((0, 0, 0, 0, 3)),
    )


def _runs(draw: random.Random) -> tuple[list[str], Cells]:
    """Runs of a Chinchilla-like surface at a few budgets."""
    n_budgets, n_sizes = draw.choice((1, 2, 3, 3, 4, 6)), draw.choice((1, 3, 5, 6, 7, 9))
    noise, scatter = draw.choice((0, 1e-3, 1e-2)), draw.choice((0, 0, 0, 0.01, 0.2))
    cells: Cells = []
    for i in range(n_budgets):
        budget = float(f"{10 ** (17 + 0.5 * i):.3g}")
        for j in range(n_sizes):
            n = round((budget / 6 / 20) ** 0.5 * 10 ** (0.25 * (j - n_sizes / 2)))
            d = round(budget / 6 / n)
            loss = (1.7 + 400 / n**0.34 + 410 / d**0.28) * (1 + noise * draw.gauss(0, 1))
            cells.append([budget * (1 + scatter * draw.uniform(-1, 1)), n, d, round(loss, 4)])
    return list(COLUMNS), cells


def _odd(draw: random.Random) -> Any:
    return draw.choice(ODD) if draw.random() < 0.6 else draw.choice(ODD_NUMBERS)


def _odd_cells(draw: random.Random, header: list[str], cells: Cells) -> None:
    for _ in range(draw.choice((1, 1, 3, 10))):
        row = draw.choice(cells)
        row[draw.randrange(len(row))] = _odd(draw)


def _odd_column(draw: random.Random, header: list[str], cells: Cells) -> None:
    column, value = draw.randrange(len(header)), _odd(draw)
    for row in cells:
        row[column] = value


def _swapped_cells(draw: random.Random, header: list[str], cells: Cells) -> None:
    for _ in range(draw.choice((1, 5))):
        one, other = draw.choice(cells), draw.choice(cells)
        i, j = draw.randrange(len(header)), draw.randrange(len(header))
        one[i], other[j] = other[j], one[i]


def _swapped_columns(draw: random.Random, header: list[str], cells: Cells) -> None:
    i, j = draw.randrange(len(header)), draw.randrange(len(header))
    header[i], header[j] = header[j], header[i]


def _scaled_column(draw: random.Random, header: list[str], cells: Cells) -> None:
    column, factor = draw.randrange(len(header)), 10.0 ** draw.choice((-80, -18, -9, -6, -3, 3, 6, 9, 18, 80))
    for row in cells:
        if isinstance(row[column], int | float):
            try:
                row[column] = row[column] * factor * draw.choice((1, 1, 1, -1))
            except OverflowError:
                row[column] = math.inf


def _constant_column(draw: random.Random, header: list[str], cells: Cells) -> None:
    column = draw.randrange(len(header))
    for row in cells:
        row[column] = cells[0][column]


def _lost_column(draw: random.Random, header: list[str], cells: Cells) -> None:
    if len(header) > 1:
        column = draw.randrange(len(header))
        del header[column]
        for row in cells:
            del row[column]


def _added_column(draw: random.Random, header: list[str], cells: Cells) -> None:
    header.append(draw.choice(OPTIONAL))
    kind = draw.randrange(4)
    for index, row in enumerate(cells):
        row.append((index, _odd(draw), draw.choice("abc"), 10.0 ** draw.randint(-4, 12))[kind])


def _renamed_column(draw: random.Random, header: list[str], cells: Cells) -> None:
    header[draw.randrange(len(header))] = draw.choice((*ALIASES, *COLUMNS))


def _repeated_rows(draw: random.Random, header: list[str], cells: Cells) -> None:
    cells.extend(list(row) for row in draw.choices(cells, k=draw.choice((1, len(cells)))))


def _lost_rows(draw: random.Random, header: list[str], cells: Cells) -> None:
    del cells[draw.randrange(1, len(cells) + 1) :]


def _shuffled_rows(draw: random.Random, header: list[str], cells: Cells) -> None:
    draw.shuffle(cells)


CHANGES: tuple[Callable[[random.Random, list[str], Cells], None], ...] = (
    _odd_cells, _odd_cells, _odd_column, _swapped_cells, _swapped_columns, _scaled_column, _constant_column,
    _lost_column, _added_column, _added_column, _renamed_column, _repeated_rows, _lost_rows, _shuffled_rows,
)  # fmt: skip


def _csv(draw: random.Random, header: list[str], cells: Cells) -> tuple[str, bytes]:
    sign = draw.choice((",", ",", "\t", ";", "|", " "))
    file = io.StringIO(newline="")
    end = draw.choice(("\n", "\n", "\r\n", "\r"))
    quoting = draw.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    written = csv.writer(file, delimiter=sign, lineterminator=end, quoting=quoting)
    commas = sign in ";\t" and draw.random() < 0.5
    file.write(draw.choice(("", "", "", "# a comment\n", f"sep={sign}\n", "\n\n", "A title\n")))
    written.writerow(header)
    for row in cells:
        shown = ["" if cell is None else str(cell) for cell in row]
        written.writerow([cell.replace(".", ",") for cell in shown] if commas else shown)
        if draw.random() < 0.01:
            file.write(draw.choice((end, f"# note{end}", f"{sign}{sign}{end}")))
    encoding = draw.choice(("utf-8",) * 5 + ("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252"))
    return draw.choice((".csv", ".csv", ".tsv", ".txt")), file.getvalue().encode(encoding, "replace")


def _json(draw: random.Random, header: list[str], cells: Cells) -> tuple[str, bytes]:
    objects = [dict(zip(header, row, strict=True)) for row in cells]
    shape = draw.randrange(10)
    if shape < 3:
        return draw.choice((".jsonl", ".json", ".txt")), "\n".join(map(json.dumps, objects)).encode()
    names = [f"run-{index}" if shape % 2 else str(index) for index in range(len(objects))]
    nested = [{"config": row, "summary": {"loss": row.get("loss")}, "budget_flops": 1e18} for row in objects]
    document = {
        3: objects,
        4: dict(zip(names, objects, strict=True)),
        5: dict(zip(names, objects, strict=True)),
        6: {column: {name: row[column] for name, row in zip(names, objects, strict=True)} for column in header},
        7: {column: [row[i] for row in cells] for i, column in enumerate(header)},
        8: {"columns": header, "index": list(range(len(cells))), "data": cells},
        9: draw.choice(({"runs": objects}, {"meta": {"a": 1}, "runs": objects}, nested)),
    }[shape]
    return ".json", json.dumps(document, indent=draw.choice((None, None, 2))).encode()


def _parquet(draw: random.Random, header: list[str], cells: Cells) -> tuple[str, bytes]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        return _csv(draw, header, cells)
    columns = [[row[i] for row in cells] for i in range(len(header))]
    file = io.BytesIO()
    parquet.write_table(pa.Table.from_arrays([_array(pa, column) for column in columns], names=header), file)
    return ".parquet", file.getvalue()


def _array(pa: Any, column: Sequence[Any]) -> Any:
    try:
        return pa.array(column)
    except (pa.ArrowException, OverflowError, TypeError):
        return pa.array([None if cell is None else str(cell) for cell in column])


def _xlsx(draw: random.Random, header: list[str], cells: Cells) -> tuple[str, bytes]:
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    reference = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"
    rows = "".join(f"<row>{''.join(map(_cell, row))}</row>" for row in [header, *cells])
    sheets = '<sheets><sheet name="A" sheetId="1" r:id="r1"/></sheets>'
    relation = f'<Relationship Id="r1" Type="{reference}/worksheet" Target="s.xml"/>'
    files = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
        f'<Override PartName="/xl/workbook.xml" ContentType="{kind}"/></Types>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{reference}">{sheets}</workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">{relation}</Relationships>',
        "xl/s.xml": f'<worksheet xmlns="{main}"><sheetData>{rows}</sheetData></worksheet>',
    }
    if draw.random() < 0.4:  # damage below the checksums, where the parser meets it
        name = draw.choice(list(files))
        damaged = draw.choice(DAMAGES)(draw, files[name].encode())
        return ".xlsx", _zipped({**files, name: damaged})
    return ".xlsx", _zipped(files)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return f'<c t="b"><v>{int(value)}</v></c>'
    if isinstance(value, int | float):
        return f"<c><v>{value}</v></c>"
    if value is None:
        return "<c/>"
    return f'<c t="inlineStr"><is><t>{escape("".join(sign for sign in value if sign >= " "))}</t></is></c>'


def _zipped(files: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


WRITERS = (_csv, _csv, _csv, _json, _json, _parquet, _xlsx)
PACKERS: tuple[tuple[str, Callable[[bytes], bytes]], ...] = (
    (".gz", gzip.compress),
    (".bz2", bz2.compress),
    (".xz", lzma.compress),
    (".zip", lambda content: _zipped({"runs.csv": content})),
)


def _cut_off(draw: random.Random, content: bytes) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def _added_bytes(draw: random.Random, content: bytes) -> bytes:
    start = draw.randrange(len(content) + 1)
    pieces = (
        draw.randbytes(5),
        b"\0",
        b"\xff\xfe",
        b'"',
        b"#",
        b"\r",
        b"\n",
        b",",
        b";",
        b"{",
        b"[" * 3000,
        b"\x1f\x8b",
        b"1e999",
    )
    return content[:start] + draw.choice(pieces) + content[start:]


DAMAGES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    flipped_bits, _cut_off, lost_piece, repeated_piece, _added_bytes,
)  # fmt: skip


def why_wrong(table: Drawn, folder: Path) -> tuple[str | None, str]:
    """What is wrong with what `fit` makes of a table, None for nothing; and `answered`, or the error it gave."""
    path = folder / table.name
    path.write_bytes(table.content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            summary = read_and_fit([str(path)], table.request)
            text = dumps(fit_document(summary))
            print_summary(summary, Console(file=io.StringIO(), width=100))
        json.loads(text, parse_constant=_refuse)
    except IsoflopError as error:
        lines = error.message.count("\n") + error.hint.count("\n")
        return ("an error of several lines" if lines or not error.hint else None), error.message
    except Exception as error:  # every kind is a find
        return what_was_raised(error)
    return None, "answered"


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} in JSON")


if __name__ == "__main__":
    description = (__doc__ or "").partition("\n")[0]
    sys.exit(fuzz(description, accepted="answered", drawn=drawn, why_wrong=why_wrong))
