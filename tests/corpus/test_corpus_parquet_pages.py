"""Sizes of Parquet's pages as this project reads them, against what pyarrow wrote."""

import io
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from isoflop.corpus import open_corpus
from isoflop.corpus.documents import source_file
from isoflop.corpus.formats.parquet_pages import page_sizes
from isoflop.corpus.formats.parquet_records import ParquetReader
from isoflop.errors import IsoflopError
from isoflop.spec import CorpusSpec, TokenizerSpec

TEXTS = [f"text {n} " * (1 + n % 50) for n in range(5000)]


def written(**options: object) -> bytes:
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table({"id": range(len(TEXTS)), "text": TEXTS}), sink, **options)
    content: bytes = sink.getvalue().to_pybytes()
    return content


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "gzip"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_the_pages_of_a_column_add_up_to_what_the_footer_says(compression: str, version: str, dictionary: bool) -> None:
    content = written(
        compression=compression,
        data_page_version=version,
        use_dictionary=dictionary,
        row_group_size=2000,
        data_page_size=10_000,
        write_batch_size=100,
        write_page_checksum=True,
    )
    metadata = parquet.ParquetFile(pa.BufferReader(content)).metadata
    sizes = list(page_sizes(io.BytesIO(content), "text"))
    assert len(sizes) >= 6
    said = sum(metadata.row_group(number).column(1).total_uncompressed_size for number in range(3))
    # The footer counts headers, which hold two texts at most.
    assert said - 1000 * len(sizes) < sum(sizes) <= said


def test_a_page_that_says_it_unpacks_to_gigabytes_is_refused_before_it_is_reserved(tmp_path: Path) -> None:
    content = bytearray(written(compression="gzip", use_dictionary=False))
    at = parquet.ParquetFile(pa.BufferReader(bytes(content))).metadata.row_group(0).column(1).data_page_offset
    # Field 1 is a page of data (15 00); field 2 begins with 15, and its number is written over, as long as it was.
    assert content[at : at + 3] == b"\x15\x00\x15"
    end = at + 3
    while content[end] >= 0x80:
        content[end] = 0xFF
        end += 1
    content[end] = 0x7F
    (tmp_path / "x").write_bytes(content)
    spec = CorpusSpec(source="parquet", paths=("x",))
    with pytest.raises(IsoflopError) as refused:
        open_corpus(spec, TokenizerSpec(), root=tmp_path / "root", base=tmp_path)
    assert str(tmp_path / "x") in refused.value.message


def test_no_damage_of_the_footer_ends_the_process(tmp_path: Path) -> None:
    # pyarrow 26 aborts where the sizes of a damaged column are asked for.
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table({"text": ["some text", "another one"]}), sink, store_schema=False)
    content: bytes = sink.getvalue().to_pybytes()
    footer_bytes = int.from_bytes(content[-8:-4], "little")
    refused = 0
    for place in range(len(content) - 8 - footer_bytes, len(content) - 8):
        for bit in range(8):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            (tmp_path / "x").write_bytes(changed)
            try:
                list(ParquetReader("text")(source_file(tmp_path / "x", Path("x"))))
            except IsoflopError as error:
                assert str(tmp_path / "x") in error.message
                refused += 1
    assert refused > footer_bytes
