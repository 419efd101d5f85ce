"""Tables in other encodings, and packed ones."""

import bz2
import gzip
import io
import lzma
import subprocess
import sys
import zipfile

import pyarrow as pa
import pytest
from pyarrow import parquet

from isoflop.errors import IsoflopError
from isoflop.sources.table.packed import LARGEST_BYTES, bounded
from tests.field_cases import CELLS, COLUMNS, OBJECTS, ROWS, load, notes, refusal, rows, save, table

MARKS = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff", "utf-32-le": b"\xff\xfe\0\0", "utf-32-be": b"\0\0\xfe\xff"}
ACCENTED = table(cells=[[*row, "Zoë"] for row in CELLS], header=[*COLUMNS, "who"])


@pytest.mark.parametrize("codec", MARKS)
@pytest.mark.parametrize("text", [table(), table("\t"), ACCENTED, str(OBJECTS).replace("'", '"')])
def test_wide_text_is_told_by_its_mark(tmp_path, codec, text):
    path = save(tmp_path, MARKS[codec] + text.encode(codec), "runs.txt")
    assert rows(path) == ROWS
    assert notes(path) == [f"The text is {codec[:6].upper()}."]


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_wide_text_without_a_mark_is_told_by_its_null_bytes(tmp_path, codec):
    assert rows(save(tmp_path, ACCENTED.encode(codec))) == ROWS


def test_wide_text_that_was_cut_off_is_refused(tmp_path):
    refused = refusal(save(tmp_path, MARKS["utf-16-le"] + table().encode("utf-16-le")[:-1]))
    assert "is not the UTF-16 text that it begins as: byte" in refused.message


@pytest.mark.parametrize(("codec", "called"), [("latin-1", "Windows-1252"), ("cp1252", "Windows-1252")])
@pytest.mark.parametrize("name", ["runs.csv", "runs.txt"])
def test_text_of_eight_bits_is_read_with_a_note(tmp_path, codec, called, name):
    path = save(tmp_path, ACCENTED.encode(codec), name)
    assert rows(path) == ROWS
    assert notes(path) == [f"The text is not UTF-8 (line 2 has the byte 0xEB) and read as {called}."]


def test_bytes_that_windows_does_not_have_are_read_as_latin_1(tmp_path):
    assert rows(save(tmp_path, ACCENTED.replace("ë", "\x81").encode("latin-1"))) == ROWS


@pytest.mark.parametrize("text", ["Größe und Maß\n", "größe,maß\n1,2\n3,4\n"])
def test_text_of_eight_bits_that_is_no_table_is_refused(tmp_path, text):
    assert "not a sweep file, a database" in refusal(save(tmp_path, text.encode("latin-1"), "notes.csv")).message


def test_bytes_that_are_no_text_are_refused(tmp_path):
    assert "not a sweep file" in refusal(save(tmp_path, table().encode() + b"\x00\x01\xff\xfe" * 9, "runs.dat")).message


def zipped(content: bytes, name="runs.csv", **others: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__MACOSX/._runs.csv", b"\0\5\x16\7")
        archive.writestr(name, content)
        for other, more in others.items():
            archive.writestr(other, more)
    return file.getvalue()


def zstd(content: bytes) -> bytes:
    return pa.compress(content, codec="zstd", asbytes=True)


PACKED = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd, "zip": zipped}


def in_parquet() -> bytes:
    file = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(OBJECTS), file)
    return file.getvalue()


@pytest.mark.parametrize("ending", PACKED)
def test_packed_tables_are_read_whatever_they_are_called(tmp_path, ending):
    for name in (f"runs.csv.{ending}", "runs.csv", "runs"):
        path = save(tmp_path, PACKED[ending](table("\t").encode()), name)
        assert rows(path) == ROWS
        assert notes(path) == []
    assert rows(save(tmp_path, PACKED[ending](in_parquet()))) == ROWS
    assert rows(save(tmp_path, PACKED[ending](str(OBJECTS).replace("'", '"').encode()))) == ROWS


@pytest.mark.parametrize("ending", ["gz", "bz2", "xz", "zst"])
def test_several_packed_pieces_are_one_table(tmp_path, ending):
    first, second = table()[:200].encode(), table()[200:].encode()
    between = bytes(4) if ending == "xz" else b""  # its padding
    assert rows(save(tmp_path, PACKED[ending](first) + between + PACKED[ending](second) + between)) == ROWS


@pytest.mark.parametrize("ending", PACKED)
def test_damage_of_a_packed_table_is_one_sentence(tmp_path, ending):
    whole = PACKED[ending](table().encode())
    for length in range(6, len(whole) - 1, 7):
        assert "cannot be read as" in refusal(save(tmp_path, whole[:length])).message


@pytest.mark.parametrize("ending", ["gz", "bz2", "xz", "zip"])
def test_altered_bytes_of_a_packed_table_never_alter_a_number(tmp_path, ending):
    whole = PACKED[ending](table().encode())
    refused = 0
    for at in range(6, len(whole), 7):
        path = save(tmp_path, whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            found = rows(path)
        except IsoflopError as error:
            refused += "cannot be read as" in error.message
        else:
            assert found == ROWS  # a byte of the archive's own, such as its date
    assert refused > len(whole) // 21


@pytest.mark.parametrize("ending", PACKED)
@pytest.mark.parametrize("inner", PACKED)
def test_what_is_packed_twice_is_refused(tmp_path, ending, inner):
    message = refusal(save(tmp_path, PACKED[ending](PACKED[inner](table().encode())))).message
    assert "another compressed file" in message


@pytest.mark.parametrize("ending", PACKED)
def test_nothing_in_a_packed_file_is_said(tmp_path, ending):
    assert "is empty when unpacked" in refusal(save(tmp_path, PACKED[ending](b"\n"))).message


def test_an_archive_of_several_tables_is_refused(tmp_path):
    refused = refusal(save(tmp_path, zipped(table().encode(), other=b"x"), "runs.zip"))
    assert "runs.zip' is a ZIP archive that holds 2 files; a source is one table." in refused.message
    assert refused.hint == "Unpack it and give its tables."


@pytest.mark.slow
@pytest.mark.parametrize("ending", PACKED)
def test_a_bomb_is_refused(tmp_path, ending):
    pack, size = PACKED[ending], LARGEST_BYTES + 2**20
    # of all but ZIP parts can follow each other
    bomb = pack(bytes(size)) if ending == "zip" else pack(bytes(2**20)) * (size // 2**20)
    message = refusal(save(tmp_path, bomb, "bomb")).message
    assert message.endswith("bomb' unpacks to more than 256 MiB: no table of runs is that large.")


def test_no_more_is_unpacked_than_the_bound_and_a_piece():
    class Endless:
        read_bytes = 0

        def read(self, size: int) -> bytes:
            self.read_bytes += size
            return bytes(size)

    stream = Endless()
    with pytest.raises(IsoflopError, match="unpacks to more than 5 MiB"):
        bounded(stream, name="bomb", kind="gzip", largest=5 * 2**20)
    assert stream.read_bytes == 6 * 2**20


def test_lines_in_errors_are_those_of_the_unpacked_text(tmp_path):
    path = save(tmp_path, gzip.compress(f"\n{','.join(COLUMNS)}\n1e18,1e8,2e9,oops\n".encode()))
    assert "runs.csv', line 3: loss = 'oops'" in refusal(path).message


@pytest.mark.slow
def test_without_pyarrow_a_table_in_zstd_says_what_to_do(tmp_path):
    save(tmp_path, zstd(table().encode()), "runs.csv.zst")
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from isoflop.__main__ import main; sys.argv = ['isoflop', 'fit', 'runs.csv.zst']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines() == [
        "Error: 'runs.csv.zst' is compressed with zstd, and pyarrow, which unpacks it here, is not installed.",
        "Hint: Unpack it (`unzstd`) and give the table, or `pip install 'isoflop[parquet]'`.",
    ]


def test_a_packed_table_keeps_its_label(tmp_path):
    assert load(save(tmp_path, gzip.compress(table().encode()), "runs.csv.gz")).label == "runs.csv.gz"
