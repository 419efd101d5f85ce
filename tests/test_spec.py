"""The sweep file: what it accepts, and one clear sentence for what it does not."""

import json
import time
from datetime import date
from pathlib import Path
from typing import get_args

import pytest

from isoflop.errors import IsoflopError
from isoflop.spec import load_spec, parse_spec

MINIMAL = {"name": "a", "budgets": [1e12, 1e11]}


def test_defaults_fill_a_minimal_file_and_budgets_are_sorted() -> None:
    spec = parse_spec(MINIMAL, source="x.toml")
    assert spec.budgets == (1e11, 1e12)
    assert spec.fit.params == "total"
    assert spec.corpus.source == "python-stdlib"


@pytest.mark.parametrize(
    ("change", "said", "hint"),
    [
        ({"grid": {"size": 3}}, "unknown key 'grid.size'", "'sizes'"),
        ({"budget": [1e11]}, "unknown key 'budget'", "'budgets'"),
        ({"xyz": 1}, "unknown key 'xyz'", "Valid keys here"),
        ({"budgets": [-1.0]}, "entry 1 of budgets = -1.0", "FLOPs"),
        ({"budgets": []}, "budgets = [] is not possible: the list must not be empty", "FLOPs"),
        ({"budgets": [1e11, 1e11]}, "listed twice", "FLOPs"),
        ({"budgets": [1e11, float("inf")]}, "entry 2 of budgets = inf is not possible: it must be a finite", "FLOPs"),
        ({"budgets": float("inf")}, "budgets = inf is not possible: it must be a list, in brackets", "FLOPs"),
        ({"budgets": [1e300]}, "it must be at most 1e+40", "FLOPs"),
        ({"name": "../x"}, "name = '../x'", "name: Name of the sweep: at most 64 letters, digits"),
        ({"grid": {"center_tokens_per_param": 20, "center_n_params": 1e4}}, "not both", "complete example"),
        ({"grid": {"center_n_params": [1e4, 2e4, 3e4]}}, "lists 3 sizes for 2 budgets", "complete example"),
        ({"corpus": {"source": "files"}}, "paths are needed", "complete example"),
        ({"recipe": {"warmup_fraction": 0.3, "cooldown_fraction": 0.9}}, "exceed 1", "complete example"),
        ({"fit": {"params": "all"}}, "it must be 'total', 'non_embedding' or 'matmul'", "fit.params: Which"),
        ({"model": {"head_dim": 7}}, "model.head_dim = 7", "Size of an attention head"),
        ({"grid": {"lattice": "yes"}}, "grid.lattice", "One list of sizes"),
        ({"grid": {"lattice": [1e3, 1e30]}}, "entry 2 of grid.lattice = 1e+30", "One list of sizes"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_value_is_named_with_a_hint(change: dict[str, object], said: str, hint: str) -> None:
    with pytest.raises(IsoflopError) as caught:
        parse_spec({**MINIMAL, **change}, source="x.toml")
    assert said in caught.value.message
    assert "x.toml" in caught.value.message
    assert hint in caught.value.hint
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "change",
    [
        {"trainer": "command"},
        {"command": {}},
        {"command": {"argv": ["true", "{none}"]}, "trainer": "command"},
        {"ladder": [{"n_params": 1}]},
        {"model": {"factory": "a:b"}, "trainer": "simulated"},
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_sweep_of_an_own_trainer_is_sent_to_its_own_page(change: dict[str, object]) -> None:
    with pytest.raises(IsoflopError) as caught:
        parse_spec({**MINIMAL, **change}, source="x.toml")
    assert caught.value.hint == "docs/own-trainer.md in the sources of isoflop describes such sweeps."


@pytest.mark.parametrize(
    ("section", "key", "value", "reason"),
    [
        (None, "grid", 3, "a table"),
        (None, "trainer", "x", "'builtin', 'simulated' or 'command'"),
        (None, "name", 7, "text, in quotes"),
        ("grid", "sizes", 2.5, "a whole number"),
        ("grid", "sizes", "many", "whole numbers only"),
        ("grid", "sizes", "7", "whole numbers only"),
        ("grid", "seeds", True, "whole numbers only"),
        ("model", "context_length", "64", "whole numbers only"),
        ("model", "aspect_ratio", "64", "numbers only"),
        (None, "budgets", [1e11, True], "numbers only"),
        (None, "budgets", "1e12", "numbers only"),
        ("corpus", "paths", [""], "must not be empty"),
        ("corpus", "pattern", 3, "give a pattern such as"),
        ("corpus", "pattern", [], "or a list of patterns"),
        ("corpus", "pattern", ["a", 1], "or a list of patterns"),
        ("corpus", "tokens", 10**30, "at most 1e+18"),
        ("grid", "first_seed", 10**12, "at most 4294967296"),
        ("recipe", "learning_rate", 5e-324, "at least 1e-12"),
        ("grid", "seeds", 0, "at least 1"),
        ("grid", "center_n_params", [], "not be empty"),
        ("grid", "center_tokens_per_param", 0, "more than 0"),
        ("model", "head_dim", 3, "a multiple of 2"),
        ("recipe", "learning_rate", [], "a number"),
        ("recipe", "beta1", 1, "less than 1"),
        ("recipe", "batch_exponent", 1.5, "at most 1"),
        ("corpus", "paths", ["a", 1], "text, in quotes"),
        ("corpus", "tokens", 1.5, "a whole number"),
        (None, "name", date(2026, 11, 24), "name = 2026-11-24 is not possible: it must be text"),
    ],
)
def test_what_a_value_must_be_is_said_in_our_words(section: str | None, key: str, value: object, reason: str) -> None:
    with pytest.raises(IsoflopError) as caught:
        parse_spec({**MINIMAL, **({section: {key: value}} if section else {key: value})}, source="x.toml")
    said = caught.value.message
    assert said.startswith("'x.toml': ") and reason in said
    assert "nput should" not in said and "uple should" not in said


def test_a_missing_key_is_named() -> None:
    with pytest.raises(IsoflopError, match="lacks the key 'budgets'"):
        parse_spec({"name": "a"}, source="x.toml")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"name = ", "not valid TOML"),
        (b"\xff\xfe", "Cannot read"),
        (b"name = 1\n\nbudgets = '\xe4'", "Cannot read sweep file .*: line 3 is not UTF-8 text"),
        (
            b"budgets = [1" + b"0" * 5000 + b"]",
            r"TOML: the whole number 10{19}\.\.\. has 5001 digits, more than the",
        ),
        (b"budgets = 1" + b"_0" * 5000, r"TOML: the whole number 10{19}\.\.\. has 5001 digits"),
        (b"budgets = " + b"[" * 5000, "TOML: it is nested too deep"),
        (b"budgets = " + b"{a = " * 5000, "TOML: it is nested too deep"),
        (b"name = '" + b"1" * 5000 + b"'\nbudgets = ", "TOML: Invalid value"),
        (b".".join([b"a"] * 66) + b" = 1", "TOML: a key of more than 64 parts"),
    ],
    ids=["toml", "encoding", "a line", "digits", "underscores", "lists", "tables", "digits in a text", "a long key"],
)
def test_an_unreadable_file_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "s.toml").write_bytes(content)
    with pytest.raises(IsoflopError, match=said):
        load_spec(tmp_path / "s.toml")


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IsoflopError, match="no sweep file"):
        load_spec(tmp_path / "none.toml")
    with pytest.raises(IsoflopError, match=r"Cannot read sweep file '.*': it is a folder") as refused:
        load_spec(tmp_path)
    assert "Errno" not in refused.value.message
    with pytest.raises(IsoflopError, match=r"Cannot read sweep file '\S+/loop': Too many levels of symbolic links\."):
        (tmp_path / "loop").symlink_to("loop")
        load_spec(tmp_path / "loop")


def test_the_hash_follows_content_and_not_spelling() -> None:
    one = parse_spec(MINIMAL, source="x")
    same = parse_spec({**MINIMAL, "budgets": [1e11, 1e12], "grid": {"sizes": 7}}, source="y")
    other = parse_spec({**MINIMAL, "grid": {"sizes": 8}}, source="x")
    assert one.spec_hash == same.spec_hash != other.spec_hash


def test_a_single_pattern_keeps_the_hash_it_had() -> None:
    """Hashes as they were when a pattern could only be one string."""
    files = {"source": "files", "paths": ["a"]}
    assert parse_spec({**MINIMAL, "corpus": files}, source="x").spec_hash == "1ee543973aa26234"
    named = parse_spec({**MINIMAL, "corpus": {**files, "pattern": "*.md"}}, source="x")
    assert named.spec_hash == "67ab0d7de4398410"
    several = parse_spec({**MINIMAL, "corpus": {**files, "pattern": ["*.md", "*.rst"]}}, source="x")
    assert several.corpus.pattern == ("*.md", "*.rst")
    assert several.spec_hash != named.spec_hash


def test_keys_that_came_later_leave_the_hash_of_a_sweep_without_them() -> None:
    plain = parse_spec(MINIMAL, source="x")
    named = parse_spec({**MINIMAL, "recipe": {"optimizer": "adamw"}}, source="x")
    assert "optimizer" not in plain.to_json()
    assert plain.spec_hash == named.spec_hash == "678c979dfb83f8de"
    sgd = parse_spec({**MINIMAL, "recipe": {"optimizer": "sgd"}}, source="x")
    shared = parse_spec({**MINIMAL, "run": {"devices_per_run": 2}}, source="x")
    assert len({sgd.spec_hash, shared.spec_hash, plain.spec_hash}) == 3
    for spec in (plain, sgd, shared):
        assert parse_spec(json.loads(spec.to_json()), source="x") == spec


@pytest.mark.parametrize(
    ("kind", "rate", "momentum", "matrices"),
    [("adamw", 0.007, None, None), ("sgd", 0.2, 0.9, None), ("muon", 0.02, 0.95, 0.02)],
)
def test_each_optimizer_has_its_own_defaults(
    kind: str, rate: float, momentum: float | None, matrices: float | None
) -> None:
    recipe = parse_spec({**MINIMAL, "recipe": {"optimizer": kind}}, source="x").recipe
    assert (recipe.learning_rate, recipe.momentum, recipe.matrix_learning_rate) == (rate, momentum, matrices)
    given = parse_spec({**MINIMAL, "recipe": {"optimizer": kind, "learning_rate": 0.5}}, source="x").recipe
    assert (given.learning_rate, given.momentum) == (0.5, momentum)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"optimizer": "adam"}, "recipe.optimizer = 'adam' is not possible: it must be 'adamw', 'sgd' or 'muon'."),
        ({"optimizer": 1}, "recipe.optimizer = 1 is not possible"),
        (
            {"momentum": 0.9},
            'recipe is not possible: momentum belongs to optimizer = "sgd" and "muon", and this one is "adamw".',
        ),
        (
            {"optimizer": "sgd", "beta1": 0.8},
            'recipe is not possible: beta1 belongs to optimizer = "adamw" and "muon", and this one is "sgd".',
        ),
        (
            {"optimizer": "sgd", "matrix_learning_rate": 0.01},
            'recipe is not possible: matrix_learning_rate belongs to optimizer = "muon", and this one is "sgd".',
        ),
        ({"optimizer": "sgd", "momentum": 1.0}, "recipe.momentum = 1.0 is not possible: it must be less than 1."),
    ],
)
def test_keys_of_another_optimizer_are_refused(recipe: dict[str, object], said: str) -> None:
    with pytest.raises(IsoflopError) as refused:
        parse_spec({**MINIMAL, "recipe": recipe}, source="x")
    assert said in refused.value.message


def test_every_key_has_a_sentence_of_documentation() -> None:
    docs = Path(__file__).parent.parent / "docs"
    document = (docs / "sweep-file.md").read_text(encoding="utf-8")
    of_programs = (docs / "own-trainer.md").read_text(encoding="utf-8")
    from isoflop.spec import SweepSpec

    for name, field in SweepSpec.model_fields.items():
        kinds = (field.annotation, *get_args(field.annotation))
        section = next((kind for kind in kinds if hasattr(kind, "model_fields")), None)
        if isinstance(section, type) and hasattr(section, "model_fields"):
            assert f"## `[{name}]`" in document or f"[{name}]" in of_programs
            for key in section.model_fields:
                assert f"`{key}`" in document + of_programs, f"[{name}] {key}"
        else:
            assert f"`{name}`" in document, name


@pytest.mark.parametrize(
    "text",
    [
        "a" + ".a" * 100_000 + " = 1",
        "a" + " . a" * 100_000 + " = 1",
        "[" + "a." * 100_000 + "a]",
        '"a".' * 50_000 + "b = 1",
        "name = {" + "a." * 100_000 + "a = 1}",
        "name = " + "[" * 100_000,
        "# " + "x" * 10_000_000,
    ],
    ids=["dotted key", "with spaces", "header", "quoted parts", "inline table", "nested lists", "ten megabytes"],
)
def test_a_sweep_file_that_would_keep_the_parser_busy_is_refused_at_once(tmp_path: Path, text: str) -> None:
    file = tmp_path / "s.toml"
    file.write_text(text)
    begun = time.process_time()
    with pytest.raises(IsoflopError):
        load_spec(file)
    assert time.process_time() - begun < 5


def test_dots_in_texts_are_no_parts_of_keys(tmp_path: Path) -> None:
    path = ".".join("a" * 200)
    file = tmp_path / "s.toml"
    file.write_text(
        f'name = "dots" # {path}\nbudgets = [1e12]\n[corpus]\nsource = "files"\npaths = [\n  "{path}", "{path}",\n'
        f"  '{path}',\n]\n"
    )
    assert load_spec(file).corpus.paths == (path,) * 3


@pytest.mark.parametrize(
    ("goal", "said"),
    [
        ({"target": 1e12}, "goal.target is 1.00e12 FLOPs and does not lie above the largest budget, 1.00e12"),
        ({"target": 1e11}, "goal.target is 1.00e11 FLOPs and does not lie above the largest budget"),
        ({"target": 1e17}, "5.0 decades beyond the largest budget, 1.00e12: nobody has foretold farther than 4"),
        ({"target": 1e13, "within": 1}, "goal.within = 1 is not possible: it must be more than 1"),
        ({"target": 1e13, "within": 0.5}, "goal.within = 0.5 is not possible: it must be more than 1"),
        ({"target": 1e13, "max_hours": 0}, "goal.max_hours = 0 is not possible: it must be more than 0"),
        ({"within": 1.2}, "lacks the key 'goal.target'"),
        ({"target": 1e13, "hours": 2}, "unknown key 'goal.hours'"),
    ],
    ids=["at the largest", "below", "too far", "within 1", "within less", "no hours", "no target", "unknown"],
)
def test_a_goal_that_cannot_be_one_is_refused(goal: dict[str, object], said: str) -> None:
    with pytest.raises(IsoflopError) as refused:
        parse_spec({"name": "s", "budgets": [1e11, 1e12], "goal": goal}, source="x")
    assert said in refused.value.message


def test_a_goal_changes_neither_the_question_of_a_sweep_nor_the_hash_of_one_without() -> None:
    plain = parse_spec({"name": "s", "budgets": [1e11, 1e12]}, source="x")
    aimed = parse_spec({"name": "s", "budgets": [1e11, 1e12], "goal": {"target": 1e13}}, source="x")
    assert aimed.asks_the_same_as(plain) and plain.asks_the_same_as(aimed)
    assert "goal" not in json.loads(plain.to_json())
    assert parse_spec(json.loads(aimed.to_json()), source="x") == aimed
    assert plain.spec_hash != aimed.spec_hash
