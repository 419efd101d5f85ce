"""`isoflop evaluate` on a sweep whose weights lie on disk: recorded once, resumable, refused in sentences."""

import json
import math
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from isoflop.corpus import Corpus, heldout_sequences, open_corpus
from isoflop.errors import IsoflopError
from isoflop.plan.types import Cell
from isoflop.probes import make
from isoflop.rundir.layout import dir_of_run
from isoflop.rundir.run_dir import RunDir
from isoflop.spec import CorpusSpec, TokenizerSpec
from isoflop.store import open_store, run_cells
from isoflop.sweep import run_metrics
from isoflop.sweep.run_metrics import WhatToMeasure, measure_runs
from isoflop.sweep.trained_run import RunChoice
from isoflop.train import abilities
from isoflop.train.checkpoint import save_weights
from isoflop.train.model import build_model
from tests.commands import isoflop
from tests.report_examples import make_cell, make_result, planned_otherwise, save_sweep, unfinished
from tests.test_docs_reference import unlike

WORDS = "alpha beta gamma delta epsilon number letter within"


@pytest.fixture(autouse=True)
def _few_questions(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A thousand questions of each kind take seconds; the process has as many threads afterwards as before."""
    monkeypatch.setattr(make, "N_ITEMS", 60)
    monkeypatch.setattr(abilities, "_MADE", {})
    n_threads = torch.get_num_threads()
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep of three completed runs, the last without weights, and two that did not complete."""
    folder = tmp_path_factory.mktemp("evaluate")
    draw, words = random.Random(0), WORDS.split()
    for number in range(30):
        lines = (" ".join(draw.choices(words, k=9)) for _ in range(60))
        (folder / f"{number:02d}.txt").write_text(f"document {number}\n" + "\n".join(lines))
    text = CorpusSpec(source="files", paths=(str(folder),), heldout_fraction=0.2)
    corpus = open_corpus(text, TokenizerSpec(), root=folder / "isoflop-artifacts" / "corpora", base=folder)
    cells = [
        planned_otherwise(make_cell(1e12, width), learning_rate=0.01, corpus_fingerprint=corpus.manifest.fingerprint)
        for width in (16, 32, 48, 64, 80)
    ]
    results = [*map(make_result, cells[:3]), unfinished(cells[3], "diverged", "loss was not finite at step 17")]
    (folder / "demo.toml").write_text('name = "demo"\nbudgets = [1e12]\n')
    for number, cell in enumerate(cells[:2]):
        model = build_model(cell.run.shape, 0)
        torch.nn.init.normal_(model.lm_head.weight, std=0.1, generator=torch.Generator().manual_seed(0))
        results[number] = results[number].model_copy(update={"val_loss": loss_on_heldout(model, corpus, cell)})
        run_dir = RunDir(dir_of_run(folder / "isoflop-artifacts", cell.run.run_id))
        run_dir.path.mkdir(parents=True)
        save_weights(run_dir.weights_path(cell.run.run_id), cell.run.run_id, model)
    save_sweep(folder / "isoflop.db", cells, results)
    return folder


@torch.no_grad()
def loss_on_heldout(model: torch.nn.Module, corpus: Corpus, cell: Cell) -> float:
    length = cell.run.shape.context_length
    windows = heldout_sequences(corpus, n_tokens=cell.run.eval_tokens, context_length=length)
    tokens = torch.from_numpy(windows)
    shares = torch.log_softmax(model(tokens[:, :-1]), dim=-1)
    return -float(shares.gather(2, tokens[:, 1:, None]).mean())


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "copy")


def measured(folder: Path, choice: RunChoice | None = None, *texts: Path, probes: bool = True):
    what = WhatToMeasure(probes=probes, texts=texts, device="cpu")
    return measure_runs(folder / "demo.toml", folder / "isoflop.db", folder / "isoflop-artifacts", choice, what)


def numbers(folder: Path) -> dict[str, dict[str, float]]:
    with open_store(folder / "isoflop.db", write=False) as store:
        found = store.metrics("demo")
    return {run_id: {name: one.value for name, one in metrics.items()} for run_id, metrics in found.items()}


def test_every_run_with_weights_is_measured_once_and_the_others_are_named(folder: Path) -> None:
    first = list(measured(folder))
    assert [bool(one.new) for one in first] == [True, True, False]
    assert first[2].hint is not None and "--again" in first[2].hint
    assert {left.name for left in first[0].left_out} == {"bracket", "frequent_word"}
    recorded = numbers(folder)
    assert len(recorded) == 2
    for weights in (folder / "isoflop-artifacts").glob("*/checkpoint/*"):
        weights.unlink()  # of no use to what is measured
    again = list(measured(folder))
    assert [bool(one.hint) for one in again] == [False, False, True]
    assert not any(one.new for one in again)
    assert numbers(folder) == recorded


def weights_of(folder: Path) -> list[Path]:
    """The files of weights, in the order of their runs."""
    found = {path.name.partition(".")[0]: path for path in (folder / "isoflop-artifacts").glob("*/checkpoint/*")}
    with open_store(folder / "isoflop.db", write=False) as store:
        return [found[cell.run_id] for cell in run_cells(store.cells("demo")) if cell.run_id in found]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def altered(path: Path, factor: float = 5.0) -> None:
    run_id, tensors = path.name.partition(".")[0], load_file(path)
    tensors["lm_head.weight"] *= factor
    save_file(tensors, path, metadata={"run_id": run_id})


@pytest.mark.parametrize(
    ("harm", "said", "first_step"),
    [
        (cut, "are damaged", ""),
        (altered, "the file was altered", "Delete that file; then "),
        (lambda path: altered(path, math.nan), "have a held-out loss of nan nats", "Delete that file; then "),
    ],
)
def test_weights_that_are_not_those_of_the_run_are_named_and_hold_up_no_other(
    folder: Path, harm, said: str, first_step: str
) -> None:
    first, second = weights_of(folder)
    harm(first)
    found = list(measured(folder))
    assert [bool(one.new) for one in found] == [False, True, False]
    assert found[0].hint is not None and said in found[0].hint
    assert list(numbers(folder)) == [second.name.partition(".")[0]]
    with pytest.raises(IsoflopError, match=said) as error:
        list(measured(folder, RunChoice(run=first.name.partition(".")[0])))
    # --again trains no run whose file looks whole.
    assert error.value.hint.startswith(f"{first_step}`isoflop run {folder / 'demo.toml'} --again")


def test_what_was_interrupted_goes_on_where_it_was(folder: Path) -> None:
    runs = measured(folder)
    next(runs)
    runs.close()
    assert len(numbers(folder)) == 1
    assert [bool(one.new) for one in measured(folder)] == [False, True, False]


def test_measuring_again_gives_the_same_numbers(folder: Path, made: Path, tmp_path: Path) -> None:
    list(measured(folder))
    other = shutil.copytree(made, tmp_path / "other")
    list(measured(other))
    assert numbers(folder) == numbers(other)


def test_a_foreign_text_is_measured_under_its_name_and_another_of_the_name_is_refused(folder: Path) -> None:
    text = folder / "My-Text.txt"
    text.write_text("a text of another kind " * 40)
    found = list(measured(folder, None, text, probes=False))
    assert found[0].new == ("text_my_text_bits_per_byte",)
    text.write_text("and now another text " * 40)
    with pytest.raises(IsoflopError, match="stands for another text"):
        list(measured(folder, None, text, probes=False))


def test_one_name_never_stands_for_two_texts_in_a_sweep(folder: Path) -> None:
    ids = [path.name.partition(".")[0] for path in weights_of(folder)]
    text = folder / "note.txt"
    text.write_text("a text of another kind " * 40)
    list(measured(folder, RunChoice(run=ids[0]), text, probes=False))
    text.write_text("and now another text " * 40)
    with pytest.raises(IsoflopError, match="stands for another text"):
        list(measured(folder, RunChoice(run=ids[1]), text, probes=False))
    assert list(numbers(folder)) == ids[:1]


@pytest.mark.parametrize("content", [b"", b"a few words"])
def test_a_text_that_is_too_short_is_refused_before_anything_is_measured(folder: Path, content: bytes) -> None:
    text = folder / "short.txt"
    text.write_bytes(content)
    begun: list[str] = []
    what = WhatToMeasure(texts=(text,), device="cpu")
    with pytest.raises(IsoflopError, match="too few for a window of 64"):
        list(
            measure_runs(
                folder / "demo.toml",
                folder / "isoflop.db",
                folder / "isoflop-artifacts",
                None,
                what,
                on_progress=lambda done, n_runs, run_id: begun.append(run_id),
            )
        )
    assert begun == []


def test_a_text_without_end_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_metrics, "_LARGEST_TEXT", 1 << 20)
    with pytest.raises(IsoflopError, match="has more than 1 MiB"):
        list(measured(folder, None, Path("/dev/zero")))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("1.txt", b"text", "cannot name a metric"),
        ("latin.txt", "größer".encode("latin-1"), "not UTF-8"),
        ("gone.txt", None, "Cannot read the text"),
    ],
)
def test_a_text_that_cannot_be_used_is_refused(folder: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(IsoflopError, match=message):
        list(measured(folder, None, folder / name))


def test_one_run_without_weights_is_refused_with_the_way_to_have_them(folder: Path) -> None:
    [lacking] = [one.run.run.run_id for one in measured(folder) if one.hint]
    with pytest.raises(IsoflopError, match="are not on disk"):
        list(measured(folder, RunChoice(run=lacking)))


def test_nothing_to_measure_and_a_sweep_that_is_not_there_are_refused(folder: Path) -> None:
    with pytest.raises(IsoflopError, match="leaves nothing to measure"):
        list(measured(folder, probes=False))
    (folder / "isoflop.db").unlink()
    with pytest.raises(IsoflopError, match="no database"):
        list(measured(folder))


def test_the_command_prints_one_document_and_its_tables(folder: Path) -> None:
    document = json.loads(isoflop("evaluate", "demo.toml", "--all", "--json", folder=folder).stdout)
    assert list(unlike(document, "evaluate", "evaluate")) == []
    assert [bool(run["metrics"]) for run in document["runs"]] == [True, True, False]
    shown = isoflop("evaluate", "demo.toml", "--all", folder=folder).stdout
    assert "What the models can do: accuracy" in shown and "is left out" in shown and "Without usable weights" in shown
    done = isoflop("evaluate", "demo.toml", "--all", "--confirm", folder=folder, code=1)
    assert "--all names every run" in done.stderr
