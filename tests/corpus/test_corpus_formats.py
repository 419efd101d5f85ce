"""The same documents through every format, and what is said of files that are not of theirs."""

import bz2
import gzip
import json
import lzma
import os
import pickle
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from isoflop.corpus import Corpus, Manifest, count_corpus, open_corpus
from isoflop.corpus.formats import unpacking
from isoflop.corpus.formats.plain_text import LARGEST_DOCUMENT
from isoflop.corpus.sources import find_source
from isoflop.errors import IsoflopError
from isoflop.spec import CorpusSpec, TokenizerSpec

# In alphabetical order of the files they are put in, as records keep their order.
DOCUMENTS = [f"Document {n:03d} has a line of its own.\nÄ word of {n * n}.\n" * (1 + n % 3) for n in range(120)]


def zstd(content: bytes) -> bytes:
    packed: bytes = pa.compress(content, codec="zstd", asbytes=True)
    return packed


PACK: Mapping[str, Callable[[bytes], bytes]] = {
    ".gz": lambda content: gzip.compress(content, 1),
    ".zst": zstd,
    ".xz": lambda content: lzma.compress(content, preset=0),
    ".bz2": bz2.compress,
}


def lines(texts: Sequence[object], field: str = "text") -> bytes:
    return b"".join(json.dumps({"id": 7, field: text}).encode() + b"\n" for text in texts)


def table(texts: Sequence[object], field: str = "text", kind: pa.DataType | None = None) -> pa.Table:
    return pa.table({"id": pa.array(range(len(texts))), field: pa.array(texts, kind or pa.string())})


def save_to_disk(folder: Path, content: pa.Table, n_shards: int = 2) -> None:
    """The layout of `datasets` 5.2: IPC streams of up to 1000 rows a batch, and two JSON files beside them."""
    folder.mkdir(parents=True)
    rows = -(-content.num_rows // n_shards)
    for shard in range(n_shards):
        path = folder / f"data-{shard:05d}-of-{n_shards:05d}.arrow"
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, content.schema) as stream:
            stream.write_table(content.slice(shard * rows, rows), max_chunksize=1000)
    (folder / "state.json").write_text("{}")
    (folder / "dataset_info.json").write_text("{}")
    shutil.copy(path, folder / "cache-0123.arrow")


def ipc_file(path: Path, content: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, content.schema) as stream:
        stream.write_table(content, max_chunksize=7)


def opened(base: Path, **keys: object) -> Corpus:
    spec = CorpusSpec.model_validate({"heldout_fraction": 0.2, **keys})
    return open_corpus(spec, TokenizerSpec(), root=base / "root", base=base)


def _text_files(base: Path) -> dict[str, object]:
    for n, text in enumerate(DOCUMENTS):
        (base / f"{n:03d}.txt").write_text(text)
    return {"source": "files"}


def _packed_files(suffix: str) -> Callable[[Path], dict[str, object]]:
    def write(base: Path) -> dict[str, object]:
        for n, text in enumerate(DOCUMENTS):
            (base / f"{n:03d}.txt{suffix}").write_bytes(PACK[suffix](text.encode()))
        return {"source": "files", "pattern": "**/*.txt*"}

    return write


def _json_lines(suffix: str) -> Callable[[Path], dict[str, object]]:
    def write(base: Path) -> dict[str, object]:
        pack = PACK.get(suffix, lambda content: content)
        (base / f"a.jsonl{suffix}").write_bytes(pack(lines([*DOCUMENTS[:50], None, ""])))
        (base / f"b.jsonl{suffix}").write_bytes(pack(b"\n" + lines(DOCUMENTS[50:])))
        return {"source": "jsonl"}

    return write


def _parquet(kind: pa.DataType, **options: object) -> Callable[[Path], dict[str, object]]:
    def write(base: Path) -> dict[str, object]:
        parquet.write_table(table([*DOCUMENTS, None, ""], "content", kind), base / "a.parquet", **options)
        return {"source": "parquet", "field": "content"}

    return write


def _saved(kind: pa.DataType) -> Callable[[Path], dict[str, object]]:
    def write(base: Path) -> dict[str, object]:
        save_to_disk(base / "train", table([None, *DOCUMENTS, ""], kind=kind))
        return {"source": "arrow"}

    return write


def _ipc_file(base: Path) -> dict[str, object]:
    ipc_file(base / "data-0.arrow", table(["", *DOCUMENTS, None]))
    return {"source": "arrow"}


WRITERS: Mapping[str, Callable[[Path], dict[str, object]]] = {
    **{f"text {suffix}": _packed_files(suffix) for suffix in PACK},
    **{f"JSON lines {suffix}": _json_lines(suffix) for suffix in ("", *PACK)},
    "Parquet snappy": _parquet(pa.string(), row_group_size=17),
    "Parquet zstd, large": _parquet(pa.large_string(), compression="zstd"),
    "Parquet dictionary": _parquet(pa.dictionary(pa.int32(), pa.string())),
    "save_to_disk": _saved(pa.string()),
    "save_to_disk, views": _saved(pa.string_view()),
    "save_to_disk, dictionary": _saved(pa.dictionary(pa.int16(), pa.large_string())),
    "Arrow file": _ipc_file,
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    base = tmp_path_factory.mktemp("plain")
    (base / "texts").mkdir()
    return opened(base, paths=["texts"], **_text_files(base / "texts")).manifest


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
def test_the_same_documents_give_the_same_corpus_whatever_the_format(
    tmp_path: Path, plain: Manifest, write: Callable[[Path], dict[str, object]]
) -> None:
    (tmp_path / "texts").mkdir()
    keys = write(tmp_path / "texts")
    manifest = opened(tmp_path, paths=["texts"], **keys).manifest
    assert manifest.fingerprint == plain.fingerprint
    assert (manifest.n_documents, manifest.n_train_bytes) == (plain.n_documents, plain.n_train_bytes)
    assert manifest.n_empty_dropped == (0 if keys["source"] == "files" else 2)
    assert manifest.facts.documents is not None
    assert manifest.facts.documents.n_empty == manifest.n_empty_dropped


@pytest.mark.parametrize("suffix", PACK)
def test_a_large_packed_file_is_cut_where_the_plain_one_is(tmp_path: Path, suffix: str) -> None:
    content = b"".join(b"Line number %d of a large file.\n" % (n * n) for n in range(40_000))
    assert len(content) > LARGEST_DOCUMENT
    (tmp_path / "a.txt").write_bytes(content)
    (tmp_path / f"b.txt{suffix}").write_bytes(PACK[suffix](content[:700_000]) + PACK[suffix](content[700_000:]))
    manifests = [opened(tmp_path, source="files", paths=[name]).manifest for name in ("a.txt", f"b.txt{suffix}")]
    assert manifests[0].fingerprint == manifests[1].fingerprint
    assert manifests[0].n_documents == manifests[1].n_documents >= 64


def damaged(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


SAID_OF_JSON = [
    pytest.param(b"{", "'x.jsonl', line 1 is not JSON", id="half an object"),
    pytest.param(lines(["a"]) + b"[1]\n", "line 2 is a list, not an object with the field 'text'", id="a list"),
    pytest.param(b'"a"\n', "line 1 is text, not an object", id="a text"),
    pytest.param(b"null\n", "line 1 is null, not an object", id="null"),
    pytest.param(lines(["a"], "body"), "line 1 has no field 'text': it has 'id', 'body'", id="another field"),
    pytest.param(lines(["a", 7]), "line 2: 'text' is a number, not text", id="a number"),
    pytest.param(lines([["a"]]), "line 1: 'text' is a list, not text", id="nested"),
    pytest.param(lines([True]), "line 1: 'text' is true or false, not text", id="a truth"),
    pytest.param(b"[" * 200_000, "line 1 is nested too deeply", id="deep"),
    pytest.param(b'{"text": "\xff"}', "line 1 is not JSON: it is not UTF-8", id="not UTF-8"),
    pytest.param(b'{"text": ' + b"9" * 5000 + b"}", "line 1 is not JSON", id="an endless number"),
    pytest.param(lines([None, ""]), "has no text: its 2 records are null or empty", id="no text"),
    pytest.param(b"\n\n", "has no text: its files have no record", id="blank lines"),
]


@pytest.mark.parametrize(("content", "said"), SAID_OF_JSON)
def test_lines_that_are_not_records_with_text_are_named_with_their_place(
    tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "x.jsonl").write_bytes(content)
    with pytest.raises(IsoflopError) as refused:
        opened(tmp_path, source="jsonl", paths=["x.jsonl"])
    assert said in refused.value.message.replace(f"{tmp_path}{os.sep}", "")
    assert not list((tmp_path / "root").rglob("*.bin"))


def test_half_of_a_surrogate_pair_is_kept_as_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'{"text": "a\\ud800b"}\n{"text": "c"}\n')
    assert opened(tmp_path, source="jsonl", paths=["x.jsonl"]).manifest.n_train_bytes in (1, 5)


COLUMNS = [
    pytest.param(table(["a"], "body"), "has no column 'text': it has 'id', 'body'", id="another column"),
    pytest.param(table([["a"]], kind=pa.list_(pa.string())), "'text' is a column of type list<", id="a list"),
    pytest.param(table([{"a": "b"}], kind=pa.struct({"a": pa.string()})), "of type struct<a: string>", id="a struct"),
    pytest.param(table([7], kind=pa.int64()), "'text' is a column of type int64, not text", id="numbers"),
    pytest.param(table([b"a"], kind=pa.binary()), "'text' is a column of type binary, not text", id="bytes"),
]


@pytest.mark.parametrize("source", ["parquet", "arrow"])
@pytest.mark.parametrize(("content", "said"), COLUMNS)
def test_columns_without_text_are_named_with_what_there_is(
    tmp_path: Path, source: str, content: pa.Table, said: str
) -> None:
    if source == "parquet":
        parquet.write_table(content, tmp_path / "x")
    else:
        ipc_file(tmp_path / "x", content)
    with pytest.raises(IsoflopError) as refused:
        opened(tmp_path, source=source, paths=["x"])
    assert said in refused.value.message and str(tmp_path / "x") in refused.value.message


def _stream(content: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, content.schema) as stream:
        stream.write_table(content, max_chunksize=10)
    return sink.getvalue().to_pybytes()


def _parquet_bytes() -> bytes:
    sink = pa.BufferOutputStream()
    parquet.write_table(table(DOCUMENTS), sink)
    return sink.getvalue().to_pybytes()


CUT_OFF = {
    **{suffix: ("files", f"x{suffix}", damaged(pack("".join(DOCUMENTS).encode()))) for suffix, pack in PACK.items()},
    "JSON lines": ("jsonl", "x.jsonl", lines(DOCUMENTS)[:-9]),
    "JSON lines .gz": ("jsonl", "x.jsonl.gz", damaged(gzip.compress(lines(DOCUMENTS)))),
    "Parquet": ("parquet", "x", damaged(_parquet_bytes())),
    "stream": ("arrow", "x", damaged(_stream(table(DOCUMENTS)))),
    "stream, between two batches": ("arrow", "x", _stream(table(DOCUMENTS))[:-8]),
    "hardly begun": ("arrow", "x", b"\xff\xff"),
    "not Parquet": ("parquet", "x", b"text\n" * 100),
    "not gzip": ("files", "x.gz", b"text\n" * 100),
    "not zstd": ("files", "x.zst", b"text\n" * 100),
    "not xz": ("files", "x.xz", b"text\n" * 100),
}


@pytest.mark.parametrize(("source", "name", "content"), CUT_OFF.values(), ids=CUT_OFF.keys())
def test_a_file_that_was_cut_off_is_no_corpus(tmp_path: Path, source: str, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(IsoflopError) as refused:
        opened(tmp_path, source=source, paths=[name])
    said = refused.value.message
    assert str(tmp_path / name) in said and "\n" not in said and refused.value.hint
    assert not list((tmp_path / "root").rglob("*.bin"))


@pytest.mark.parametrize("suffix", PACK)
def test_a_packed_file_that_unpacks_to_far_more_than_its_size_is_refused(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "SMALL_BYTES", 1 << 20)
    (tmp_path / f"x{suffix}").write_bytes(PACK[suffix](b"a\n" * (1 << 20)))
    with pytest.raises(IsoflopError, match="over 200 times as much"):
        opened(tmp_path, source="files", paths=[f"x{suffix}"])


def test_a_column_that_unpacks_to_far_more_than_its_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "SMALL_BYTES", 1 << 20)
    parquet.write_table(table(["a" * 10_000] * 1000), tmp_path / "x")
    with pytest.raises(IsoflopError, match="over 200 times as much"):
        opened(tmp_path, source="parquet", paths=["x"])


@pytest.mark.parametrize("write", [_json_lines(".gz"), _parquet(pa.string()), _saved(pa.string())])
def test_a_file_that_changed_is_read_again(tmp_path: Path, write: Callable[[Path], dict[str, object]]) -> None:
    (tmp_path / "texts").mkdir()
    keys = write(tmp_path / "texts")
    first = opened(tmp_path, paths=["texts"], **keys).manifest
    shutil.rmtree(tmp_path / "texts")
    (tmp_path / "texts").mkdir()
    DOCUMENTS.append("One more document.\n")
    try:
        write(tmp_path / "texts")
    finally:
        DOCUMENTS.pop()
    second = opened(tmp_path, paths=["texts"], **keys).manifest
    assert second.n_documents == first.n_documents + 1
    assert second.fingerprint != first.fingerprint


def test_a_dry_count_of_records_is_that_of_the_corpus(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    keys = _json_lines(".xz")(tmp_path / "texts")
    spec = CorpusSpec.model_validate({"heldout_fraction": 0.2, "paths": ["texts"], **keys})
    counted = count_corpus(spec, TokenizerSpec(), root=tmp_path / "root", base=tmp_path)
    assert not (tmp_path / "root").exists()
    assert counted == opened(tmp_path, paths=["texts"], **keys).facts


def test_a_parquet_file_that_says_it_is_a_bomb_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "SMALL_BYTES", 1 << 20)
    content = table([f"{n:06d}" + "a" * 20_000 for n in range(300)])
    parquet.write_table(content, tmp_path / "x", use_dictionary=False, compression="zstd")
    with pytest.raises(IsoflopError, match="unpacks to more than 5 MiB, over 200 times as much"):
        opened(tmp_path, source="parquet", paths=["x"])


@pytest.mark.parametrize(
    ("source", "said"),
    [("parquet", "is not Parquet: it does not begin with PAR1"), ("arrow", "is not Arrow, or was cut off")],
)
def test_a_text_that_is_taken_for_records_is_told_from_damaged_ones(tmp_path: Path, source: str, said: str) -> None:
    (tmp_path / "x").write_text("A text, whatever its name says.\n")
    with pytest.raises(IsoflopError, match=said):
        opened(tmp_path, source=source, paths=["x"])


def test_readers_of_every_format_can_be_sent_to_another_process(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("text")
    for source in ("files", "jsonl", "parquet", "arrow"):
        spec = CorpusSpec.model_validate({"source": source, "paths": ["x"]})
        mixed = CorpusSpec.model_validate({"mix": [{"source": source, "paths": ["x"], "weight": 1}, {"weight": 1}]})
        for one in (spec, mixed):
            found = find_source(one, base=tmp_path)
            assert pickle.loads(pickle.dumps(found)).files == found.files
