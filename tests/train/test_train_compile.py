"""A model whose blocks torch has compiled: chosen for GPUs, tried here with its compiler for CPUs."""

import shutil
from pathlib import Path

import pytest
import torch
from torch._inductor import config as inductor

from isoflop.corpus import Corpus
from isoflop.train.loop import Training
from isoflop.train.precision import compile_blocks
from isoflop.train.progress import Ending, StepUnavailable
from tests.train.conftest import CPU, StopAt, make_run, run_it

# torch's compiler uses what torch itself warns of.
pytestmark = pytest.mark.filterwarnings("ignore")
GRAPH = CPU.model_copy(update={"step": "graph"})
COMPILED = GRAPH.model_copy(update={"compile": True})
needs_a_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for a CPU with g++")


@pytest.fixture(autouse=True)
def settings_of_this_test_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    before = inductor.deterministic, inductor.fx_graph_cache, inductor.compile_threads
    yield
    inductor.deterministic, inductor.fx_graph_cache, inductor.compile_threads = before
    torch._dynamo.reset()


@needs_a_compiler
@pytest.mark.slow(20)
def test_a_compiled_run_ends_like_a_plain_one_and_resumed_with_the_same_bits(corpus: Corpus, tmp_path: Path) -> None:
    run = make_run(corpus)
    plain = run_it(run, corpus, tmp_path / "plain", how=GRAPH)
    whole = run_it(run, corpus, tmp_path / "whole", how=COMPILED)
    assert run_it(run, corpus, tmp_path / "parts", how=COMPILED, stop_at=4).ending is Ending.INTERRUPTED
    parts = run_it(run, corpus, tmp_path / "parts", how=COMPILED)
    assert plain.heldout is not None and whole.heldout is not None
    assert whole.heldout.nats_per_token == pytest.approx(plain.heldout.nats_per_token, abs=1e-4)
    assert whole.heldout != plain.heldout, "nothing was compiled"
    assert parts.heldout == whole.heldout
    assert parts.progress.curve == whole.progress.curve
    names = {path.suffix for path in (tmp_path / "compiled").rglob("*") if path.is_file()}
    assert ".py" in names and not names & {".pkl", ".pickle", ".pt"}


@pytest.mark.slow(25)
@needs_a_compiler
def test_blocks_are_compiled_once_whatever_the_depth(corpus: Corpus) -> None:
    run = make_run(corpus)
    deep = make_run(corpus, shape=run.shape.__class__(**{**run.shape.as_dict(), "n_layers": 12}))
    made = Training(deep, corpus, COMPILED, torch.device("cpu"), StopAt())
    with torch._dynamo.config.patch(error_on_recompile=True):
        assert made.advance() is None


@pytest.mark.slow(5)
def test_a_compiler_that_fails_leaves_the_step_to_be_taken_without_it(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inductor.cpp, "cxx", ("no-such-compiler",))
    made = Training(make_run(corpus), corpus, COMPILED, torch.device("cpu"), StopAt())
    with pytest.raises(StepUnavailable):
        made.advance()


def test_a_torch_that_cannot_promise_bits_does_not_compile(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Training(make_run(corpus), corpus, GRAPH, torch.device("cpu"), StopAt())
    monkeypatch.setattr("torch._inductor.config", object())
    with pytest.raises(StepUnavailable, match="same bits"):
        compile_blocks(made.model)
