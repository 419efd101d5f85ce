"""Garbled inputs of every format: a corpus that is whole, or one sentence; never a traceback, never half a corpus."""

from pathlib import Path

from benchmarks.fuzz_corpora import drawn, why_wrong


def finds(folder: Path, seed: int, number: int) -> dict[str, str]:
    """What is wrong with which of the inputs, by what was done to them."""
    found = {}
    built = 0
    for index in range(number):
        case = drawn(seed, index)
        wrong, said = why_wrong(case, folder)
        built += said == "built"
        if wrong:
            found[f"{index}: {case.how}"] = f"{wrong}: {said}"
    assert built > number / 12
    return found


def test_garbled_inputs_are_built_or_refused_in_one_sentence(tmp_path: Path) -> None:
    assert finds(tmp_path, seed=3, number=300) == {}


def test_an_input_of_the_fuzzer_is_the_same_each_time() -> None:
    assert [drawn(5, i).contents for i in range(20)] == [drawn(5, i).contents for i in range(20)]
