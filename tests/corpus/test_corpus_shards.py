from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isoflop.corpus.shards import TokenWriter, map_tokens
from isoflop.corpus.tokenizers.tokenizer import TokenDtype, token_dtype

NARROW, WIDE = token_dtype(257), token_dtype(100_000)


@pytest.mark.parametrize("dtype", [NARROW, WIDE], ids=str)
@given(pieces=st.lists(st.integers(0, 40), min_size=1, max_size=8).filter(any), max_tokens=st.integers(1, 50))
def test_what_is_written_in_pieces_is_read_as_one_stream(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[int], max_tokens: int, dtype: TokenDtype
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    tokens = np.arange(sum(pieces)) + 2 ** (8 * dtype.itemsize) - 400  # the largest that fit
    with TokenWriter(folder, "train", dtype, max_tokens=max_tokens) as writer:
        for piece in np.split(tokens, np.cumsum(pieces)[:-1]):
            writer.write(piece)
    assert all(n == max_tokens for n in writer.shard_tokens[:-1])
    stream = map_tokens(folder, "train", writer.shard_tokens, dtype)
    assert stream.n_tokens == len(tokens)
    assert stream.n_bytes == dtype.itemsize * len(tokens)
    parts = list(stream.pieces())
    assert [start for start, _ in parts] == list(stream.starts)
    assert np.array_equal(np.concatenate([part for _, part in parts]), tokens)
    assert {part.dtype for _, part in parts} == {dtype.newbyteorder("=")}
    length = min(7, len(tokens))
    starts = range(len(tokens) - length + 1)
    expected = np.lib.stride_tricks.sliding_window_view(tokens, length)
    assert np.array_equal(stream.windows(starts, length), expected)


def test_the_digest_does_not_depend_on_where_shards_are_cut(tmp_path: Path) -> None:
    tokens = np.arange(100, dtype=np.uint16)
    digests = set()
    for max_tokens in (7, 1000):
        folder = tmp_path / str(max_tokens)
        folder.mkdir()
        with TokenWriter(folder, "train", NARROW, max_tokens=max_tokens) as writer:
            writer.write(tokens)
        digests.add(writer.digest)
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("dtype", "on_disk"),
    [(NARROW, b"\x01\x00\x00\x01"), (WIDE, b"\x01\x00\x00\x00\x00\x01\x00\x00")],
    ids=["narrow", "wide"],
)
def test_tokens_are_little_endian_on_disk(tmp_path: Path, dtype: TokenDtype, on_disk: bytes) -> None:
    with TokenWriter(tmp_path, "train", dtype) as writer:
        writer.write(np.array([1, 256], ">u2"))
    assert (tmp_path / "train-00000.bin").read_bytes() == on_disk


def test_a_piece_of_a_stream_is_a_copy_that_may_be_written_to(tmp_path: Path) -> None:
    with TokenWriter(tmp_path, "train", NARROW) as writer:
        writer.write(np.arange(10, dtype=np.uint16))
    stream = map_tokens(tmp_path, "train", [10], NARROW)
    [(_, piece)] = stream.pieces()
    piece[:] = 7
    assert stream.windows([0], 10)[0].tolist() == list(range(10))


@pytest.mark.parametrize("start", [-1, 6], ids=["before", "beyond"])
def test_a_window_outside_the_stream_is_a_bug_of_the_caller(tmp_path: Path, start: int) -> None:
    with TokenWriter(tmp_path, "train", NARROW) as writer:
        writer.write(np.arange(10, dtype=np.uint16))
    stream = map_tokens(tmp_path, "train", [10], NARROW)
    with pytest.raises(ValueError, match="leaves a stream of 10 tokens"):
        stream.windows([start], 5)
