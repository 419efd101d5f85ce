"""A build that is killed goes on, several processes write what one does, and memory has a bound."""

import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from isoflop.corpus import Corpus, Manifest, Progress, open_corpus
from isoflop.corpus.builder.notes import Done
from isoflop.errors import IsoflopError
from isoflop.spec import CorpusSpec, TokenizerSpec

FILES = CorpusSpec(source="files", paths=("texts",), heldout_fraction=0.1)
KINDS = {"bytes": TokenizerSpec(), "bpe": TokenizerSpec(kind="bpe", vocab_size=300)}

# Builds the corpus of folder argv[1] under argv[2] with argv[3] processes, notes at once how far it is, and stops
# half-way.
BUILDER = """
import sys, time
from pathlib import Path
from isoflop.corpus import open_corpus
from isoflop.spec import CorpusSpec, TokenizerSpec

base, root = map(Path, sys.argv[1:3])
spec = CorpusSpec.model_validate_json(sys.argv[5])

def on_progress(at):
    if at.stage == "tokenising the corpus" and at.share > 0.5:
        (root / "half-way").touch()
        time.sleep(600)

tokenizer = TokenizerSpec.model_validate_json(sys.argv[4])
open_corpus(spec, tokenizer, root=root, base=base, on_progress=on_progress, note_seconds=0, shard_tokens=100_000,
            processes=int(sys.argv[3]))
"""


def write_texts(base: Path, n_documents: int = 600) -> None:
    """Documents of 8 kB, every other one with most lines of a neighbour."""
    (base / "texts").mkdir()
    for n in range(n_documents):
        lines = [f"line {line} of document {n if n % 2 else n // 6} has words and words\n" for line in range(200)]
        (base / "texts" / f"{n}.txt").write_text("".join([*lines, f"a line of document {n} alone\n"]))


def built(base: Path, root: Path, tokenizer: TokenizerSpec, spec: CorpusSpec = FILES, **options) -> Corpus:
    return open_corpus(spec, tokenizer, root=root, base=base, shard_tokens=100_000, **options)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text large enough for several processes."""
    folder = tmp_path_factory.mktemp("resume")
    write_texts(folder)
    return folder


@pytest.fixture(scope="module")
def undisturbed(base: Path) -> dict[str, Manifest]:
    """What one process makes of it in one go."""
    return {kind: built(base, base / "whole", tokenizer).manifest for kind, tokenizer in KINDS.items()}


def killed_half_way(
    base: Path, root: Path, tokenizer: TokenizerSpec, processes: int = 1, spec: CorpusSpec = FILES
) -> Done:
    """What a builder had noted when it was killed."""
    root.mkdir(exist_ok=True)
    asked = tokenizer.model_dump_json(), spec.model_dump_json(exclude_unset=True)
    command = [sys.executable, "-c", BUILDER, str(base), str(root), str(processes), *asked]
    with subprocess.Popen(command) as builder:
        deadline = time.monotonic() + 150
        while not (root / "half-way").exists():
            assert time.monotonic() < deadline and builder.poll() is None
            time.sleep(0.01)
        children = psutil.Process(builder.pid).children()
        builder.kill()
    gone, alive = psutil.wait_procs(children, timeout=60)
    assert not alive, "encoders outlive their builder"
    assert len(gone) == processes - 1, "the builder encodes too"
    (folder,) = root.glob("building-*")
    return Done.model_validate_json((folder / "unfinished" / "done.json").read_bytes())


def encoders() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "serve(" in " ".join(child.cmdline())]


@pytest.mark.slow(7)
@pytest.mark.parametrize(("kind", "processes"), [("bytes", 1), ("bpe", 2)])
def test_a_killed_build_goes_on_where_it_was_to_the_same_corpus(
    base: Path, tmp_path: Path, undisturbed: dict[str, Manifest], kind: str, processes: int
) -> None:
    tokenizer, whole = KINDS[kind], undisturbed[kind]
    noted = killed_half_way(base, tmp_path, tokenizer, processes)
    heard: list[Progress] = []
    corpus = built(base, tmp_path, tokenizer, processes=processes, on_progress=heard.append)
    assert corpus.manifest == whole
    assert whole.n_near_duplicates_dropped > 0
    # What was noted is neither read for its split nor encoded again.
    assert {at.stage for at in heard} == {"tokenising the corpus"}
    assert noted.n_bytes < heard[0].n_bytes
    assert 0.3 * whole.n_train_bytes < noted.n_bytes
    assert heard[-1].n_bytes == whole.n_train_bytes
    names = [sorted(path.name for path in (root / whole.fingerprint).iterdir()) for root in (tmp_path, base / "whole")]
    assert names[0] == names[1]
    assert not list(tmp_path.glob("building-*"))


def test_a_build_for_which_the_disk_was_too_small_goes_on_where_it_was(
    base: Path, tmp_path: Path, undisturbed: dict[str, Manifest]
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    shard_bytes = 200_000  # of 100,000 tokens

    def fill(at: Progress) -> None:
        if at.stage == "tokenising the corpus" and at.share > 0.5:
            resource.setrlimit(resource.RLIMIT_FSIZE, (shard_bytes // 2, limits[1]))

    try:
        with pytest.raises(IsoflopError, match="Cannot build the corpus"):
            built(base, tmp_path, KINDS["bytes"], on_progress=fill, note_seconds=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    heard: list[Progress] = []
    assert built(base, tmp_path, KINDS["bytes"], on_progress=heard.append).manifest == undisturbed["bytes"]
    assert {at.stage for at in heard} == {"tokenising the corpus"}
    assert heard[0].share > 0.4


def test_a_mixture_goes_on_within_its_parts(tmp_path: Path) -> None:
    for part, n_documents in (("a", 60), ("b", 300)):
        (tmp_path / part).mkdir()
        for n in range(n_documents):
            (tmp_path / part / f"{n}.txt").write_text(f"line of document {n} of {part}, and again\n" * 200)
    parts = [{"source": "files", "paths": [part], "weight": n} for n, part in enumerate("ab", start=1)]
    spec = CorpusSpec.model_validate({"mix": parts, "heldout_fraction": 0.1})
    noted = killed_half_way(tmp_path, tmp_path / "root", KINDS["bytes"], spec=spec)
    assert [stream.n_documents > 0 for stream in noted.streams] == [True, True]
    heard: list[Progress] = []
    corpus = built(tmp_path, tmp_path / "root", KINDS["bytes"], spec, on_progress=heard.append)
    assert {at.stage for at in heard} == {"tokenising the corpus"}
    assert heard[0].n_bytes > noted.n_bytes
    assert corpus.manifest == built(tmp_path, tmp_path / "elsewhere", KINDS["bytes"], spec).manifest
    assert not list((tmp_path / "root").rglob("*part*"))


def test_a_text_that_changed_after_a_kill_is_built_from_its_beginning(tmp_path: Path) -> None:
    write_texts(tmp_path, n_documents=200)
    killed_half_way(tmp_path, tmp_path / "root", KINDS["bytes"])
    (tmp_path / "texts" / "1.txt").write_text("changed\n")
    heard: list[Progress] = []
    corpus = built(tmp_path, tmp_path / "root", KINDS["bytes"], on_progress=heard.append)
    assert heard[0].stage == "reading the corpus"
    assert corpus.manifest == built(tmp_path, tmp_path / "elsewhere", KINDS["bytes"]).manifest
    assert not list((tmp_path / "root").glob("building-*"))


@pytest.mark.slow(3)
def test_damaged_notes_are_not_gone_by(base: Path, tmp_path: Path, undisturbed: dict[str, Manifest]) -> None:
    killed_half_way(base, tmp_path / "killed", KINDS["bytes"])
    for name in ("done.json", "split.json", "sides.npy", "lines.npy", "train-00000.bin"):
        root = tmp_path / name
        shutil.copytree(tmp_path / "killed", root)
        (path,) = root.rglob(name)
        os.truncate(path, path.stat().st_size // 2)
        assert built(base, root, KINDS["bytes"]).manifest == undisturbed["bytes"], name


@pytest.mark.slow(4)
def test_an_encoder_that_dies_is_an_error_of_the_user_and_the_next_build_goes_on(
    base: Path, tmp_path: Path, undisturbed: dict[str, Manifest]
) -> None:
    killed: list[psutil.Process] = []

    def kill_one(at: Progress) -> None:
        if at.stage == "tokenising the corpus" and not killed:
            killed.append(encoders()[0])
            killed[0].kill()

    with pytest.raises(IsoflopError, match=r"tokenises the corpus was ended by signal 9") as caught:
        built(base, tmp_path, KINDS["bpe"], processes=2, on_progress=kill_one, note_seconds=0)
    assert "goes on" in caught.value.hint
    assert not encoders()
    heard: list[Progress] = []
    assert built(base, tmp_path, KINDS["bpe"], on_progress=heard.append).manifest == undisturbed["bpe"]
    assert {at.stage for at in heard} == {"tokenising the corpus"}


@pytest.mark.slow(7)
def test_an_interrupt_ends_all_encoders_and_keeps_what_is_noted(base: Path, tmp_path: Path) -> None:
    def interrupt(at: Progress) -> None:
        if at.stage == "tokenising the corpus" and at.share > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        built(base, tmp_path, KINDS["bpe"], processes=2, on_progress=interrupt, note_seconds=0)
    assert not encoders()
    (folder,) = tmp_path.glob("building-*")
    assert Done.model_validate_json((folder / "unfinished" / "done.json").read_bytes()).n_documents > 0
