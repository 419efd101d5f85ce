"""Excel workbooks, and files of kinds that are not read."""

import gzip
import io
import pickle
import subprocess
import sys
import zipfile
from datetime import datetime

import numpy as np
import pytest

from isoflop.errors import IsoflopError
from isoflop.sources.source import Origin
from tests.field_cases import CASES, CELLS, COLUMNS, ROWS, load, notes, refusal, rows, save, table

TABLE = [list(COLUMNS), *[list(map(float, row)) for row in CELLS]]


def workbook(sheets, first_row=1, first_column=1, **parts: str) -> bytes:
    """A workbook with those sheets; `parts` replace what openpyxl writes."""
    book = pytest.importorskip("openpyxl", reason="writes and reads workbooks").Workbook()
    book.remove(book.active)
    for name, lines in sheets.items():
        sheet = book.create_sheet(name)
        for row, line in enumerate(lines, start=first_row):
            for column, value in enumerate(line, start=first_column):
                if value != "":
                    sheet.cell(row, column, value)
    file = io.BytesIO()
    book.save(file)
    with zipfile.ZipFile(file) as written:
        files = {part: written.read(part) for part in written.namelist()}
    return archive({**files, **parts})


def archive(files) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as written:
        for name, content in files.items():
            written.writestr(name, content)
    return file.getvalue()


def test_a_workbook_that_openpyxl_wrote_has_the_rows_of_the_clean_table():
    pytest.importorskip("openpyxl")
    source = load(CASES / "17-spreadsheet-exports" / "input.xlsx")
    assert [row[:4] for row in source.rows] == ROWS
    assert (source.origin, source.findings) == (Origin.WORKBOOK, ())


@pytest.mark.parametrize("name", ["runs.xlsx", "runs.csv", "runs"])
@pytest.mark.parametrize(("row", "column"), [(1, 1), (5, 3)])
def test_a_workbook_may_have_any_name_and_its_table_any_place(tmp_path, name, row, column):
    path = save(tmp_path, workbook({"Sheet1": TABLE}, row, column), name)
    assert rows(path) == ROWS
    assert notes(path) == []


def test_the_sheet_with_our_columns_is_taken_and_said(tmp_path):
    sheets = {"Notes": [["loss of what?", 1.0], ["a", 2.0]], "Runs & more": TABLE, "Empty": []}
    path = save(tmp_path, workbook(sheets))
    assert rows(path) == ROWS
    assert notes(path) == ["The table is the sheet 'Runs & more' of 3."]


def test_titles_comments_and_blank_rows_are_left_out(tmp_path):
    lines = [["My sweep"], [], ["# November"], TABLE[0], ["# the first budget"], *TABLE[1:], ["", " ", ""]]
    path = save(tmp_path, workbook({"Sheet1": lines}))
    assert rows(path) == ROWS
    assert notes(path) == ["The columns are named in row 4; what stands above is left out."]


def test_a_bad_cell_is_named_by_the_row_that_excel_shows(tmp_path):
    lines = [TABLE[0], TABLE[1], [*TABLE[2][:2], "many", 2.5]]
    assert "row 7: n_tokens = 'many'" in refusal(save(tmp_path, workbook({"a": lines}, first_row=5))).message
    lines = [TABLE[0], TABLE[1], [*TABLE[2][:2], True, 2.5]]
    assert "row 3: n_tokens = true" in refusal(save(tmp_path, workbook({"a": lines}))).message
    lines = [TABLE[0], TABLE[1], [*TABLE[2][:2], "", 2.5]]
    assert "row 3: n_tokens = null" in refusal(save(tmp_path, workbook({"a": lines}))).message


def test_columns_may_be_called_otherwise_and_numbers_be_text(tmp_path):
    lines = [["C", "N", "D", "val"], *CELLS]
    path = save(tmp_path, workbook({"a": lines}))
    assert rows(path, budget_flops="C", n_params="N", n_tokens="D", loss="val") == ROWS


def test_a_text_may_be_one_of_a_list_in_pieces_and_have_a_reading(tmp_path):
    content = workbook({"a": TABLE})
    with zipfile.ZipFile(io.BytesIO(content)) as written:
        sheet, types = (written.read(part).decode() for part in ("xl/worksheets/sheet1.xml", "[Content_Types].xml"))
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    pieces = "<si><r><t>lo</t></r><r><t>ss</t></r><rPh sb='0' eb='1'><t>x</t></rPh></si>"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    parts = {
        "xl/worksheets/sheet1.xml": sheet.replace('t="inlineStr"><is><t>loss</t></is>', 't="s"><v>0</v>'),
        "xl/sharedStrings.xml": f"<sst xmlns='{main}'>{pieces}</sst>",
        "[Content_Types].xml": types.replace(
            "</Types>", f'<Override PartName="/xl/sharedStrings.xml" ContentType="{kind}"/></Types>'
        ),
    }
    assert parts["xl/worksheets/sheet1.xml"] != sheet
    assert rows(save(tmp_path, workbook({"a": TABLE}, **parts))) == ROWS


def sheet(rows: str) -> dict[str, str]:
    """A sheet's part, as XML."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    return {"xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{rows}</sheetData></worksheet>'}


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (sheet("<row><c t='s'><v>0</v></c></row>"), "it was cut off or altered"),
        ({"xl/workbook.xml": "<workbook>"}, "it was cut off or altered"),
        (sheet("<row r='x'/>"), "it was cut off or altered"),
        (sheet("<row><c r='?'/></row>"), "it was cut off or altered"),
        (sheet("<row r='9999999999999'/>"), "it has more than 1048576 rows or 8388608 cells"),
        (sheet("<row><c r='XFD1'><v>1</v></c></row>" * 520), "it has more than 1048576 rows or 8388608 cells"),
    ],
)
def test_a_damaged_workbook_is_refused_in_one_sentence(tmp_path, parts, said):
    path = save(tmp_path, workbook({"Sheet1": TABLE}, **parts))
    assert refusal(path).message == f"{str(path)!r} cannot be read as an Excel workbook: {said}."


def test_a_date_is_no_number(tmp_path):
    lines = [TABLE[0], [*TABLE[1][:2], datetime(2026, 5, 1), 2.5]]
    assert "row 2: n_tokens = '2026-05-01 00:00:00'" in refusal(save(tmp_path, workbook({"a": lines}))).message


def test_a_formula_that_was_never_calculated_is_empty(tmp_path):
    lines = [TABLE[0], [*TABLE[1][:2], "=1+1", 2.5]]
    assert "row 2: n_tokens = null" in refusal(save(tmp_path, workbook({"a": lines}))).message


@pytest.mark.slow
def test_without_openpyxl_a_workbook_says_what_to_install(tmp_path):
    path = save(tmp_path, archive({"xl/workbook.xml": ""}), "runs.xlsx")
    code = (
        "import sys; sys.modules['openpyxl'] = None\n"
        "from isoflop.__main__ import main\n"
        "sys.argv = ['isoflop', 'fit', 'runs.xlsx']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=path.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "Error: 'runs.xlsx' is an Excel workbook, and openpyxl, which reads such files, is not installed.",
        "Hint: `pip install 'isoflop[xlsx]'`, or save the table as CSV.",
    ]


def test_a_workbook_without_cells_is_refused(tmp_path):
    assert "is an Excel workbook without cells." in refusal(save(tmp_path, workbook({"Sheet1": []}))).message


def test_a_workbook_that_grows_without_end_is_refused(tmp_path):
    sheet = "<worksheet>" + " " * (257 * 2**20)
    path = save(tmp_path, workbook({"Sheet1": TABLE}, **{"xl/worksheets/sheet1.xml": sheet}))
    assert "it unpacks to more than 256 MiB" in refusal(path).message


@pytest.mark.parametrize("seed", range(3))
def test_altered_bytes_of_a_workbook_never_alter_a_number(tmp_path, seed):
    pytest.importorskip("openpyxl")
    whole = (CASES / "17-spreadsheet-exports" / "input.xlsx").read_bytes()
    refused = 0
    for at in range(30 + seed, len(whole), 61):
        path = save(tmp_path, whole[:at] + bytes([whole[at] ^ 0x15]) + whole[at + 1 :])
        try:
            found = rows(path)
        except IsoflopError as error:
            refused += "cannot be read as" in error.message
        else:
            assert found == ROWS
    assert refused > 10


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, loss=np.ones(3))
    return file.getvalue()


def npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.ones(3))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\x00", "is a PDF document"),
        (b"%PDF-1.7\n1 0 obj", "is a PDF document"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512), "is an Excel workbook of the old kind (.xls), or one with"),
        (npz(), "is an archive of NumPy arrays (.npz)"),
        (npy(), "is a NumPy array"),
        (pickle.dumps({"loss": [1.0]}), "is a pickle"),
        (archive({"archive/data.pkl": b"\x80\x02."}), "is a file of torch's, which holds pickles"),
        (archive({"mimetype": b"", "content.xml": b"<x/>"}), "is an OpenDocument file (.ods)"),
        (archive({"xl/workbook.bin": b""}), "is a binary Excel workbook (.xlsb)"),
        (archive({"word/document.xml": b"<x/>"}), "is an Office document"),
        (archive({"__MACOSX/a": b""}), "is a ZIP archive that holds no file"),
        (archive({}), "is not a sweep file, a database"),
        (b"PK\x03\x04 and so on", "cannot be read as a ZIP archive: it was cut off or altered"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "is HDF5"),
        (b"ARROW1\x00\x00" + bytes(99), "is Arrow"),
        (b"ustar".rjust(262, b"\0") + bytes(300), "is a tar archive"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(99), "is a 7-Zip archive"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "is a PNG image"),
        (b"<!DOCTYPE html>\n<html><body>404</body></html>", "is a page of HTML or XML"),
        (b"\n<table><tr><td>loss</td></tr></table>", "is a page of HTML or XML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "is a pointer of Git LFS"),
    ],
    ids=lambda value: value.removeprefix("is ")[:20] if isinstance(value, str) else "",
)
@pytest.mark.parametrize("name", ["runs.csv", "runs"])
def test_a_file_of_another_kind_is_called_what_it_is(tmp_path, content, said, name):
    assert said in refusal(save(tmp_path, content, name)).message


def test_no_pickle_is_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return exec, ("raise SystemExit('a pickle was loaded')",)

    for content in (pickle.dumps(Bomb()), gzip.compress(pickle.dumps(Bomb()))):
        assert "is a pickle" in refusal(save(tmp_path, content, "runs.pkl")).message


def test_a_text_that_begins_like_a_binary_file_is_text(tmp_path):
    text = table(header=["ORC", *COLUMNS], cells=[["1", *row] for row in CELLS])
    assert rows(save(tmp_path, text)) == ROWS
