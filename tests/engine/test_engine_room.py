"""How many workers there are changes when runs start, never which runs a sweep has."""

import json
from pathlib import Path

import pytest

from isoflop.engine.dispatch import Dispatcher
from isoflop.engine.execution import GitState, memory_needed
from isoflop.engine.local.local_engine import LocalEngine
from isoflop.engine.notices import AttemptEnded, AttemptStarted
from isoflop.engine.protocol import Slot
from isoflop.run_spec import Job
from tests.engine.conftest import SWEEP, Sandbox
from tests.run_examples import RUN

# Weights, gradients and moments of the largest take gigabytes: more than an eighth of a machine, less than all of it.
LARGE = SWEEP.replace("[6e8, 1.2e9]", "[1e15]").replace("12e3", "3e7").replace("half_width = 0.3", "half_width = 0.6")


def test_the_plan_does_not_depend_on_the_number_of_workers(sandbox: Sandbox) -> None:
    (sandbox.folder / "tiny.toml").write_text(LARGE)
    plans = [json.loads(sandbox.run("plan", "tiny.toml", "--workers", n, "--json")[0]) for n in ("1", "64")]
    assert len(plans[0]["runs"]) == 3
    assert plans[0]["runs"] == plans[1]["runs"]


@pytest.mark.parametrize(("room", "at_once"), [(1.5, 1), (3.5, 3)], ids=["for one", "for three"])
def test_runs_that_do_not_fit_beside_each_other_take_turns(tmp_path: Path, room: float, at_once: int) -> None:
    jobs = [Job((RUN.model_copy(update={"trainer": "simulated", "seed": seed}),)) for seed in range(8)]
    slot = Slot("cpu", "test", "", 1e18, bfloat16=False, n_sharing=4)
    slots = (Slot("cpu", "test", "", room * memory_needed(jobs[0], slot), bfloat16=False, n_sharing=1),) * 4
    engine = Dispatcher(LocalEngine(slots), artifacts=tmp_path, corpora=tmp_path / "corpora", git=GitState(None, None))
    working: set[str] = set()
    most = 0
    for event in engine.run(jobs):
        most = max(most, len(engine._attempts))
        if isinstance(event, AttemptStarted):
            working.add(event.job_id)
        elif isinstance(event, AttemptEnded):
            assert event.outcome == "done"
            working.discard(event.job_id)
    assert most == at_once and not working
    assert len(list(tmp_path.glob("*/result-*.json"))) == 8
