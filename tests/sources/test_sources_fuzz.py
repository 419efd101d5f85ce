"""Garbled tables of every format: an answer without NaN, or one sentence; never a traceback."""

import pytest

from benchmarks.fuzz_tables import drawn, why_wrong


def finds(folder, seed: int, number: int) -> dict[str, str]:
    """What is wrong with which of the tables, by what was done to them."""
    found = {}
    answered = 0
    for index in range(number):
        table = drawn(seed, index, folder)
        wrong, said = why_wrong(table, folder)
        answered += said == "answered"
        if wrong:
            found[f"{index}: {table.how}"] = f"{wrong}: {said}"
    assert answered > number / 8
    return found


def test_a_few_garbled_tables_are_answered_or_refused_in_one_sentence(tmp_path):
    assert finds(tmp_path, seed=0, number=40) == {}


@pytest.mark.slow(6)
@pytest.mark.parametrize("seed", [1, 2])
def test_garbled_tables_are_answered_or_refused_in_one_sentence(tmp_path, seed):
    assert finds(tmp_path, seed, number=150) == {}


def test_a_table_of_the_fuzzer_is_the_same_each_time(tmp_path):
    assert [drawn(5, i, tmp_path).content for i in range(9)] == [drawn(5, i, tmp_path).content for i in range(9)]
