"""Mixtures: what each part gives, that no token comes twice, and that copies go whichever part they are in."""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from isoflop.corpus import Corpus, count_corpus, open_corpus
from isoflop.corpus import mixture as mixtures
from isoflop.corpus.documents import Part
from isoflop.corpus.mixture import runs, shares
from isoflop.errors import IsoflopError
from isoflop.spec import CorpusSpec, TokenizerSpec
from isoflop.view.plan_corpus import corpus_document, corpus_lines

LETTERS = "abc"


def write(base: Path, documents: Mapping[str, int]) -> None:
    """So many documents of each part, of one letter and a number alone."""
    for letter, n_documents in documents.items():
        (base / letter).mkdir()
        for n in range(n_documents):
            (base / letter / f"{n}.txt").write_text(f"{letter}{n} " * 20)


def spec(weights: Mapping[str, float], **keys: object) -> CorpusSpec:
    mix = [{"source": "files", "paths": [letter], "weight": weight} for letter, weight in weights.items()]
    return CorpusSpec.model_validate({"mix": mix, "heldout_fraction": 0.2, **keys})


def opened(base: Path, asked: CorpusSpec, **options: int) -> Corpus:
    return open_corpus(asked, TokenizerSpec(), root=base / "root", base=base, **options)


def tokens(corpus: Corpus) -> tuple[list[int], list[int]]:
    train, heldout = (stream.windows([0], stream.n_tokens)[0].tolist() for stream in (corpus.train, corpus.heldout))
    return train, heldout


def test_each_part_gives_exactly_its_share_and_the_scarcest_gives_all(tmp_path: Path) -> None:
    write(tmp_path, {"a": 100, "b": 100, "c": 100})
    corpus = opened(tmp_path, spec({"a": 5, "b": 3, "c": 2}))
    parts, manifest = corpus.manifest.mix, corpus.manifest
    assert [part.weight for part in parts] == pytest.approx([0.5, 0.3, 0.2])
    # a is the scarcest: all parts are about as large, and a is to be half of the mixture.
    assert (parts[0].n_train_tokens, parts[0].n_heldout_tokens) == (parts[0].n_train_unique, parts[0].n_heldout_unique)
    whole = Fraction(parts[0].n_train_unique, 1) / Fraction(5, 10)
    assert [part.n_train_tokens for part in parts] == [round(whole * Fraction(n, 10)) for n in (5, 3, 2)]
    assert sum(part.n_train_tokens for part in parts) == manifest.n_train_tokens == corpus.train.n_tokens
    assert sum(part.n_heldout_tokens for part in parts) == manifest.n_heldout_tokens == corpus.heldout.n_tokens
    assert not list((tmp_path / "root").rglob("*part*"))


def test_a_part_that_gives_all_is_the_corpus_of_that_part_alone(tmp_path: Path) -> None:
    write(tmp_path, {"a": 40, "b": 400})
    mixed = opened(tmp_path, spec({"a": 1, "b": 1}))
    alone = opened(tmp_path, CorpusSpec(source="files", paths=("a",), heldout_fraction=0.2))
    for side, own in zip(tokens(mixed), tokens(alone), strict=True):
        assert side[: len(own)] == own


def test_no_token_of_a_part_comes_twice_and_its_runs_come_from_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for n_tokens, n_taken in [(100, 100), (1003, 502), (10, 1), (5003, 5002), (977, 300)]:
        monkeypatch.setattr(mixtures, "RUN_TOKENS", 60)
        taken = [place for start, stop in runs(n_tokens, n_taken) for place in range(start, stop)]
        assert len(taken) == len(set(taken)) == n_taken
        assert taken == sorted(taken) and taken[0] >= 0 and taken[-1] < n_tokens
        if n_taken > 120:
            assert taken[-1] > n_tokens / 2


def test_the_runs_of_a_part_are_copied_across_its_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixtures, "RUN_TOKENS", 64)
    write(tmp_path, {"a": 20, "b": 200})
    in_one = opened(tmp_path, spec({"a": 1, "b": 2}))
    root = tmp_path / "cut"
    small = open_corpus(spec({"a": 1, "b": 2}), TokenizerSpec(), root=root, base=tmp_path, shard_tokens=37)
    assert small.manifest.fingerprint == in_one.manifest.fingerprint
    assert len(small.train.shards) > 10


def test_copies_are_dropped_across_parts(tmp_path: Path) -> None:
    write(tmp_path, {"a": 30, "b": 30})
    (tmp_path / "b" / "copy.txt").write_text((tmp_path / "a" / "7.txt").read_text())
    assert opened(tmp_path, spec({"a": 1, "b": 1})).manifest.n_duplicates_dropped == 1


def test_every_part_of_two_documents_has_a_held_out_one(tmp_path: Path) -> None:
    write(tmp_path, {"a": 300, "b": 2})
    corpus = opened(tmp_path, spec({"a": 1, "b": 1}, heldout_fraction=0.001))
    assert all(part.n_heldout_unique and part.n_train_unique for part in corpus.manifest.mix)
    assert corpus.manifest.split == "one_moved"


def test_a_part_with_nothing_to_hold_out_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path, {"a": 30, "b": 1})
    with pytest.raises(IsoflopError, match=r"Part 2 of corpus\.mix \(files b\) has no (held-out|training) text"):
        opened(tmp_path, spec({"a": 1, "b": 1}))


def test_a_dry_count_is_that_of_the_mixture_and_leaves_nothing(tmp_path: Path) -> None:
    write(tmp_path, {"a": 30, "b": 60})
    asked = spec({"a": 1, "b": 3})
    counted = count_corpus(asked, TokenizerSpec(), root=tmp_path / "root", base=tmp_path)
    assert not (tmp_path / "root").exists()
    assert counted == opened(tmp_path, asked).facts


def test_other_weights_are_another_corpus(tmp_path: Path) -> None:
    write(tmp_path, {"a": 30, "b": 60})
    first, second = (opened(tmp_path, spec({"a": 1, "b": weight})).manifest for weight in (1, 2))
    assert first.fingerprint != second.fingerprint


def test_bytes_of_a_part_are_those_of_what_it_gives(tmp_path: Path) -> None:
    write(tmp_path, {"a": 30, "b": 60})
    corpus = opened(tmp_path, spec({"a": 1, "b": 1}))
    for side, n_bytes in zip(
        tokens(corpus), (corpus.manifest.n_train_bytes, corpus.manifest.n_heldout_bytes), strict=True
    ):
        assert n_bytes is not None
        assert abs(n_bytes - sum(token < 256 for token in side)) <= 2


def test_formats_mix(tmp_path: Path) -> None:
    write(tmp_path, {"a": 30})
    (tmp_path / "b.jsonl").write_text("".join(f'{{"text": "b{n} b{n}"}}\n' for n in range(300)))
    mix = [{"source": "files", "paths": ["a"], "weight": 1}, {"source": "jsonl", "paths": ["b.jsonl"], "weight": 1}]
    corpus = opened(tmp_path, CorpusSpec.model_validate({"mix": mix, "heldout_fraction": 0.2}))
    assert "mixture of 50 % files a, 50 % jsonl b.jsonl" in next(iter(corpus_lines(corpus.facts)))


def test_ready_tokens_of_one_vocabulary_mix(tmp_path: Path) -> None:
    draw = np.random.default_rng(0).integers(0, 1000, 9000).astype("<u2")
    (tmp_path / "a.bin").write_bytes(draw[:3000].tobytes())
    (tmp_path / "b.bin").write_bytes(draw[3000:].tobytes())
    mix = [{"source": "tokens", "paths": [f"{n}.bin"], "vocab_size": 1000, "weight": 1} for n in "ab"]
    corpus = opened(tmp_path, CorpusSpec.model_validate({"mix": mix, "heldout_fraction": 0.2}))
    assert corpus.facts.tokenizer == "tokens-1000"
    assert corpus.manifest.mix[0].n_train_tokens == corpus.manifest.mix[1].n_train_tokens


def test_a_plan_shows_what_each_part_has_and_gives(tmp_path: Path) -> None:
    write(tmp_path, {"a": 30, "b": 300})
    facts = opened(tmp_path, spec({"a": 1, "b": 3})).facts
    assert facts.documents is not None
    part = facts.documents.parts[1]
    said = f"75 % from files b: {part.n_train_tokens / 1000:.2f}k of its {part.n_train_unique / 1000:.1f}k tokens, "
    assert said in " ".join(corpus_lines(facts))
    shown = corpus_document(facts)["mix"]
    assert isinstance(shown, list) and [one["source"] for one in shown] == ["files a", "files b"]


def test_a_part_too_small_for_its_weight_is_named() -> None:
    with pytest.raises(IsoflopError, match=r"Part 1 .* would give less than one training token"):
        shares([10**6, 10], [Part("a", 1e-6), Part("b", 1 - 1e-6)], side="training")
