"""Modules of a factory under our loop: where they are our decoder its bits, interrupted or not the same bits."""

from pathlib import Path
from textwrap import dedent

import pytest
import torch
from safetensors.torch import load_file

from isoflop.corpus import Corpus
from isoflop.errors import IsoflopError
from isoflop.result import Status
from isoflop.run_spec import FactorySpec, RunSpec
from isoflop.rundir.kept_state import holds_weights
from isoflop.rundir.layout import checkpoint_path, weights_path
from isoflop.shape import CountedShape
from isoflop.train.count_models import counted_sizes
from isoflop.train.factory_source import factory_source
from isoflop.train.loop import train
from isoflop.train.progress import Ending, Progress, Trained
from tests.train.conftest import CPU, StopAt, make_run, run_it

OURS = """
from isoflop.shape import ModelShape
from isoflop.train.model import build_model
def build(**shape):
    return build_model(ModelShape(**shape), seed=0)
"""
# With what a state has beside weights: dropout, a buffer that training moves, a frozen and an unused parameter, a tie.
ODD = """
import torch
from torch import nn
class Odd(nn.Module):
    def __init__(self, width, vocab_size):
        super().__init__()
        self.embed, self.head = nn.Embedding(vocab_size, width), nn.Linear(width, vocab_size, bias=False)
        self.up, self.dropout, self.norm = nn.Linear(width, width), nn.Dropout(0.2), nn.BatchNorm1d(width)
        self.head.weight = self.embed.weight
        self.gate = nn.Parameter(torch.ones(width), requires_grad=False)
        self.down = nn.Parameter(torch.ones(width))
        self.register_buffer("scratch", torch.zeros(3), persistent=False)
    def forward(self, tokens):
        x = self.embed(tokens)
        x = self.norm(torch.tanh(self.dropout(self.up(x))).transpose(1, 2)).transpose(1, 2)
        return self.head(x * self.gate) / 16
def build(*, width, vocab_size, **others):
    return Odd(width, vocab_size)
"""
GROUPS = """
    def isoflop_param_groups(self, recipe):
        PLACE
def build(
"""


def of_factory(folder: Path, text: str, run: RunSpec) -> RunSpec:
    """`run` with what the factory `own_models:build` of that text builds for its shape."""
    (folder / "own_models.py").write_text(dedent(text))
    name = "own_models:build"
    (size,) = counted_sizes(name, folder, [list(run.shape.as_dict().values())])
    size.pop("untold")
    factory = FactorySpec(name=name, code_hash=factory_source(name, folder).code_hash)
    return run.model_copy(update={"shape": CountedShape(**size, **run.shape.as_dict()), "factory": factory})


class Noting(StopAt):
    """Notes the steps that are taken."""

    def __init__(self, step: int | None, taken: list[int]) -> None:
        super().__init__(step)
        self.taken = taken

    def after_step(self, progress: Progress, loss: float) -> None:
        super().after_step(progress, loss)
        self.taken.append(progress.step)


def trained(
    run: RunSpec, corpus: Corpus, folder: Path, *, stop_at: int | None = None, taken: list[int] | None = None
) -> Trained:
    watcher = Noting(stop_at, [] if taken is None else taken)
    return train(run, corpus, CPU, checkpoints=folder / "state", watcher=watcher, folder=folder)


def test_our_decoder_from_a_factory_ends_with_the_bits_of_our_decoder(corpus: Corpus, tmp_path: Path) -> None:
    """So its weights have the rates and decays of ours by their names, and its loss is taken as ours."""
    run = make_run(corpus)
    ours = run_it(run, corpus, tmp_path / "ours")
    theirs = trained(of_factory(tmp_path, OURS, run), corpus, tmp_path)
    assert theirs.heldout == ours.heldout
    assert theirs.progress.curve == ours.progress.curve


def test_an_interrupted_module_ends_with_the_bits_of_one_that_was_not(corpus: Corpus, tmp_path: Path) -> None:
    run = of_factory(tmp_path, ODD, make_run(corpus))
    whole = trained(run, corpus, tmp_path)
    assert whole.ending is Ending.COMPLETED
    weights = load_file(weights_path(tmp_path / "state", run.run_id))
    assert holds_weights(weights_path(tmp_path / "state", run.run_id), run)
    again = tmp_path / "again"
    again.mkdir()
    (again / "own_models.py").write_text(ODD)
    taken: list[int] = []
    for stop_at in (7, 20, None):
        torch.manual_seed(stop_at or 0)  # whatever else drew numbers meanwhile
        part = trained(run, corpus, again, stop_at=stop_at, taken=taken)
        assert checkpoint_path(again / "state", run.run_id).exists()
    assert taken == list(range(1, run.n_steps + 1))  # none is taken twice: every checkpoint was of use
    assert part.heldout == whole.heldout
    assert part.progress.curve == whole.progress.curve
    resumed = load_file(weights_path(again / "state", run.run_id))
    assert set(resumed) == set(weights) == {
        "embed.weight", "up.weight", "up.bias", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var",
        "norm.num_batches_tracked", "gate", "down",
    }  # fmt: skip
    assert all(torch.equal(resumed[name], weights[name]) for name in weights)
    assert weights["norm.num_batches_tracked"] == run.n_steps
    assert torch.equal(weights["gate"], torch.ones(16))


def test_a_module_is_drawn_from_the_seed_of_its_run(corpus: Corpus, tmp_path: Path) -> None:
    runs = [make_run(corpus, seed=seed, n_steps=3, schedule=SHORT) for seed in (0, 0, 1)]
    curves = [trained(of_factory(tmp_path, ODD, run), corpus, tmp_path).progress.curve for run in runs]
    assert curves[0] == curves[1] != curves[2]


SHORT = {"warmup_steps": 0, "cooldown_steps": 0, "cooldown_shape": "linear"}
ONE_GROUP = 'return [{"params": [p for p in self.parameters() if p.requires_grad], "lr": LR}]'


def with_groups(text: str) -> str:
    return ODD.replace("def build(\n", "def build(").replace("def build(", GROUPS.strip("\n").replace("PLACE", text), 1)


def test_a_module_may_say_its_own_rates(corpus: Corpus, tmp_path: Path) -> None:
    """The rates of the rule said by the module itself give the bits of the rule; other rates give others."""
    said = """
    from isoflop.train.model import Decoder
    class Own(Decoder):
        def isoflop_param_groups(self, recipe):
            hidden = [w for n, w in self.named_parameters() if w.dim() == 2 and n.startswith("layers")]
            plain = [self.embed_tokens.weight] + [w for w in self.parameters() if w.dim() == 1]
            rate = recipe.learning_rate * FACTOR
            rates = [rate, rate * recipe.hidden_rate_scale, rate * recipe.head_rate_scale]
            return [
                {"params": plain, "lr": rates[0]},
                {"params": hidden, "lr": rates[1], "weight_decay": recipe.decay_per_step / rates[1]},
                {"params": [self.lm_head.weight], "lr": rates[2], "weight_decay": recipe.decay_per_step / rates[2]},
            ]
    def build(**shape):
        made = build_model(ModelShape(**shape), seed=0)
        made.__class__ = Own
        return made
    """
    run = make_run(corpus, n_steps=6, schedule=SHORT)
    texts = [OURS, *(dedent(OURS) + dedent(said).replace("FACTOR", factor) for factor in ("1", "2"))]
    rule, own, doubled = (trained(of_factory(tmp_path, text, run), corpus, tmp_path).progress.curve for text in texts)
    assert own == rule
    assert doubled != rule


@pytest.mark.parametrize(
    ("groups", "sentence"),
    [
        ("return 3", "returned a value of type int, not a list of groups"),
        ("return [3]", "not a list of groups"),
        ('return [{"params": []}]', "lacks params or lr"),
        ('return [{"params": [], "lr": 1.0, "betas": 1}]', "has the key 'betas'"),
        ('return [{"params": [], "lr": float("nan")}]', "lr = nan"),
        ('return [{"params": [self.down], "lr": 1.0}]', "leave out 'embed.weight'"),
        (ONE_GROUP.replace("LR", "1.0").replace("return [", "return 2 * ["), "name a parameter twice"),
    ],
)
def test_groups_that_cannot_be_are_told(corpus: Corpus, tmp_path: Path, groups: str, sentence: str) -> None:
    run = of_factory(tmp_path, with_groups(groups), make_run(corpus))
    with pytest.raises(IsoflopError, match=r"Odd\.isoflop_param_groups") as raised:
        trained(run, corpus, tmp_path)
    assert sentence in raised.value.message


def test_a_model_whose_loss_is_no_number_has_diverged(corpus: Corpus, tmp_path: Path) -> None:
    run = of_factory(tmp_path, ODD.replace("x * self.gate", "x / 0 * 0"), make_run(corpus))
    ended = trained(run, corpus, tmp_path)
    assert (ended.ending, ended.ending.value) == (Ending.DIVERGED, Status.DIVERGED.value)
    assert ended.reason is not None
    assert ended.reason.startswith("step 1 of 40: ")


def test_a_model_that_gives_other_logits_when_it_trains_is_told(corpus: Corpus, tmp_path: Path) -> None:
    text = ODD.replace("return self.head(x * self.gate) / 16", "return self.head(x if x.is_meta else x[:, :-1])")
    run = of_factory(tmp_path, text, make_run(corpus))
    with pytest.raises(ValueError, match=r"returned a tensor \(4, 31, 257\) where logits \(4, 32, 257\) are wanted"):
        trained(run, corpus, tmp_path)


def test_a_factory_that_changed_between_attempts_trains_nothing(corpus: Corpus, tmp_path: Path) -> None:
    run = of_factory(tmp_path, ODD, make_run(corpus))
    trained(run, corpus, tmp_path, stop_at=5)
    kept = checkpoint_path(tmp_path / "state", run.run_id).read_bytes()
    (tmp_path / "own_models.py").write_text(ODD + "# another")
    with pytest.raises(IsoflopError, match="The factory changed between attempts") as raised:
        trained(run, corpus, tmp_path)
    assert run.run_id in raised.value.message
    assert checkpoint_path(tmp_path / "state", run.run_id).read_bytes() == kept
    (tmp_path / "own_models.py").write_text(ODD)
    assert trained(run, corpus, tmp_path).ending is Ending.COMPLETED


def test_a_factory_that_builds_more_than_was_counted_trains_nothing(corpus: Corpus, tmp_path: Path) -> None:
    """As where a file that it imports, which no hash covers, has changed."""
    run = of_factory(tmp_path, ODD, make_run(corpus))
    more = run.model_copy(
        update={"shape": CountedShape(**{**run.shape.as_dict(), "n_params_total": run.shape.n_params_total - 1})}
    )
    with pytest.raises(IsoflopError, match=r"The factory changed: it builds \d+ parameters for 2x16"):
        trained(more, corpus, tmp_path)
