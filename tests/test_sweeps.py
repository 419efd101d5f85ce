"""The sweep files we ship: each asks its question, can be planned anywhere, and fits the machine and time it names."""

import hashlib
import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from isoflop.corpus import facts_by_token_count
from isoflop.corpus_facts import CorpusFacts
from isoflop.engine.protocol import USABLE_MEMORY
from isoflop.plan.estimate import estimate
from isoflop.plan.planner import make_plan
from isoflop.plan.recipe import DEFAULT_TUNED_FLOPS
from isoflop.plan.types import Plan, Role
from isoflop.spec import SweepSpec, load_spec
from isoflop.step_library import usable_instructions
from tests.cli.test_cli_surface import isoflop

SWEEPS = sorted((Path(__file__).parent.parent / "sweeps").glob("*.toml"))

# The standard library of Python 3.11, less a quarter: other versions and distributions ship less of it.
SMALL_STDLIB = CorpusFacts("0" * 16, n_train_tokens=23_000_000, n_heldout_tokens=400_000, bytes_per_token=1.0)


@dataclass(frozen=True)
class Promise:
    """What a sweep file says it takes, and the fewest sizes per budget it may have there.

    `seconds_by_torch`, where the file names another time for CPUs on which PyTorch takes the step.
    """

    device_kind: str
    n_devices: int
    memory_bytes: float
    seconds: float
    n_sizes: int = 6
    seconds_by_torch: float | None = None

    @property
    def seconds_here(self) -> float:
        by_torch = self.device_kind == "cpu" and not usable_instructions()
        return self.seconds_by_torch if by_torch and self.seconds_by_torch is not None else self.seconds


PROMISES = {
    "smoke": Promise("cpu", 2, 2e9, 60, n_sizes=5),
    "quickstart": Promise("cpu", 2, 2e9, 2 * 60, n_sizes=7, seconds_by_torch=22 * 60),
    "bpe-demo": Promise("cpu", 2, 2e9, 10 * 60),
    "bpe-demo-bytes": Promise("cpu", 2, 2e9, 10 * 60),
    "steering": Promise("cpu", 2, 2e9, 60, n_sizes=7, seconds_by_torch=11 * 60),
    "gpu-smoke": Promise("cuda", 1, 80e9, 2 * 60),
    "single-gpu": Promise("cuda", 1, 80e9, 3600),
    "eight-gpu": Promise("cuda", 8, 80e9, 24 * 3600),
}
EVERY = pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.stem)
ON_GPUS = pytest.mark.parametrize("file", [f for f in SWEEPS if f.stem.endswith("-gpu")], ids=lambda file: file.stem)


def plan_as_promised(spec: SweepSpec) -> Plan:
    """The plan on the machine that the file names."""
    facts = (
        facts_by_token_count(spec.corpus, spec.tokenizer, base=Path())
        if spec.corpus.tokens is not None
        else SMALL_STDLIB
    )
    memory = PROMISES[spec.name].memory_bytes * USABLE_MEMORY
    return make_plan(spec, facts, memory_limit=memory)


def test_every_sweep_file_promises_something() -> None:
    assert {file.stem for file in SWEEPS} == set(PROMISES)


@EVERY
def test_a_sweep_file_begins_with_its_question_and_is_named_after_it(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    comment = lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]
    assert "?" in " ".join(comment)
    assert load_spec(file).name == file.stem


@pytest.mark.slow
@EVERY
def test_a_sweep_file_can_be_planned_on_any_machine(file: Path, tmp_path: Path) -> None:
    """By the real command, without a GPU and without the text of files that a user is to bring."""
    text = file.read_text(encoding="utf-8").replace("/data/corpus", "text-of-yours")
    (tmp_path / file.name).write_text(text, encoding="utf-8")
    document = json.loads(isoflop("plan", file.name, "--device", "cpu", "--json", folder=tmp_path).stdout)
    assert document["sweep"] == file.stem
    assert document["budgets"] == list(load_spec(file).budgets)
    assert len(document["runs"]) >= len(document["budgets"]) * PROMISES[file.stem].n_sizes
    absent = "corpus_absent" in {finding["code"] for finding in document["findings"]}
    assert absent == ("text-of-yours" in text or "bpe-demo.parquet" in text)
    assert (tmp_path / "isoflop.db").exists() != absent


@EVERY
def test_a_sweep_fits_the_time_and_the_machine_it_names(file: Path) -> None:
    promise = PROMISES[file.stem]
    runs = list(plan_as_promised(load_spec(file)).runs.values())
    devices = ["device"] * promise.n_devices
    assert estimate(runs, [], device_kind=promise.device_kind, devices=devices).seconds < promise.seconds_here


@EVERY
def test_every_budget_keeps_its_sizes_and_only_of_the_recipe_far_away_is_there_a_warning(file: Path) -> None:
    spec = load_spec(file)
    plan = plan_as_promised(spec)
    sizes = Counter(budget for budget, _ in {(cell.budget_flops, cell.run.shape) for cell in plan.cells})
    assert set(sizes) == set(spec.budgets)
    assert min(sizes.values()) >= PROMISES[file.stem].n_sizes
    assert not plan.dropped
    far = max(spec.budgets) > 10 * DEFAULT_TUNED_FLOPS
    assert [finding.code for finding in plan.findings] == ["recipe_beyond"] * far


@ON_GPUS
def test_budgets_of_a_gpu_sweep_span_a_decade_and_know_their_noise(file: Path) -> None:
    spec = load_spec(file)
    assert len(spec.budgets) >= 3
    assert math.log10(spec.budgets[-1] / spec.budgets[0]) >= 1
    replicated = {cell.budget_flops for cell in plan_as_promised(spec).cells if cell.role is Role.REPLICATE}
    assert replicated == set(spec.budgets)


@ON_GPUS
def test_floors_of_a_gpu_sweep_have_steps_and_batches_enough(file: Path) -> None:
    """1500 steps, so that the loss measures the model; 3 sequences, so that a batch can follow its rule."""
    spec = load_spec(file)
    cells = plan_as_promised(spec).cells
    centres = {cell.run.shape for cell in cells if cell.role is Role.REPLICATE}
    assert min(cell.run.n_steps for cell in cells if cell.run.shape in centres) >= 1500
    assert min(cell.run.batch_sequences for cell in cells if cell.run.shape in centres) >= 3


# Ids of all runs as of 2026-11-27, on a corpus none of them exhausts: number, and hash of the ids in order.
RUN_IDS = {
    "bpe-demo-bytes": (28, "153aa885288f489f"),
    "bpe-demo": (28, "3a211a64fc68e7ea"),
    "eight-gpu": (40, "264a89329dfb2d7f"),
    "gpu-smoke": (12, "80e6b75042dbe937"),
    "quickstart": (140, "e5fbbf3c9418e398"),
    "single-gpu": (33, "5ff06eaf26f3cb7c"),
    "smoke": (12, "73b36411b420c667"),
    "steering": (21, "6bc72da6e34c2869"),
}


@EVERY
def test_runs_of_shipped_sweeps_keep_their_ids(file: Path) -> None:
    boundless = CorpusFacts("0" * 16, n_train_tokens=10**15, n_heldout_tokens=10**12, bytes_per_token=1.0)
    run_ids = make_plan(load_spec(file), boundless).runs
    assert (len(run_ids), hashlib.sha256(" ".join(run_ids).encode()).hexdigest()[:16]) == RUN_IDS[file.stem]
