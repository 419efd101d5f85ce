"""What `plan` says of its corpus, and that a dry run counts it and writes nothing."""

import json
import random
import shutil
from pathlib import Path

import pytest

from isoflop.cli.console import tokenising
from isoflop.corpus.builder.stages import Progress, Stage
from tests.cli.test_cli_surface import isoflop

SWEEP = """
name = "small"
budgets = [1e9, 3e9]
[grid]
sizes = 3
half_width = 0.3
center_n_params = 12e3
[model]
context_length = 64
[corpus]
source = "files"
paths = ["texts"]
pattern = ["*.txt", "more/*.{md,rst}"]
heldout_fraction = 0.1
[recipe]
min_steps = 1
max_epochs = 100
"""
N_TEXTS, N_COPIES = 80, 3


def text_of(number: int) -> str:
    words = random.Random(number)
    return "".join(f"{words.random()} of page {number}\n" for _ in range(60))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 texts, three of them twice, and a planned sweep of them."""
    folder = tmp_path_factory.mktemp("planned")
    (folder / "texts" / "more").mkdir(parents=True)
    for number in range(N_TEXTS):
        name = f"more/{number}.{'md' if number % 2 else 'rst'}" if number < 10 else f"{number}.txt"
        (folder / "texts" / name).write_text(text_of(number))
    for number in range(N_COPIES):
        (folder / "texts" / f"copy of {number}.txt").write_text(text_of(number))
    (folder / "texts" / "more" / "ignored.html").write_text("ignored")
    (folder / "s.toml").write_text(SWEEP)
    isoflop("plan", "s.toml", folder=folder)
    return folder


@pytest.fixture
def fresh(folder: Path, tmp_path: Path) -> Path:
    """The same texts and sweep, nothing planned."""
    shutil.copytree(folder / "texts", tmp_path / "texts", copy_function=shutil.copy2)
    shutil.copy2(folder / "s.toml", tmp_path)
    return tmp_path


def document(folder: Path, *arguments: str) -> dict[str, object]:
    return json.loads(isoflop("plan", "s.toml", "--json", *arguments, folder=folder).stdout)


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file and folder with its size, time of change and content."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        status = path.stat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(folder))] = (status.st_size, status.st_mtime_ns, content)
    return found


def test_the_document_and_the_text_say_what_the_corpus_is(folder: Path) -> None:
    corpus = document(folder)["corpus"]
    texts = [path for path in (folder / "texts").rglob("*") if path.suffix in (".txt", ".md", ".rst")]
    n_bytes = sum(len(text_of(number)) for number in range(N_TEXTS))
    assert corpus["n_files"] == corpus["n_documents"] == len(texts) == N_TEXTS + N_COPIES
    assert corpus["n_duplicates_dropped"] == N_COPIES
    assert corpus["n_near_duplicates_dropped"] == 0
    assert corpus["n_train_documents"] + corpus["n_heldout_documents"] == N_TEXTS
    assert corpus["n_train_tokens"] + corpus["n_heldout_tokens"] == n_bytes + N_TEXTS
    assert (corpus["source"], corpus["split"]) == ("files texts", "by_hash")
    [manifest] = folder.glob("isoflop-artifacts/corpora/*/manifest.json")
    built = json.loads(manifest.read_text())
    # A manifest says nothing of these where there is nothing to say.
    assert (corpus.pop("n_empty_dropped"), corpus.pop("mix"), corpus.pop("vocab_size")) == (0, [], 257)
    assert {key: built[key] for key in corpus if key != "bytes_per_token"} == {
        key: value for key, value in corpus.items() if key != "bytes_per_token"
    }
    shown = isoflop("plan", "s.toml", folder=folder).stdout.splitlines()
    assert "corpus: files texts; 83 documents in 83 files" in shown
    assert "dropped from the corpus: 3 duplicates" in shown
    held = corpus["n_heldout_documents"]
    assert any(f"in {N_TEXTS - held} documents to train on, " in line for line in shown)
    assert any(line.endswith(f" in {held} documents held out") for line in shown)


def test_the_plan_says_why_its_held_out_text_is_short(folder: Path) -> None:
    plan = document(folder)
    [finding] = [finding for finding in plan["findings"] if finding["code"] == "short_heldout"]
    assert "corpus.heldout_fraction = 0.1 of " in finding["message"]
    assert finding["values"]["n_heldout_documents"] == plan["corpus"]["n_heldout_documents"]


def test_a_dry_run_counts_what_a_plan_would_and_writes_nothing(folder: Path, fresh: Path) -> None:
    before = snapshot(fresh)
    counted = document(fresh, "--dry-run")
    assert "Dry run: nothing was written." in isoflop("plan", "s.toml", "--dry-run", folder=fresh).stdout
    assert snapshot(fresh) == before
    planned = document(folder)
    assert counted["corpus"] == planned["corpus"]
    assert [run["run_id"] for run in counted["runs"]] == [run["run_id"] for run in planned["runs"]]


def test_a_dry_run_leaves_a_built_corpus_and_the_rests_of_killed_builders_alone(folder: Path, tmp_path: Path) -> None:
    """A plan would note that it read the shards, and remove what is unfinished."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, copy_function=shutil.copy2)
    corpora = copy / "isoflop-artifacts" / "corpora"
    [stamp] = corpora.glob("*/verified.json")
    stamp.unlink()
    (corpora / "building-0123").mkdir()
    (corpora / "index" / ".abc.4242.tmp").write_text("{")
    before = snapshot(copy)
    document(copy, "--dry-run")
    assert snapshot(copy) == before
    document(copy)
    assert stamp.exists()


def test_a_dry_run_counts_again_where_the_built_corpus_is_damaged(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, copy_function=shutil.copy2)
    [shard] = copy.glob("isoflop-artifacts/corpora/*/train-00000.bin")
    shard.write_bytes(bytes(len(shard.read_bytes())))
    before = snapshot(copy)
    assert document(copy, "--dry-run")["corpus"]["fingerprint"] == shard.parent.name
    assert snapshot(copy) == before


def test_a_command_that_waits_for_another_ones_corpus_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with tokenising() as show:
        show(Progress(Stage.WAITING, 0, 0))
    assert capsys.readouterr().err == "waiting for another command that builds a corpus here\n"
