"""The vocabulary of a trained tokenizer on its way through `plan`: before there is a text, before and after a build."""

import json
import random
from pathlib import Path

import pytest

from isoflop.corpus import load_corpus
from isoflop.spec import load_spec
from tests.commands import isoflop
from tests.databases import opened

SWEEP = """
name = "words"
budgets = [1e10, 3e10, 1e11]
[grid]
sizes = 6
half_width = 0.3
center_n_params = 24e3
[model]
context_length = 64
[corpus]
source = "files"
paths = ["texts"]
heldout_fraction = 0.2
tokens = 50_000_000
[recipe]
max_epochs = 1000
[tokenizer]
kind = "bpe"
vocab_size = 300
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "s.toml").write_text(SWEEP)
    return tmp_path


def planned(folder: Path, *options: str) -> dict:
    return json.loads(isoflop("plan", "s.toml", "--json", *options, folder=folder).stdout)


def vocabularies(plan: dict) -> set[int]:
    return {run["shape"]["vocab_size"] for run in plan["runs"]}


def write_texts(folder: Path, n_words: int = 997) -> None:
    (folder / "texts").mkdir()
    drawn = random.Random(0)
    words = ["".join(drawn.choices("abcdefghij", k=6)) for _ in range(n_words)]
    for number in range(60):
        (folder / "texts" / f"{number}.txt").write_text(" ".join(drawn.choices(words, k=500)))


def test_without_the_text_models_have_the_vocabulary_that_is_asked_for(folder: Path) -> None:
    plan = planned(folder)
    assert vocabularies(plan) == {300}
    assert plan["corpus"]["tokenizer"] == "bpe-300"
    assert plan["corpus"]["vocab_size"] == 300
    assert plan["corpus"]["bytes_per_token"] is None


def test_a_plan_that_writes_nothing_has_the_run_ids_of_the_one_that_builds(folder: Path) -> None:
    write_texts(folder)
    dry = planned(folder, "--dry-run", "--artifacts", "artifacts")
    assert not (folder / "artifacts").exists()
    built = planned(folder, "--artifacts", "artifacts")
    assert [run["run_id"] for run in dry["runs"]] == [run["run_id"] for run in built["runs"]]
    assert vocabularies(built) == {300}
    corpus = load_corpus(folder / "artifacts" / "corpora", built["corpus"]["fingerprint"])
    assert built["corpus"]["tokenizer"] == corpus.tokenizer.name
    assert corpus.tokenizer.name.startswith("bpe-300-")
    assert built["corpus"]["bytes_per_token"] == corpus.manifest.bytes_per_token > 1.2
    with opened(folder / "isoflop.db") as db:
        assert {row[0] for row in db.execute("select tokenizer from runs")} == {corpus.tokenizer.name}
    shown = isoflop("plan", "s.toml", "--artifacts", "artifacts", folder=folder).stdout
    assert corpus.tokenizer.name in " ".join(shown.split())


def test_models_have_as_many_tokens_as_a_small_text_gives(folder: Path) -> None:
    write_texts(folder, n_words=2)
    plan = planned(folder)
    (n_tokens,) = vocabularies(plan)
    assert 257 < n_tokens < 300
    [finding] = [finding for finding in plan["findings"] if finding["code"] == "small_vocabulary"]
    assert finding["values"] == {"vocab_size": n_tokens, "asked_vocab_size": 300}


def test_a_byte_sweep_is_recorded_as_ever(folder: Path) -> None:
    (folder / "s.toml").write_text(SWEEP.split("[tokenizer]", maxsplit=1)[0])
    spec = json.loads(load_spec(folder / "s.toml").to_json())
    assert spec["tokenizer"] == {"kind": "byte"}
    assert planned(folder)["corpus"]["tokenizer"] == "byte"
