"""The built-in probes: what they ask, of code and of prose."""

import ast
import re
from pathlib import Path

import pytest

import isoflop
from isoflop.probes import Item, LeftOut, Probe, make_probes
from isoflop.probes.make import PROBE_NAMES

PACKAGE = Path(isoflop.__file__).parent
CODE = [path.read_bytes() for path in sorted((PACKAGE / "fit").rglob("*.py"))]
DOCS = [path.read_bytes() for path in sorted((PACKAGE.parent / "docs").glob("*.md"))]
T = 64


@pytest.fixture(scope="module")
def of_code() -> dict[str, Probe]:
    return {probe.name: probe for probe in make_probes(CODE, T) if isinstance(probe, Probe)}


def everything(probes: dict[str, Probe]) -> list[Item]:
    return [item for probe in probes.values() for item in probe.items]


def test_code_gives_every_probe(of_code: dict[str, Probe]) -> None:
    assert tuple(of_code) == PROBE_NAMES
    assert all(len(probe.items) > 300 for probe in of_code.values())


def test_equal_text_context_and_seed_give_equal_questions_and_another_seed_others(of_code: dict[str, Probe]) -> None:
    assert make_probes(CODE, T) == tuple(of_code.values())
    assert make_probes(CODE, T, seed=1) != tuple(of_code.values())


def test_one_choice_is_what_the_text_says_and_the_others_differ_from_it(of_code: dict[str, Probe]) -> None:
    text = b"\0".join(CODE)
    for item in everything(of_code):
        assert item.context + item.right in text
        assert len(set(item.choices)) == len(item.choices) >= 2


def test_choices_of_a_question_have_equal_bytes_and_all_fits_into_the_context(of_code: dict[str, Probe]) -> None:
    for item in everything(of_code):
        assert len({len(choice) for choice in item.choices}) == 1
        assert len(item.context) + len(item.right) <= T
        assert item.context.strip()
        for part in (item.context, *item.choices):
            part.decode()


@pytest.mark.parametrize("name", PROBE_NAMES)
def test_the_place_of_the_right_choice_tells_nothing(of_code: dict[str, Probe], name: str) -> None:
    items = of_code[name].items
    n_choices = len(items[0].choices)
    for place in range(n_choices):
        share = sum(item.answer == place for item in items) / len(items)
        assert abs(share - 1 / n_choices) < 4 * (0.25 / len(items)) ** 0.5


def test_a_misspelt_word_stands_nowhere_in_the_text(of_code: dict[str, Probe]) -> None:
    words = {word.lower() for word in re.findall(rb"[A-Za-z]{6,16}", b"\n".join(CODE))}
    for item in of_code["spelling"].items:
        assert item.choices[1 - item.answer].strip() not in words
        assert sorted(item.choices[0]) == sorted(item.choices[1])


def test_brackets_are_asked_for_equally_often_and_were_opened_in_the_question(of_code: dict[str, Probe]) -> None:
    probe = of_code["bracket"]
    assert probe.majority == pytest.approx(probe.chance, abs=0.02)
    for item in probe.items:
        assert {b")": b"(", b"]": b"[", b"}": b"{"}[item.right] in item.context


def test_frequent_words_come_from_the_text_itself(of_code: dict[str, Probe]) -> None:
    asked = {item.right.strip() for item in of_code["frequent_word"].items}
    assert {b"return", b"for", b"def", b"in"} & asked
    prose = {probe.name: probe for probe in make_probes(DOCS, T)}
    found = prose["frequent_word"]
    assert isinstance(found, Probe)
    assert {b"the", b"of", b"with", b"and"} <= {item.right.strip() for item in found.items}


def test_too_little_text_leaves_a_probe_out_with_the_reason() -> None:
    left = make_probes([b"one line of text that is all there is\n" * 3], T)
    assert [one.name for one in left] == list(PROBE_NAMES)
    assert all(isinstance(one, LeftOut) and "50 are needed" in one.reason for one in left)


def test_a_text_with_one_kind_of_bracket_has_no_bracket_probe() -> None:
    lines = [f"word number {n} (which is {n * n}) follows the one before it\n" for n in range(2000)]
    by_name = {one.name: one for one in make_probes(["".join(lines).encode()], T)}
    assert isinstance(by_name["bracket"], LeftOut)
    assert isinstance(by_name["continuation"], Probe)


def test_a_context_too_short_for_a_question_leaves_all_out() -> None:
    assert all(isinstance(one, LeftOut) and "too short" in one.reason for one in make_probes(CODE, 16))


def test_text_of_many_bytes_per_character_is_cut_between_characters() -> None:
    words = ["größer", "schöner", "über", "fünf", "Straße", "mögen", "prüfen"]
    text = " ".join(words[(i * i + i // 7) % 7] + str(i % 13) for i in range(5000)).encode()
    for probe in make_probes([text], T):
        for item in probe.items if isinstance(probe, Probe) else ():
            item.context.decode()
            item.right.decode()


def test_no_probe_needs_torch_numpy_or_a_file() -> None:
    for path in (PACKAGE / "probes").glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not {name.split(".")[0] for name in names} & {"torch", "numpy", "pathlib"}
