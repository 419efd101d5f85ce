"""Mistakes that public IsoFLOP code and its threads show: each is a class of defect that a test keeps out.

The classes in order, one test or a small group each.
"""

import dataclasses
import json
import math
import os
import random
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer as Library
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils.flop_counter import FlopCounterMode

from isoflop.corpus import Corpus, open_corpus
from isoflop.corpus.tokenizers.bpe import train_bpe
from isoflop.corpus_facts import CorpusFacts
from isoflop.finding import Finding
from isoflop.fit import Vertex, fit_as_json, fit_sweep
from isoflop.fit.results.profile import Frontier
from isoflop.plan.planner import make_plan
from isoflop.run_spec import RunSpec
from isoflop.rundir import Assignment
from isoflop.spec import CorpusSpec, SweepSpec, TokenizerSpec, parse_spec
from isoflop.sweep.session import open_session
from isoflop.train.model import Decoder
from isoflop.train.outcome import make_result
from isoflop.train.progress import Trained
from tests.cli.test_cli_surface import isoflop
from tests.config_changes import (
    BASE,
    CHANGES,
    NOT_TRAINED,
    RUN_CHANGES,
    Observed,
    answer,
    as_toml,
    changed,
    leaves,
    observe,
)
from tests.databases import opened
from tests.engine.conftest import SWEEP, make_sandbox
from tests.fit.known_sweeps import Columns, known_sweep, stack, true_log_n, valley, with_noise
from tests.train.conftest import CPU, make_run, run_it

SIMULATED = """
name = "drawn"
budgets = [1e17, 1e18]
trainer = "simulated"
[grid]
sizes = 5
half_width = 0.6
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with texts to train on."""
    folder = make_sandbox(tmp_path_factory.mktemp("base")).folder
    (folder / "more").mkdir()
    words = random.Random(2)
    for number in range(60):
        lines = (" ".join(words.choices(["one", "two", "three"], k=9)) for _ in range(60))
        (folder / "more" / f"{number}.txt").write_text("\n".join(lines))
    library = Library.from_str(train_bpe([b"one two three"], 260).decode())
    library.add_special_tokens(["</s>"])
    library.save(str(folder / "more" / "tokenizer.json"))
    (folder / "more" / "set").mkdir()
    for name in ("x", "set/train"):
        (folder / "more" / f"{name}.jsonl").write_text(
            "".join(json.dumps({"text": f"text {n} {n * n}" * 40, "body": f"body {n}" * 90}) + "\n" for n in range(300))
        )
    for name, length in (("train", 300_000), ("held", 9000)):
        (folder / "more" / f"{name}.bin").write_bytes(array("H", words.choices(range(300), k=length)).tobytes())
    return folder


@pytest.fixture(scope="module")
def text(base: Path) -> Corpus:
    spec = CorpusSpec(source="files", paths=("text",), heldout_fraction=0.1)
    return open_corpus(spec, TokenizerSpec(), root=base / "corpora", base=base)


def rows(folder: Path, sql: str) -> list[tuple[object, ...]]:
    with opened(folder / "isoflop.db") as connection:
        return list(connection.execute(sql))


# 1. Training stops at another token count than planned, or D is computed from a constant batch (flops-fit, nanochat).


@pytest.mark.slow(8)
def test_achieved_tokens_and_flops_are_what_went_through_the_model(text: Corpus, tmp_path: Path) -> None:
    """Counted from outside, over an interruption and unequal micro-batches."""
    run = make_run(text, n_steps=40, batch_sequences=5, eval_tokens=32)
    how = CPU.model_copy(update={"micro_batch_sequences": 2, "attention": "math"})
    trained_on: list[int] = []

    def count(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if isinstance(module, Decoder) and module.training:
            trained_on.append(inputs[0].numel())

    hook = register_module_forward_pre_hook(count)
    try:
        with FlopCounterMode(display=False) as counter:
            run_it(run, text, tmp_path, stop_at=13, how=how)
            trained = run_it(run, text, tmp_path, how=how)
    finally:
        hook.remove()
    assignment = Assignment(tmp_path, 1, tmp_path, tmp_path, tmp_path, os.getpid(), "", None, None)
    result = make_result(run, assignment, how, trained)
    assert result.n_tokens == sum(trained_on) == run.n_tokens == 40 * 5 * 32
    # One held-out sequence, forward only, adds 0.2 %.
    assert result.achieved_flops == pytest.approx(counter.get_total_flops(), rel=0.005)


@pytest.mark.slow
def test_a_trainer_that_miscounts_is_an_error_and_its_runs_stay_out_of_the_fit(base: Path, tmp_path: Path) -> None:
    (tmp_path / "text").symlink_to(base / "text")
    (tmp_path / "s.toml").write_text(as_toml(BASE))
    artifacts, db = tmp_path / "isoflop-artifacts", tmp_path / "isoflop.db"
    with open_session(tmp_path / "s.toml", db, artifacts, device="cpu", workers=1, retry=False) as session:
        short, long, constant_batch, *_ = runs = list(session.plan.runs.values())
        wrong = {
            short.run_id: {"achieved_flops": 0.98 * short.planned_flops},
            long.run_id: {"n_tokens": round(1.02 * long.n_tokens)},
            constant_batch.run_id: {"n_tokens": constant_batch.n_steps * 192},
        }
        assert constant_batch.batch_tokens != 192
        answer(artifacts, session.plan, wrong)
        assert len(list(session.events())) == len(runs) == 10
    document = json.loads(isoflop("fit", "s.toml", "--json", "--strict", folder=tmp_path, code=4).stdout)
    [finding] = [f for f in document["findings"] if f["code"] == "flops_mismatch"]
    assert finding["severity"] == "error" and set(finding["values"]["run_ids"]) == set(wrong)
    assert [profile["n_points"] for profile in document["profiles"]] == [2, 5]


# 2. A failed cell is treated as done (nanochat), or left twice in the store (flops-fit).


@pytest.mark.slow
def test_a_failed_cell_is_no_result_until_it_is_trained_again_and_then_is_there_once(tmp_path: Path) -> None:
    (tmp_path / "drawn.toml").write_text(SIMULATED)
    isoflop("run", "drawn.toml", folder=tmp_path)
    [(victim, loss)] = rows(tmp_path, "select run_id, val_loss from results order by run_id limit 1")
    cells = rows(tmp_path, "select run_id, budget_flops, role from cells order by id")
    file = tmp_path / "isoflop-artifacts" / str(victim) / f"result-{victim}.json"
    failed = {"status": "failed", "reason": "the machine went away", "val_loss": None, "val_loss_se": None}
    file.write_text(json.dumps({**json.loads(file.read_text()), **failed}))
    for database in tmp_path.glob("isoflop.db*"):
        database.unlink()

    for _ in range(2):  # the second time nothing is left to take in, and the cell is still not done
        document = json.loads(isoflop("run", "drawn.toml", "--json", folder=tmp_path, code=3).stdout)
        assert document["runs"] == {"completed": 9, "diverged": 0, "failed": 1, "pending": 0}
    fit = json.loads(isoflop("fit", "drawn.toml", "--json", folder=tmp_path).stdout)
    assert sorted(profile["n_points"] for profile in fit["profiles"]) == [4, 5]
    assert "runs_failed" in {finding["code"] for finding in fit["findings"]}

    document = json.loads(isoflop("run", "drawn.toml", "--retry", "--json", folder=tmp_path).stdout)
    assert document["runs"]["completed"] == 10
    assert rows(tmp_path, f"select status, val_loss from results where run_id = '{victim}'") == [("completed", loss)]
    assert rows(tmp_path, "select run_id, budget_flops, role from cells order by id") == cells
    assert ("failed", "the machine went away") in rows(tmp_path, "select outcome, reason from attempts")


# 3. Ids are counters and shift when the grid changes, so that results change owner (flops-fit).


@pytest.mark.slow
def test_a_wider_grid_trains_only_what_is_new_and_every_result_keeps_its_id(tmp_path: Path) -> None:
    (tmp_path / "drawn.toml").write_text(SIMULATED)
    isoflop("run", "drawn.toml", folder=tmp_path)
    every = "select runs.run_id, shape, n_tokens, val_loss from results join runs using (run_id, n_tokens)"
    before = rows(tmp_path, every)
    wider = SIMULATED.replace("[1e17, 1e18]", "[3e16, 1e17, 4e17, 1e18]").replace("sizes = 5", "sizes = 9")
    (tmp_path / "drawn.toml").write_text(wider)
    isoflop("run", "drawn.toml", folder=tmp_path)
    after = rows(tmp_path, every)
    assert len(before) == 10 and len(after) == 36
    assert set(before) < set(after)
    assert rows(tmp_path, "select count(*), max(attempt) from attempts") == [(36, 1)]
    (tmp_path / "drawn.toml").write_text(SIMULATED.replace("[1e17, 1e18]", "[1e18]"))
    isoflop("run", "drawn.toml", folder=tmp_path)
    fewer = {run for (run,) in rows(tmp_path, "select run_id from cells")}
    assert len(fewer) == 5 and fewer < {run for run, *_ in before}


# 4. Runs are grouped by rounded FLOPs, which merges near budgets and splits one (marin, flops-fit).


@pytest.mark.slow
def test_budgets_a_hundredth_of_a_percent_apart_are_two_profiles_and_scattered_flops_are_one(tmp_path: Path) -> None:
    budgets = [1.005e17, 1.00510005e17, 1e18]  # where three digits are about to turn
    (tmp_path / "drawn.toml").write_text(SIMULATED.replace("[1e17, 1e18]", str(budgets)))
    isoflop("run", "drawn.toml", folder=tmp_path)
    document = json.loads(isoflop("fit", "drawn.toml", "--json", folder=tmp_path).stdout)
    assert [profile["budget_flops"] for profile in document["profiles"]] == budgets
    assert [profile["n_points"] for profile in document["profiles"]] == [5, 5, 5]
    of_the_first = "from results join cells using (run_id) where budget_flops = 1.005e17"
    achieved = [float(str(flops)) for (flops,) in rows(tmp_path, f"select achieved_flops {of_the_first}")]
    assert len({f"{flops:.2e}" for flops in achieved}) == 2
    assert max(abs(flops / 1.005e17 - 1) for flops in achieved) <= 0.005


# 5. A concave fit or a vertex outside the data is accepted (marin, nanochat), or the lowest run replaces it (nanochat).

UNUSABLE = {
    "concave, the lowest run in the middle": ([3.0, 3.3, 3.4, 2.9, 3.4, 3.3, 3.0], Vertex.CONCAVE),
    "falling towards the largest": ([3.2, 3.0, 2.84, 2.71, 2.61, 2.55, 2.53], Vertex.ABOVE),
    "rising from the smallest": ([2.53, 2.55, 2.61, 2.71, 2.84, 3.0, 3.2], Vertex.BELOW),
    "falling, the lowest run inside": ([3.2, 3.0, 2.84, 2.71, 2.61, 2.50, 2.53], Vertex.ABOVE),
}


@pytest.mark.parametrize(("losses", "vertex"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_valley_without_a_floor_inside_gives_no_number_and_no_weight(losses: list[float], vertex: Vertex) -> None:
    *columns, _ = valley(1e21, offsets=np.linspace(-0.6, 0.6, 7))
    without = fit_sweep(*known_sweep(), targets=[1e22])
    fit = fit_sweep(*stack(known_sweep(), (*columns, np.array(losses))), targets=[1e22])
    bad = fit.profiles[-1]
    assert bad.vertex is vertex
    assert (bad.n_opt, bad.n_opt_ci, bad.d_opt, bad.d_opt_ci, bad.loss_opt) == (None,) * 5
    assert fit.frontier == without.frontier
    assert fit.targets == without.targets
    [finding] = [f for f in fit.findings if f.code in ("concave", "unbracketed")]
    assert finding.values["budgets"] == [1e21]


# 6. N_opt is that of the nearest run, not of the fit (marin).


def test_n_opt_is_the_floor_of_the_fit_though_no_run_is_near_it() -> None:
    columns = known_sweep(offsets=[-0.55, -0.35, -0.2, 0.15, 0.35, 0.55])
    for profile in fit_sweep(*columns).profiles:
        sizes = columns[1][columns[0] == profile.budget_flops]
        assert profile.n_opt is not None
        assert min(abs(np.log10(sizes / profile.n_opt))) > 0.14
        assert profile.n_opt == pytest.approx(10 ** true_log_n(profile.budget_flops), rel=1e-9)


# 7. The power law of N_opt has an additive offset (flops-fit).


def test_the_frontier_is_a_power_law_of_two_numbers_recovered_to_nine_digits() -> None:
    targets = [1e12, 1e16, 1e20, 1e24, 1e28]
    fit = fit_sweep(*known_sweep(budgets=np.geomspace(1e15, 1e21, 4)), targets=targets)
    names = {field.name for field in dataclasses.fields(Frontier)} | set(fit_as_json(fit)["frontier"])  # type: ignore[call-overload]
    assert {name for name in names if name.startswith("coef") or "offset" in name} == {"coef_n", "coef_d"}
    assert fit.frontier is not None
    assert fit.frontier.exponent_a == pytest.approx(0.47, abs=1e-9)
    for target in fit.targets:
        # An offset would bend the line, most at its small end.
        assert target.n_opt == pytest.approx(10 ** true_log_n(target.budget_flops), rel=1e-9)
        assert target.n_opt == pytest.approx(fit.frontier.coef_n * target.budget_flops**fit.frontier.exponent_a)


# 8. Noise is compared with a threshold in another unit (formll's `get_noise_for_loss`, inferred).


def said(finding: Finding) -> tuple[object, ...]:
    """What must not change by a bit; numbers of a message may, in their last digit."""
    return finding.code, finding.severity, finding.hint, finding.values.get("budgets")


def near_the_threshold() -> Columns:
    """Of two budgets of little curvature, noise 0.01 drowns the one and not the other."""
    offsets = np.linspace(-0.6, 0.6, 7)
    noisy = with_noise(known_sweep(offsets=offsets), np.random.default_rng(3), 0.01)
    return stack(noisy, valley(1e21, offsets, curvature=0.02), valley(1e22, offsets, curvature=0.07))


@pytest.mark.parametrize("n_factor", [1.0, 1e-6, 1e6], ids="N x {:g}".format)
@pytest.mark.parametrize("factor", [1.0, 1 / math.log(2), 1e-3, 1e3], ids="loss x {:.4g}".format)
def test_no_finding_depends_on_the_unit_of_the_loss_or_of_n(factor: float, n_factor: float) -> None:
    budgets, n_params, n_tokens, loss = near_the_threshold()
    original = fit_sweep(budgets, n_params, n_tokens, loss)
    [flat] = [finding for finding in original.findings if finding.code == "flat_valley"]
    assert flat.values["budgets"] == [1e21]
    fit = fit_sweep(budgets, n_params * n_factor, n_tokens, loss * factor)
    assert [said(finding) for finding in fit.findings] == [said(finding) for finding in original.findings]
    assert [profile.vertex for profile in fit.profiles] == [profile.vertex for profile in original.profiles]
    for profile in fit.profiles:
        x, y = (np.log10(n_params), loss)
        of_budget = budgets == profile.budget_flops
        curvature, *_ = np.polyfit(x[of_budget], y[of_budget], 2)
        residuals = y[of_budget] - np.polyval(np.polyfit(x[of_budget], y[of_budget], 2), x[of_budget])
        assert profile.rmse == pytest.approx(factor * math.sqrt(residuals @ residuals / 4), rel=1e-6, abs=1e-9 * factor)
        assert profile.curvature == pytest.approx(factor * curvature, rel=1e-6)


# 9. Keys of the configuration are accepted and never read (flops-fit). Unknown keys are errors: tests/test_spec.py.
# Those of a program, or a factory, of the user's own are tried in tests/program and tests/factory.
OF_PROGRAMS = {"command", "ladder", "model.factory", "model.factory_hash", "model.counted"}


@pytest.fixture(scope="module")
def unchanged(base: Path) -> Observed:
    return observe(base, BASE)


def test_every_key_has_another_value_to_be_tried_with() -> None:
    assert set(leaves(SweepSpec)) == set(CHANGES) | OF_PROGRAMS
    assert set(leaves(RunSpec)) == set(RUN_CHANGES) | NOT_TRAINED


@pytest.mark.parametrize("key", [key for key in leaves(SweepSpec) if key not in OF_PROGRAMS])
def test_every_key_of_a_sweep_file_changes_something(
    base: Path, unchanged: Observed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    value, aspect = CHANGES[key]
    content = changed(BASE, key, value)
    if aspect == "fetched":
        pytest.importorskip("datasets", reason="the library `datasets` is not installed")
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        aspect = "cells"
    for name in ("text", "more"):
        (tmp_path / name).symlink_to(base / name)
    observed = observe(tmp_path, content)
    differing = {
        field.name
        for field in dataclasses.fields(Observed)
        if getattr(observed, field.name) != getattr(unchanged, field.name)
    }
    assert aspect in differing
    if key.startswith(("run.", "goal", "track.", "engine.")):
        assert differing == {aspect}  # how runs are looked after or shown, and where it is to lead, changes no result


@pytest.fixture(scope="module")
def trained(text: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return run_it(make_run(text), text, tmp_path_factory.mktemp("trained"))


@pytest.mark.parametrize("name", RUN_CHANGES)
def test_every_number_of_a_run_reaches_the_trainer(text: Corpus, trained: Trained, tmp_path: Path, name: str) -> None:
    content = changed(make_run(text).model_dump(), name, RUN_CHANGES[name])
    other = run_it(RunSpec.model_validate(content), text, tmp_path)
    assert other.heldout is not None and trained.heldout is not None
    assert other.heldout.nats_per_token != trained.heldout.nats_per_token


# 10. The hyper-parameter rule is silently inactive (a ratio of -1 in nanochat, an unused u-muP optimizer in flops-fit).

RECIPES = {
    "default": {},
    "changed": {
        "learning_rate": 0.02,
        "base_width": 48,
        "base_batch_tokens": 256.0,
        "base_tokens": 2e5,
        "batch_exponent": 0.6,
        "warmup_fraction": 0.11,
        "cooldown_fraction": 0.3,
        "decay_per_run": 0.8,
    },
}
# As docs/decisions.md states them.
DEFAULTS = {
    "learning_rate": 0.007,
    "base_width": 32,
    "base_batch_tokens": 192.0,
    "base_tokens": 1e6,
    "batch_exponent": 0.4,
    "warmup_fraction": 0.05,
    "cooldown_fraction": 0.5,
    "decay_per_run": 0.5,
}


def planned_runs(folder: Path) -> Iterator[tuple[RunSpec, int, float]]:
    """Every run in the database with the learning rate and batch of its row."""
    for content, batch_tokens, rate in rows(folder, "select spec_json, batch_tokens, learning_rate from runs"):
        yield RunSpec.model_validate_json(str(content)), int(str(batch_tokens)), float(str(rate))


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_the_recipe_in_the_database_is_the_rule_at_each_cells_own_n_and_d(
    base: Path, tmp_path: Path, recipe: Mapping[str, float]
) -> None:
    (tmp_path / "text").symlink_to(base / "text")
    content = {**BASE, "budgets": [4e10, 4e11, 4e12], "recipe": {"max_epochs": 1e9, **recipe}}
    (tmp_path / "s.toml").write_text(as_toml(content))
    isoflop("plan", "s.toml", folder=tmp_path)
    rule = {**DEFAULTS, **recipe}
    batches, decays = set(), set()
    for run, batch, rate in planned_runs(tmp_path):
        wanted = rule["base_batch_tokens"] * (run.n_steps * batch / rule["base_tokens"]) ** rule["batch_exponent"]
        assert abs(batch - wanted) <= 0.51 * run.shape.context_length
        assert rate == run.optimizer.learning_rate
        assert rate == pytest.approx(rule["learning_rate"] * (batch / rule["base_batch_tokens"]) ** 0.5)
        by_width = rule["base_width"] / run.shape.width
        assert run.optimizer.head_rate_scale == pytest.approx(by_width)
        assert run.optimizer.hidden_rate_scale == pytest.approx(by_width * (2 / run.shape.n_layers) ** 0.5)
        assert run.optimizer.decay_per_step == pytest.approx(rule["decay_per_run"] / run.n_steps)
        assert abs(run.schedule.warmup_steps - rule["warmup_fraction"] * run.n_steps) <= 0.5
        assert abs(run.schedule.cooldown_steps - rule["cooldown_fraction"] * run.n_steps) <= 0.5
        batches.add(batch)
        decays.add(run.optimizer.decay_per_step)
    assert len(batches) >= 4 and max(batches) > 2 * min(batches)  # the rule is at work
    assert len(decays) > 10 and min(decays) > 0


# 11. The metric is parsed from text written for people (nanochat).


@pytest.mark.slow
def test_no_number_is_ever_read_from_a_log(tmp_path: Path) -> None:
    lie = "step 9999: val loss: 0.001"
    sweep = SWEEP.replace("[6e8, 1.2e9]", "[6e8]").replace("sizes = 3", "sizes = 2")
    sandbox = make_sandbox(tmp_path, sweep)
    place = ("--artifacts", lie)  # so that the worker's own traceback says it
    sandbox.run("plan", "tiny.toml", *place)
    [(victim,), _] = sandbox.rows("select run_id from cells order by id")
    folder = tmp_path / lie / str(victim)
    folder.mkdir()
    (folder / "checkpoint").write_text("a file where a folder should be")
    sandbox.run("run", "tiny.toml", *place, code=3)
    assert lie in (folder / "attempt-1" / "log.txt").read_text()
    of_the_victim = f"select status, val_loss, bits_per_byte from results where run_id = '{victim}'"
    assert sandbox.rows(of_the_victim) == [("failed", None, None)]

    (folder / "checkpoint").unlink()
    sandbox.run("run", "tiny.toml", *place, "--retry")
    losses = sandbox.losses()
    assert all(float.fromhex(loss) > 0.1 for loss in losses.values())
    for log in tmp_path.glob(f"{lie}/*/attempt-*/log.txt"):
        log.write_text(f"{lie}\nval_loss=0.001\n" * 3)
    for database in tmp_path.glob("isoflop.db*"):
        database.unlink()
    sandbox.run("run", "tiny.toml", *place)
    assert sandbox.losses() == losses
    for run_id, loss in losses.items():
        file = tmp_path / lie / run_id / f"result-{run_id}.json"
        assert json.loads(file.read_text())["val_loss"] == float.fromhex(loss)


# 12. Coarse rules deny small models: heads of 128, widths in steps of 128 (marin), width 64 x depth (nanochat).


def test_a_sweep_from_five_thousand_to_a_billion_parameters_gets_every_size() -> None:
    wanted = np.geomspace(5e3, 1e9, 60).tolist()
    corpus = CorpusFacts("0" * 16, n_train_tokens=10**18, n_heldout_tokens=10**9, bytes_per_token=4.0)
    content = {"name": "s", "budgets": [1e21], "grid": {"lattice": wanted}}
    plan = make_plan(parse_spec(content, source="test"), corpus)
    assert plan.dropped == ()
    shapes = [cell.run.shape for cell in plan.cells]
    assert len(shapes) == len(set(shapes)) == 60
    misses = [abs(shape.n_params_total / size - 1) for size, shape in zip(wanted, shapes, strict=True)]
    assert sorted(misses)[30] < 0.01
    for size, shape in zip(wanted, shapes, strict=True):
        # At the smallest sizes a step of width or depth is all that lies between two shapes.
        assert shape.n_params_total == pytest.approx(size, rel=0.15 if size < 2e4 else 0.06 if size < 1e5 else 0.04)
        assert shape.n_heads >= 1 and shape.head_dim % 2 == 0 and shape.head_dim <= 128
        with torch.device("meta"):
            model = Decoder(shape)
        assert model.layers[0].self_attn.q_proj.weight.shape == (shape.n_heads * shape.head_dim, shape.width)  # type: ignore[union-attr]
        assert sum(weight.numel() for weight in model.parameters()) == shape.n_params_total
