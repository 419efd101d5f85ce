import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from isoflop.corpus import Corpus, Progress, batch, load_corpus, load_intact, open_corpus
from isoflop.corpus.integrity import STAMP_NAME
from isoflop.errors import IsoflopError
from isoflop.files import alone_at
from isoflop.spec import CorpusSpec, TokenizerSpec
from tests.waits import until

FILES = CorpusSpec(source="files", paths=("texts",), heldout_fraction=0.1)

# Opens the corpus of folder argv[1]. Half-way it adds its process id to `half-way` and waits for the file `go`.
BUILDER = """
import os, sys, time
from pathlib import Path
from isoflop.corpus import open_corpus
from isoflop.spec import CorpusSpec, TokenizerSpec
from tests.waits import until

base = Path(sys.argv[1])

def on_progress(at):
    if at.stage == "tokenising the corpus" and at.share > 0.4:
        with (base / "half-way").open("a") as file:
            file.write(f"{os.getpid()}\\n")
        while not (base / "go").exists():
            time.sleep(0.01)

spec = CorpusSpec(source="files", paths=("texts",), heldout_fraction=0.1)
corpus = open_corpus(spec, TokenizerSpec(), root=base / "root", base=base, on_progress=on_progress)
print(corpus.manifest.fingerprint)
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "texts").mkdir()
    for n in range(200):
        (tmp_path / "texts" / f"{n}.txt").write_text(f"This is what document {n} has to say.\n" * (n + 1))
    return tmp_path


def open_files(base: Path, **options) -> Corpus:
    return open_corpus(FILES, TokenizerSpec(), root=base / "root", base=base, **options)


def start_builder(base: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", BUILDER, str(base)], stdout=subprocess.PIPE, text=True)


def built_folders(base: Path) -> list[str]:
    return sorted(path.name for path in (base / "root").iterdir() if path.name not in ("index", "lock"))


def test_a_command_that_waits_for_another_builder_says_so(base: Path) -> None:
    waits, heard = threading.Event(), []

    def hear(at: Progress) -> None:
        heard.append(at.stage)
        waits.set()

    with ThreadPoolExecutor(1) as threads:
        with alone_at(base / "root" / "lock"):
            opened = threads.submit(open_files, base, on_progress=hear)
            assert waits.wait(60)
            assert heard == ["waiting for another command that builds a corpus here"]
        assert opened.result(60).manifest.n_documents == 200


def was_built(base: Path) -> bool:
    heard = []
    open_files(base, on_progress=heard.append)
    return bool(heard)


def test_an_unchanged_corpus_is_built_once(base: Path) -> None:
    heard: list[Progress] = []
    first = open_files(base, on_progress=heard.append)
    assert list(dict.fromkeys(at.stage for at in heard)) == ["reading the corpus", "tokenising the corpus"]
    for stage in ("reading the corpus", "tokenising the corpus"):
        shares = [at.share for at in heard if at.stage == stage]
        assert shares == sorted(shares)
        assert 0 < shares[0] < shares[-1] <= 1
    assert not was_built(base)
    assert open_files(base).manifest == first.manifest
    assert built_folders(base) == [first.manifest.fingerprint]


def test_opening_a_built_corpus_writes_nothing(base: Path) -> None:
    open_files(base)
    before = {path: path.stat().st_mtime_ns for path in (base / "root").rglob("*")}
    assert not was_built(base)
    assert {path: path.stat().st_mtime_ns for path in (base / "root").rglob("*")} == before


def test_another_text_is_another_corpus(base: Path) -> None:
    first = open_files(base).manifest.fingerprint
    (base / "texts" / "more.txt").write_text("one more document")
    second = open_files(base).manifest.fingerprint
    assert first != second
    assert built_folders(base) == sorted([first, second])


def test_an_edited_file_of_the_same_size_is_noticed(base: Path) -> None:
    first = open_files(base).manifest.fingerprint
    path = base / "texts" / "3.txt"
    path.write_text(path.read_text().upper())
    assert open_files(base).manifest.fingerprint != first


def test_the_fingerprint_is_of_the_content_and_not_of_names_and_times(base: Path) -> None:
    first = open_files(base).manifest.fingerprint
    (base / "texts").rename(base / "renamed")
    os.utime(base / "renamed" / "3.txt", (1, 1))
    spec = FILES.model_copy(update={"paths": ("renamed",)})
    second = open_corpus(spec, TokenizerSpec(), root=base / "other", base=base)
    assert second.manifest.fingerprint == first
    again = open_corpus(spec, TokenizerSpec(), root=base / "root", base=base)
    assert again.manifest.source == "files renamed"
    assert load_corpus(base / "root", first).manifest.source == "files texts"  # not written again


def test_a_moved_split_is_another_corpus(base: Path) -> None:
    spec = FILES.model_copy(update={"heldout_fraction": 0.4})
    other = open_corpus(spec, TokenizerSpec(), root=base / "root", base=base)
    assert other.manifest.fingerprint != open_files(base).manifest.fingerprint


def test_a_process_of_its_own_finds_the_same_fingerprint(base: Path) -> None:
    (base / "go").touch()
    output, _ = start_builder(base).communicate(timeout=150)
    there = load_corpus(base / "root", output.strip())
    here = open_corpus(FILES, TokenizerSpec(), root=base / "here", base=base)
    assert here.manifest == there.manifest
    options = {"seed": 5, "first_sequence": 10, "n_sequences": 4, "context_length": 32}
    assert np.array_equal(batch(here, **options), batch(there, **options))


def test_a_killed_builder_leaves_nothing_that_is_taken_for_a_corpus(base: Path) -> None:
    builder = start_builder(base)
    until((base / "half-way").exists)
    builder.kill()
    builder.communicate()
    (leftover,) = built_folders(base)
    assert list((base / "root" / leftover).glob("train-*.bin"))
    corpus = open_files(base)
    assert corpus.train.n_tokens == corpus.manifest.n_train_tokens
    assert built_folders(base) == [corpus.manifest.fingerprint]


@pytest.mark.slow
def test_of_two_builders_at_once_one_builds_and_both_end_well(base: Path) -> None:
    first = start_builder(base)
    until((base / "half-way").exists)
    second = start_builder(base)
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(timeout=1.5)
    (base / "go").touch()
    outputs = [builder.communicate(timeout=150)[0] for builder in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0)
    assert outputs[0] == outputs[1]
    assert set((base / "half-way").read_text().split()) == {str(first.pid)}
    assert built_folders(base) == [outputs[0].strip()]


def test_an_interrupted_builder_cleans_up(base: Path) -> None:
    def interrupt(at: Progress) -> None:
        if at.share > 0.7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_files(base, on_progress=interrupt)
    assert built_folders(base) == []


def test_a_file_that_changes_meanwhile_is_an_error_of_the_user(base: Path) -> None:
    def change(at: Progress) -> None:
        if at.share > 0.7:
            (base / "texts" / "17.txt").write_text("changed")

    with pytest.raises(IsoflopError, match=r"17\.txt' changed while"):
        open_files(base, on_progress=change)
    assert built_folders(base) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff", b'{"fingerprint": 3}', b'{"fingerprint": "../../etc"}', b"{}", b"[" * 100_000],
    ids=["empty", "cut", "list", "null", "not text", "number", "path", "no key", "deep"],
)
def test_a_corrupt_index_entry_is_built_again(base: Path, content: bytes) -> None:
    open_files(base)
    (entry,) = (base / "root" / "index").iterdir()
    good = entry.read_bytes()
    entry.write_bytes(content)
    assert was_built(base)
    assert entry.read_bytes() == good
    assert not was_built(base)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000], ids=["empty", "cut", "not text", "deep"])
def test_a_corrupt_note_of_what_was_read_costs_one_reading(base: Path, content: bytes) -> None:
    folder = base / "root" / open_files(base).manifest.fingerprint
    good = (folder / STAMP_NAME).read_bytes()
    (folder / STAMP_NAME).write_bytes(content)
    assert not was_built(base)
    assert (folder / STAMP_NAME).read_bytes() == good


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 2)


DAMAGE = {
    "truncated": ("train-00001.bin", truncate, "train-00001.bin has 1998 bytes instead of 2000"),
    "missing": ("train-00002.bin", Path.unlink, "train-00002.bin is missing"),
    "heldout truncated": ("heldout-00000.bin", truncate, "heldout-00000.bin has"),
    "no manifest": ("manifest.json", Path.unlink, "manifest.json is missing"),
    "cut manifest": ("manifest.json", truncate, "its manifest is not one"),
    "manifest of another": (
        "manifest.json",
        lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), "fingerprint": "0" * 16})),
        "manifest is that of 0000000000000000",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "damage", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_corpus_is_refused_by_workers_and_built_again(base: Path, name, damage, message: str) -> None:
    manifest = open_files(base, shard_tokens=1000).manifest
    damage(base / "root" / manifest.fingerprint / name)
    with pytest.raises(IsoflopError, match=message) as caught:
        load_corpus(base / "root", manifest.fingerprint)
    assert "rebuilds" in caught.value.hint
    assert open_files(base, shard_tokens=1000).manifest == manifest
    assert load_corpus(base / "root", manifest.fingerprint).manifest == manifest


def test_the_hash_of_an_absent_corpus_is_an_error_of_the_user(base: Path) -> None:
    with pytest.raises(IsoflopError, match="no corpus 0123456789abcdef"):
        load_corpus(base / "root", "0123456789abcdef")


@pytest.mark.parametrize("name", ["", "..", "index", "../root/x", "0123456789ABCDEF", "0123456789abcdef\n", "/etc"])
def test_only_a_fingerprint_becomes_a_path(base: Path, name: str) -> None:
    with pytest.raises(IsoflopError, match="not a corpus fingerprint"):
        load_corpus(base / "root", name)


def test_a_root_that_is_a_file_is_an_error_of_the_user(base: Path) -> None:
    (base / "root").write_text("not a folder")
    with pytest.raises(IsoflopError, match="Cannot build the corpus in"):
        open_files(base)


def test_the_standard_library_is_a_corpus_of_a_useful_size(stdlib: Corpus) -> None:
    manifest = stdlib.manifest
    assert manifest.n_train_bytes > 5e6
    assert manifest.n_heldout_tokens > 100_000
    assert manifest.interpreter is not None
    assert manifest.interpreter in manifest.source
    n_bytes, n_tokens = manifest.n_heldout_bytes, manifest.n_heldout_tokens
    assert n_tokens - n_bytes == manifest.n_heldout_documents
    assert stdlib.facts.bytes_per_token == n_bytes / n_tokens


def test_the_standard_library_opens_fast_the_second_time(stdlib: Corpus, stdlib_root: Path) -> None:
    heard: list[Progress] = []
    again = open_corpus(CorpusSpec(), TokenizerSpec(), root=stdlib_root, base=Path(), on_progress=heard.append)
    assert again.manifest == stdlib.manifest
    assert heard == []


def test_opening_a_corpus_needs_no_torch() -> None:
    code = "import sys, isoflop.corpus; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_same_text_in_another_format_says_what_was_read(base: Path) -> None:
    first = open_files(base).manifest
    texts = [(base / "texts" / f"{n}.txt").read_text() for n in sorted(range(200), key=lambda n: f"{n}.txt")]
    lines = [json.dumps({"text": text}) for text in (*texts, "", texts[0])]
    (base / "all.jsonl").write_text("\n".join(lines))
    spec = CorpusSpec(source="jsonl", paths=("all.jsonl",), heldout_fraction=0.1)
    built, found = (open_corpus(spec, TokenizerSpec(), root=base / "root", base=base).manifest for _ in range(2))
    assert built == found
    assert found.fingerprint == first.fingerprint
    assert (found.source, found.n_files, found.n_documents) == ("jsonl all.jsonl", 1, 201)
    assert (found.n_duplicates_dropped, found.n_empty_dropped) == (first.n_duplicates_dropped + 1, 1)
    assert open_files(base).manifest == first


def test_altered_shards_of_full_size_are_refused_by_those_who_measure(base: Path) -> None:
    manifest = open_files(base).manifest
    shard = base / "root" / manifest.fingerprint / "heldout-00000.bin"
    assert load_intact(base / "root", manifest.fingerprint).manifest == manifest
    content = bytearray(shard.read_bytes())
    content[0] ^= 1
    shard.write_bytes(content)
    load_corpus(base / "root", manifest.fingerprint)
    with pytest.raises(IsoflopError, match="is damaged: its files are not those that were built") as caught:
        load_intact(base / "root", manifest.fingerprint)
    assert "rebuilds" in caught.value.hint
