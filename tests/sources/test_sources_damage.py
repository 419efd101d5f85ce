"""A Parquet file with flipped bits or a cut: a sentence, or rows that could be its own."""

import random
from pathlib import Path

import pytest

from isoflop.errors import IsoflopError
from isoflop.sources.load import load_source

pa = pytest.importorskip("pyarrow", reason="reads Parquet")


def test_a_garbled_parquet_file_is_no_bug(tmp_path: Path) -> None:
    from pyarrow import parquet

    columns = {"budget_flops": [1e18] * 9, "n_params": [1e8 + i for i in range(9)], "n_tokens": [2e9] * 9}
    columns |= {"loss": [2.5] * 9, "tokenizer": ["bytes"] * 9}
    parquet.write_table(pa.table(columns), tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    refused = 0
    for seed in range(200):
        random_ = random.Random(seed)
        content = bytearray(whole)
        for _ in range(random_.choice([1, 3, 20])):
            content[random_.randrange(4, len(content))] ^= 1 << random_.randrange(8)
        path = tmp_path / "garbled.parquet"
        path.write_bytes(content[: random_.randrange(4, len(content))] if seed % 4 == 0 else content)
        try:
            load_source(str(path), db=tmp_path / "isoflop.db", sweep=None)
        except IsoflopError as error:
            refused += 1
            assert "\n" not in error.message
    assert refused > 50
