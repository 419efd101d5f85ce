"""A Parquet file with flipped bits or a cut: a sentence, or rows that could be its own."""

import random
import re
from pathlib import Path

import pytest

from isoflop.errors import IsoflopError
from isoflop.sources.load import load_source

pa = pytest.importorskip("pyarrow", reason="reads Parquet")

# What may be said of damage, in our words: pyarrow's name thrift, flatbuffers and levels.
SAID = {
    "cannot be read as Parquet: its last 4 bytes are not PAR1: it was cut off or altered.",
    "cannot be read as Parquet: its footer, which says where its columns are, is damaged.",
    "cannot be read as Parquet: the data of its columns are damaged.",
    f"cannot be read as Parquet: it is damaged, or written in a way that pyarrow {pa.__version__} does not read.",
}


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
            reason = error.message.removeprefix(f"{str(path)!r} ")
            assert reason in SAID or re.match(
                "lacks the column|.* is not a finite|has a header but no rows|.*: C / .6 N D. is ", reason
            )
    assert refused > 50


def test_damage_of_the_footer_is_told_from_damage_of_the_data(tmp_path: Path) -> None:
    from pyarrow import parquet

    path = tmp_path / "runs.parquet"
    parquet.write_table(pa.table({"budget_flops": [1e18], "n_params": [1e8], "n_tokens": [2e9], "loss": [2.5]}), path)
    whole = path.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")  # parquet.apache.org/docs/file-format
    for start, said in ((footer, "its footer, which says where"), (4, "the data of its columns are damaged")):
        path.write_bytes(whole[:start] + b"\xff" * 40 + whole[start + 40 :])
        with pytest.raises(IsoflopError, match=said):
            load_source(str(path), db=tmp_path / "isoflop.db", sweep=None)
