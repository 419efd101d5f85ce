import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from isoflop.corpus import batch, batch_starts, heldout_sequences
from isoflop.corpus.order import window_order
from isoflop.errors import IsoflopError

TEXTS = {f"{n}.txt": b"this is document %d\n" % n for n in range(300)}


@given(n_windows=st.integers(1, 3000), seed=st.integers(0, 2**70), epoch=st.integers(0, 1000))
@example(n_windows=1, seed=0, epoch=0)
@example(n_windows=2, seed=0, epoch=0)
def test_an_order_visits_every_window_once(n_windows: int, seed: int, epoch: int) -> None:
    order = window_order(n_windows, seed=seed, epoch=epoch)
    assert np.array_equal(np.sort(order.at(np.arange(n_windows))), np.arange(n_windows))


@given(n_windows=st.integers(10**6, 10**10), data=st.data())
def test_the_order_of_a_huge_corpus_is_evaluated_anywhere(n_windows: int, data: st.DataObject) -> None:
    positions = data.draw(st.lists(st.integers(0, n_windows - 1), min_size=1, max_size=50, unique=True))
    windows = window_order(n_windows, seed=0, epoch=0).at(np.array(positions))
    assert len(set(windows.tolist())) == len(positions)
    assert windows.min() >= 0
    assert windows.max() < n_windows


def test_an_order_is_the_same_for_ever() -> None:
    # Data order is part of a run's identity: a change here needs a new isoflop.run_spec.NUMERICS_VERSION.
    assert window_order(1000, seed=7, epoch=2).at(np.arange(8)).tolist() == [881, 880, 953, 540, 358, 168, 218, 983]


def test_orders_of_other_seeds_and_epochs_are_unrelated() -> None:
    n_windows = 10_000
    orders = [
        window_order(n_windows, seed=seed, epoch=epoch).at(np.arange(n_windows))
        for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1))
    ]
    for i, one in enumerate(orders):
        for other in (*orders[:i], np.arange(n_windows)):
            # Two random permutations agree in one place on average and correlate by 1 / sqrt(n) = 0.01.
            assert np.count_nonzero(one == other) < 10
            assert abs(np.corrcoef(one, other)[0, 1]) < 0.05


def test_neighbours_in_the_order_are_not_neighbours_in_the_text() -> None:
    windows = window_order(10_000, seed=3, epoch=0).at(np.arange(10_000))
    steps = np.abs(np.diff(windows))
    # The mean distance of two random windows is n / 3.
    assert steps.mean() == pytest.approx(10_000 / 3, rel=0.05)
    assert len(np.unique(steps)) > 4000


def sequences(corpus, first: int, n: int, *, seed: int = 0, context_length: int = 16):
    return batch(corpus, seed=seed, first_sequence=first, n_sequences=n, context_length=context_length)


def test_an_epoch_holds_every_token_once_as_a_target(build) -> None:
    corpus = build(TEXTS, shard_tokens=1000)
    assert len(corpus.train.shards) > 3
    n_windows = (corpus.train.n_tokens - 1) // 16
    stream = corpus.train.windows([0], corpus.train.n_tokens)[0]
    expected = sorted(stream[16 * i : 16 * i + 17].tolist() for i in range(n_windows))
    for epoch in range(3):
        assert sorted(sequences(corpus, epoch * n_windows, n_windows).tolist()) == expected


def test_a_sequence_depends_on_its_position_and_not_on_the_batch_it_is_in(build) -> None:
    corpus = build(TEXTS)
    n_windows = (corpus.train.n_tokens - 1) // 16
    n = 3 * n_windows + 5
    whole = sequences(corpus, 0, n)
    assert whole.shape == (n, 17)
    assert whole.dtype == np.int64
    for batch_size in (1, 7, n_windows + 1):
        pieces = [sequences(corpus, first, min(batch_size, n - first)) for first in range(0, n, batch_size)]
        assert np.array_equal(np.concatenate(pieces), whole)


@pytest.mark.parametrize("seed", [0, 9])
def test_a_batch_is_the_windows_that_begin_at_its_starts(build, seed: int) -> None:
    corpus = build(TEXTS, shard_tokens=700)
    stream = np.concatenate([piece for _, piece in corpus.train.pieces()])
    n_windows = (corpus.train.n_tokens - 1) // 16
    for first, n in ((0, 1), (5, 40), (n_windows - 3, 7), (2 * n_windows - 1, n_windows + 9)):
        starts = batch_starts(corpus, seed=seed, first_sequence=first, n_sequences=n, context_length=16)
        assert starts.dtype == np.int64 and starts.shape == (n,)
        assert set(starts % 16) == {0}
        gathered = stream[starts[:, None] + np.arange(17)]
        assert np.array_equal(sequences(corpus, first, n, seed=seed), gathered)


def test_starts_are_the_same_for_ever(build) -> None:
    # Data order is part of a run's identity: a change here needs a new isoflop.run_spec.NUMERICS_VERSION.
    corpus = build({"a.txt": b"0123456789\n" * 200}, heldout_fraction=0.1)
    assert corpus.train.n_tokens == 1981
    starts = batch_starts(corpus, seed=3, first_sequence=120, n_sequences=6, context_length=16)
    assert starts.tolist() == [1376, 816, 1360, 320, 1232, 1440]


def test_starts_need_no_tokens_read(build, tmp_path) -> None:
    corpus = build(TEXTS)
    before = batch_starts(corpus, seed=1, first_sequence=7, n_sequences=30, context_length=16)
    for shard in (tmp_path / "root").rglob("train-*.bin"):
        shard.write_bytes(bytes(shard.stat().st_size))
    after = batch_starts(corpus, seed=1, first_sequence=7, n_sequences=30, context_length=16)
    assert np.array_equal(before, after)


def test_batches_differ_by_seed_and_by_epoch(build) -> None:
    corpus = build(TEXTS)
    n_windows = (corpus.train.n_tokens - 1) // 16
    first = sequences(corpus, 0, 50)
    assert not np.array_equal(first, sequences(corpus, 0, 50, seed=1))
    assert not np.array_equal(first, sequences(corpus, n_windows, 50))


def test_batches_do_not_depend_on_where_shards_are_cut(build, tmp_path) -> None:
    one = build(TEXTS)
    (tmp_path / "root").rename(tmp_path / "other")
    many = build(TEXTS, shard_tokens=100)
    assert one.manifest.fingerprint == many.manifest.fingerprint
    assert len(many.train.shards) > len(one.train.shards) == 1
    assert np.array_equal(sequences(one, 3, 40), sequences(many, 3, 40))
    assert np.array_equal(
        heldout_sequences(one, n_tokens=64, context_length=8), heldout_sequences(many, n_tokens=64, context_length=8)
    )


def test_held_out_sequences_are_spread_over_the_held_out_text_without_overlap(build) -> None:
    corpus = build(TEXTS, heldout_fraction=0.3)
    stream = corpus.heldout.windows([0], corpus.heldout.n_tokens)[0]
    n_windows = (len(stream) - 1) // 32
    found = heldout_sequences(corpus, n_tokens=20 * 32 + 7, context_length=32)
    assert found.shape == (20, 33)
    windows = [stream[32 * i : 32 * i + 33].tolist() for i in range(n_windows)]
    places = [windows.index(sequence) for sequence in found.tolist()]
    gaps = np.diff([*places, n_windows])
    assert places[0] == 0
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize(
    ("n_tokens", "n_sequences"),
    [pytest.param(1, 1, id="at least one"), pytest.param(10**9, None, id="all there is")],
)
def test_held_out_sequences_are_at_least_one_and_at_most_all(build, n_tokens: int, n_sequences: int | None) -> None:
    corpus = build(TEXTS)
    expected = n_sequences or (corpus.heldout.n_tokens - 1) // 8
    assert len(heldout_sequences(corpus, n_tokens=n_tokens, context_length=8)) == expected


def test_a_context_longer_than_the_text_is_an_error_of_the_user(build) -> None:
    corpus = build(TEXTS)
    with pytest.raises(IsoflopError, match=f"training text has {corpus.train.n_tokens} tokens"):
        sequences(corpus, 0, 1, context_length=corpus.train.n_tokens)
    with pytest.raises(IsoflopError, match=f"held-out text has {corpus.heldout.n_tokens} tokens"):
        heldout_sequences(corpus, n_tokens=8, context_length=corpus.heldout.n_tokens)


def test_the_longest_context_that_fits_is_the_whole_text(build) -> None:
    corpus = build(TEXTS)
    n_tokens = corpus.train.n_tokens
    whole = corpus.train.windows([0], n_tokens)
    assert np.array_equal(sequences(corpus, 0, 1, context_length=n_tokens - 1), whole)
