"""What is taken for text: files as real programs write them."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import random
import sqlite3
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from isoflop.corpus import open_corpus
from isoflop.corpus.sources import LARGEST_DOCUMENT
from isoflop.corpus.text import refuse_binary
from isoflop.errors import IsoflopError
from isoflop.spec import CorpusSpec, TokenizerSpec
from tests.cli.test_cli_errors import refused

TEXT = b"A line of text, and another one.\n" * 40
RANDOM = random.Random(0)


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", TEXT)
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo("a.txt")
        entry.size = len(TEXT)
        archive.addfile(entry, io.BytesIO(TEXT))
    return file.getvalue()


def saved_array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.arange(100))
    return file.getvalue()


def database() -> bytes:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("create table texts (text)")
        return connection.serialize()


def parquet() -> bytes:
    arrow, writer = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    file = io.BytesIO()
    writer.write_table(arrow.table({"text": [TEXT.decode()]}), file, compression="none")
    return file.getvalue()


def arrow_file() -> bytes:
    arrow = pytest.importorskip("pyarrow")
    file = io.BytesIO()
    table = arrow.table({"text": [TEXT.decode()]})
    with arrow.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


def zstd() -> bytes:
    return bytes(pytest.importorskip("pyarrow").compress(TEXT, "zstd"))


def png() -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")


BINARY: dict[str, tuple[Callable[[], bytes], str]] = {
    "gzip": (lambda: gzip.compress(TEXT), "begins like gzip"),
    "small gzip": (lambda: gzip.compress(b"a", mtime=1), "begins like gzip"),
    "bzip2": (lambda: bz2.compress(TEXT), "begins like bzip2"),
    "xz": (lambda: lzma.compress(TEXT), "begins like xz"),
    "zstd": (zstd, "begins like zstd"),
    "zip": (zipped, "begins like a ZIP archive"),
    "tar": (tarred, "begins like a tar archive"),
    "npy": (saved_array, "begins like a NumPy array"),
    "sqlite": (database, "begins like an SQLite database"),
    "parquet": (parquet, "begins like Parquet"),
    "arrow": (arrow_file, "begins like Arrow"),
    "png": (png, "begins like a PNG image"),
    "jpeg": (lambda: b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", "begins like a JPEG image"),
    "pdf": (lambda: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj <<>> stream\n\0\1\2", "begins like a PDF document"),
    "utf-16": (lambda: TEXT.decode().encode("utf-16"), "begins like UTF-16 text"),
    "utf-32": (lambda: TEXT.decode().encode("utf-32"), "begins like UTF-32 text"),
    "utf-16 without a mark": (lambda: TEXT.decode().encode("utf-16-le"), "byte 2 is NUL"),
    "token ids": (lambda: np.arange(1000, 2000, dtype="<u4").tobytes(), "byte 3 is NUL"),
    "pickle": (lambda: pickle.dumps([TEXT]), "is NUL"),
    "text with a NUL at its end": (lambda: TEXT + b"\0", f"byte {len(TEXT) + 1} is NUL"),
    "few random bytes": (
        lambda: bytes(RANDOM.choices(range(1, 256), k=400)),
        "it is not UTF-8 and full of control characters",
    ),
}

WORDS = "Ein längerer Satz mit Umlauten, öfter als üblich. "
PLAIN: dict[str, bytes] = {
    "ascii": TEXT,
    "utf-8": (WORDS * 30 + "日本語 русский 🙂").encode(),
    "utf-8 with a mark": WORDS.encode("utf-8-sig"),
    "latin-1": (WORDS * 30).encode("latin-1"),
    "koi8-r": ("Русский текст, в котором нет ничего особенного. " * 30).encode("koi8-r"),
    "cp1251": ("Русский текст, в котором нет ничего особенного. " * 30).encode("cp1251"),
    "shift jis": ("日本語の文章はここにあります。" * 30).encode("shift-jis"),
    "iso-2022-jp": ("日本語の文章 and English, " * 30).encode("iso2022_jp"),
    "iso-2022-kr": ("한국어 문장 and English, " * 30).encode("iso2022_kr"),
    "gb18030": ("这里有一些中文文本。" * 30).encode("gb18030"),
    "lines of DOS with its end of file": b"One line\r\nand another\r\n\x1a",
    "pages": b"Page one\n\x0cPage two\n",
    "colours of a terminal": b"\x1b[31mred\x1b[0m and \x1b[1mbold\x1b[0m\n" * 40,
    "colours of IRC": "<\x0304,01ü\x03> \x02bold\x02 \x1funder\x1f\n".encode() * 300,
    "colours of IRC in Latin-1": "<\x0304,01ü\x03> \x02fett\x02 \x1funter\x1f\x0f \x16um\x16\n".encode("latin-1") * 300,
    "one letter": b"a",
    "a text on file formats": b"PAR1 is what a Parquet file begins with, BZh a bzip2 file, %PDF- a PDF document.\n",
    "another one": b"BZh91AY&SY begins a bzip2 file.\n",
}


@pytest.mark.parametrize(("made", "said"), BINARY.values(), ids=BINARY.keys())
def test_a_binary_file_is_refused_by_its_content_with_its_path_and_format(
    tmp_path: Path, made: Callable[[], bytes], said: str
) -> None:
    """Whatever it is called, and wherever it stands among the texts."""
    (tmp_path / "texts").mkdir()
    for number in range(20):
        (tmp_path / "texts" / f"{number:02d}.txt").write_bytes(b"Text number %d.\n" % number)
    (tmp_path / "texts" / "10 binary.txt").write_bytes(made())
    spec = CorpusSpec(source="files", paths=("texts",))
    with pytest.raises(IsoflopError) as caught:
        open_corpus(spec, TokenizerSpec(), root=tmp_path / "root", base=tmp_path)
    assert f"{str(tmp_path / 'texts' / '10 binary.txt')!r} is not text: " in caught.value.message
    assert said in caught.value.message
    assert "leave the file out" in caught.value.hint
    assert not list((tmp_path / "root").rglob("*.bin"))


@pytest.mark.parametrize("text", PLAIN.values(), ids=PLAIN.keys())
def test_text_in_any_8_bit_encoding_is_trained_on_as_it_is(build, text: bytes) -> None:
    corpus = build({"a.txt": text, "b.txt": b"another document"}, heldout_fraction=0.3)
    tokens = {int(token) for side in (corpus.train, corpus.heldout) for token in side.windows([0], side.n_tokens)[0]}
    assert tokens == {*text, *b"another document", 256}


def test_a_nul_is_found_wherever_it_is_in_a_large_file(build) -> None:
    text = bytearray(b"a line of text\n" * (2 * LARGEST_DOCUMENT // 15))
    place = LARGEST_DOCUMENT + 12_345
    text[place] = 0
    with pytest.raises(IsoflopError, match=f"byte {place + 1} is NUL"):
        build({"a.txt": bytes(text)})


def test_a_part_of_a_large_file_may_begin_as_it_likes() -> None:
    refuse_binary(b"\xff\xfeis not the mark of UTF-16 here", path="a.txt", start=4096)


def test_plan_refuses_a_packed_corpus_under_another_name_and_leaves_no_trace_of_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(gzip.compress(TEXT * 1000))
    sweep = 'name = "s"\nbudgets = [1e10]\n[corpus]\nsource = "files"\npaths = ["a.txt"]\n'
    (tmp_path / "s.toml").write_text(sweep)
    said = " ".join(refused(tmp_path, "plan", "s.toml").split())
    assert "it begins like gzip" in said and "Unpack it" in said
    assert json.dumps([path.name for path in tmp_path.rglob("*.bin")]) == "[]"
