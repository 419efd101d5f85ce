import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isoflop.corpus import Corpus, Manifest
from isoflop.corpus.builder.digests import DocumentDigests
from isoflop.corpus.builder.line_set import is_near_duplicate, line_set
from isoflop.corpus.builder.split import Side, split_documents
from isoflop.corpus.documents import Document, Source, SourceFile
from isoflop.corpus.tokenizers.tokenizer import BYTE
from isoflop.errors import IsoflopError


def text(n: int, n_lines: int = 8) -> bytes:
    """A document that shares no line with another n."""
    return b"".join(b"line %d of document number %d\n" % (line, n) for line in range(n_lines))


def texts(n_documents: int) -> dict[str, bytes]:
    return {f"{n:04d}.txt": text(n) for n in range(n_documents)}


def side_texts(corpus: Corpus) -> tuple[set[bytes], set[bytes]]:
    sides = []
    for stream in (corpus.train, corpus.heldout):
        tokens = stream.windows([0], stream.n_tokens)[0]
        assert tokens[-1] == BYTE.separator
        pieces = "".join(map(chr, tokens)).split(chr(BYTE.separator))
        sides.append({piece.encode("latin-1") for piece in pieces[:-1]})
    return sides[0], sides[1]


def test_every_document_is_on_exactly_one_side_and_whole(build) -> None:
    documents = texts(300)
    train, heldout = side_texts(build(documents, heldout_fraction=0.2))
    assert train | heldout == set(documents.values())
    assert not train & heldout


@pytest.mark.slow
def test_about_the_asked_share_of_the_documents_is_held_out(build) -> None:
    manifest = build(texts(2000), heldout_fraction=0.2).manifest
    # Four standard deviations of a binomial.
    assert abs(manifest.n_heldout_documents - 400) < 4 * (2000 * 0.2 * 0.8) ** 0.5
    assert manifest.split == "by_hash"


def test_documents_of_a_side_come_without_reading_files_that_have_none_of_it() -> None:
    held = {"b": [1], "d": [0, 2]}
    names = "abcd"
    read: list[str] = []

    def reader(file: SourceFile) -> Iterator[Document]:
        read.append(file.name)
        yield Document(file.path, 0, b"")  # a record without text counts for nothing
        yield from (Document(file.path, number, text(number + 10 * names.index(file.name))) for number in range(3))

    source = Source("four files", None, tuple(SourceFile(name, name, 1, 0) for name in names), reader)
    sides = [[Side.HELDOUT if number in held.get(name, ()) else Side.TRAIN for number in range(3)] for name in names]
    found = split_documents(source, heldout_fraction=0.5, on_read=lambda document: None)
    split = replace(found, sides=np.array(sides, np.uint8).ravel())
    assert found.n_in_file.tolist() == [3, 3, 3, 3]

    def places(side: Side, skip: int) -> list[tuple[str, int]]:
        read.clear()
        return [(document.path, document.start) for document in split.of_side(source, side, skip)]

    assert places(Side.HELDOUT, 0) == [("b", 1), ("d", 0), ("d", 2)]
    assert read == ["b", "d"]
    train = places(Side.TRAIN, 0)
    assert read == list(names) and len(train) == 9
    for skip in range(10):
        assert places(Side.TRAIN, skip) == train[skip:]
    assert places(Side.TRAIN, 4) and read == ["b", "c", "d"]


def test_a_document_stays_on_its_side_when_names_and_neighbours_change(build) -> None:
    _, heldout = side_texts(build(texts(300), heldout_fraction=0.2))
    more = {f"more/{name}": content for name, content in texts(400).items()}
    _, heldout_of_more = side_texts(build(more, heldout_fraction=0.2))
    assert heldout == heldout_of_more & {text(n) for n in range(300)}


def test_another_held_out_text_is_another_corpus(build) -> None:
    train, heldout = map(sorted, side_texts(build(texts(100), heldout_fraction=0.2)))
    corpora = [
        build({f"{n}/train.txt": train[0], f"{n}/heldout.txt": heldout[n]}, paths=(f"texts/{n}",), heldout_fraction=0.2)
        for n in range(2)
    ]
    assert [side_texts(corpus) for corpus in corpora] == [({train[0]}, {heldout[n]}) for n in range(2)]
    assert corpora[0].manifest.fingerprint != corpora[1].manifest.fingerprint


def test_the_counts_of_the_manifest_are_those_of_the_streams(build) -> None:
    corpus = build({**texts(100), "copy.txt": text(7), "empty.txt": b""}, heldout_fraction=0.2)
    manifest = corpus.manifest
    train, heldout = side_texts(corpus)
    assert (manifest.n_files, manifest.n_documents, manifest.n_duplicates_dropped) == (102, 101, 1)
    assert (manifest.n_train_documents, manifest.n_heldout_documents) == (len(train), len(heldout))
    assert (manifest.n_train_bytes, manifest.n_heldout_bytes) == (sum(map(len, train)), sum(map(len, heldout)))
    assert manifest.n_train_tokens == corpus.train.n_tokens == manifest.n_train_bytes + len(train)
    assert manifest.n_heldout_tokens == corpus.heldout.n_tokens == manifest.n_heldout_bytes + len(heldout)
    assert (manifest.tokenizer, manifest.source, manifest.interpreter) == ("byte", "files texts", None)


def test_facts_are_those_of_the_manifest_with_held_out_bytes_per_token(build) -> None:
    corpus = build(texts(100), heldout_fraction=0.2)
    facts, manifest = corpus.facts, corpus.manifest
    assert (facts.fingerprint, facts.n_train_tokens) == (manifest.fingerprint, manifest.n_train_tokens)
    assert facts.n_heldout_tokens == manifest.n_heldout_tokens
    assert facts.bytes_per_token == manifest.n_heldout_bytes / manifest.n_heldout_tokens


def near_copies(build, original: bytes, edited: bytes) -> tuple[Manifest, Corpus]:
    """A corpus of many originals and, for each, an edited version; most pairs that straddle the split are caught."""
    documents = {}
    for n in range(60):
        documents[f"{n}.txt"] = original.replace(b"?", b"%d" % n)
        documents[f"{n}-edited.txt"] = edited.replace(b"?", b"%d" % n)
    corpus = build({**documents, **{f"own/{n}.txt": text(n) for n in range(40)}}, heldout_fraction=0.3)
    return corpus.manifest, corpus


LINES = [b"the %s sentence of document ?" % word for word in (b"first", b"second", b"third", b"fourth")]


def test_held_out_documents_with_mostly_training_lines_are_dropped(build) -> None:
    # Three of four telling lines in common; short lines and white space do not count.
    edited = b"\n".join([b"  " + LINES[0], *LINES[1:3], b"an entirely different ending ?", b"}", b"", b"end"])
    manifest, corpus = near_copies(build, b"\n".join(LINES), edited)
    train, heldout = side_texts(corpus)
    assert manifest.n_near_duplicates_dropped > 10
    assert manifest.n_train_documents + manifest.n_heldout_documents + manifest.n_near_duplicates_dropped == 160
    train_lines = {line.strip() for document in train for line in document.splitlines()}
    for document in heldout:
        lines = [line.strip() for line in document.splitlines() if len(line.strip()) >= 20]
        assert 2 * sum(line in train_lines for line in lines) <= len(lines)


def test_documents_with_half_of_their_lines_in_common_are_kept(build) -> None:
    edited = b"\n".join([*LINES[:2], b"a new third sentence ?", b"a new fourth sentence ?"])
    manifest, _ = near_copies(build, b"\n".join(LINES), edited)
    assert manifest.n_near_duplicates_dropped == 0


def test_documents_of_short_lines_are_compared_whole(build) -> None:
    documents = {f"{n}.txt": b"short %d\nlines\nonly\n" % n for n in range(100)}
    manifest = build({**documents, "copy.txt": documents["5.txt"]}, heldout_fraction=0.3).manifest
    assert (manifest.n_duplicates_dropped, manifest.n_near_duplicates_dropped) == (1, 0)


def test_held_out_documents_that_are_all_near_duplicates_are_an_error_of_the_user(build) -> None:
    shared = b"\n".join(LINES)
    with pytest.raises(IsoflopError, match="No held-out text remains") as caught:
        build({f"{n}.txt": shared + b"\nand number %d" % n for n in range(10)})
    assert "heldout_fraction" in caught.value.hint


@pytest.mark.parametrize("fraction", [1e-9, 0.499999], ids=["smallest", "largest"])
@pytest.mark.parametrize("n_documents", [2, 3])
def test_no_side_is_ever_empty(build, n_documents: int, fraction: float) -> None:
    corpus = build(texts(n_documents), heldout_fraction=fraction)
    train, heldout = side_texts(corpus)
    assert train
    assert heldout
    assert len(train) + len(heldout) == n_documents
    if fraction == 1e-9:
        assert (corpus.manifest.split, len(heldout)) == ("one_moved", 1)


def test_when_all_documents_hash_to_the_held_out_side_one_of_them_trains(build) -> None:
    documents = [text(n) for n in range(200)]
    _, heldout = side_texts(build(texts(200), heldout_fraction=0.4))
    pair = [document for document in documents if document in heldout][:2]
    corpus = build({"0.txt": pair[0], "1.txt": pair[1]}, paths=("texts/0.txt", "texts/1.txt"), heldout_fraction=0.4)
    assert corpus.manifest.split == "one_moved"
    assert (corpus.manifest.n_train_documents, corpus.manifest.n_heldout_documents) == (1, 1)


def test_a_single_document_is_split_at_a_line(build) -> None:
    content = text(1, n_lines=500)
    corpus = build({"a.txt": content, "copy.txt": content}, heldout_fraction=0.1)
    (train,), (heldout,) = side_texts(corpus)
    assert train + heldout == content
    assert train.endswith(b"\n")
    assert len(heldout) / len(content) == pytest.approx(0.1, abs=0.01)
    assert corpus.manifest.split == "by_position"


def test_a_single_line_is_split_where_it_must(build) -> None:
    (train,), (heldout,) = side_texts(build({"a.txt": b"0123456789"}, heldout_fraction=0.2))
    assert (train, heldout) == (b"01234567", b"89")


def test_a_single_byte_cannot_be_split(build) -> None:
    with pytest.raises(IsoflopError, match="nothing can be held out"):
        build({"a.txt": b"a"})


def test_one_big_file_gets_its_held_out_text_from_all_of_it(build) -> None:
    manifest = build({"big.txt": text(1, n_lines=100_000)}).manifest
    assert manifest.n_documents == 64
    assert manifest.split in ("by_hash", "one_moved")
    assert manifest.n_heldout_bytes < 0.1 * manifest.n_train_bytes


@pytest.mark.parametrize("fraction", [0.02, 0.45])
def test_memory_grows_neither_with_the_training_text_nor_with_the_held_out(
    build, tmp_path: Path, fraction: float
) -> None:
    line = b"x" * 999 + b"\n"
    big = tmp_path / "texts" / "big.txt"
    big.parent.mkdir()
    with big.open("wb") as file:
        for n in range(60_000):
            file.write(b"%d" % n + line)
    tracemalloc.start()
    try:
        manifest = build({}, heldout_fraction=fraction).manifest
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert manifest.n_train_bytes + manifest.n_heldout_bytes > 60e6
    assert peak < 12e6


def test_duplicates_are_the_same_however_many_digests_are_sorted_at_once() -> None:
    texts = [b"document %d" % (n * n % 700) for n in range(3000)]
    seen, expected = set[bytes](), []
    for text in texts:
        expected.append(text not in seen)
        seen.add(text)
    for most_sorted in (50, 999, 10_000):
        with DocumentDigests(None, most_sorted=most_sorted) as digests:
            for text in texts:
                digests.add(text)
            assert digests.are_first().tolist() == expected


def test_held_out_lines_beyond_the_bound_are_sampled_alike_in_every_text() -> None:
    documents = [text(n, n_lines=40) for n in range(500)]
    lines = line_set(documents, most=3000)
    assert 1000 < len(lines.hashes) <= 3000
    assert lines.mask == 7  # 20,000 lines: an eighth is the first power of two that fits
    elsewhere = np.zeros(len(lines.hashes), np.bool_)
    elsewhere[lines.shared(documents[::2])] = True
    found = [is_near_duplicate(document, lines, elsewhere) for document in documents]
    sampled = [len(lines.places(document)) > 0 for document in documents]
    assert found == [place % 2 == 0 and sampled[place] for place in range(500)]
    assert sum(found) > 240
    assert (lines.places(text(9999)) == -1).all()
