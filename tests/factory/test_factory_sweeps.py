"""Sweeps of a factory from file to result: the shipped example, cut down; and what may not be asked of one."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from isoflop.errors import IsoflopError
from isoflop.run_spec import RunSpec
from isoflop.rundir import Execution, RunDir
from isoflop.rundir.layout import sizes_dir
from isoflop.shape import CountedShape
from isoflop.spec import load_spec, parse_spec
from isoflop.store import open_store, run_cells
from isoflop.sweep.own_factory import counted_sweep
from isoflop.sweep.own_program import load_sweep
from isoflop.sweep.trained_run import RunChoice, trained_run
from tests.factory.test_factory_counting import EXAMPLE, TOY
from tests.factory.test_factory_ladder import FACTS
from tests.program.program_examples import session_of
from tests.test_layers import loaded_after

SMALL = """
name = "own-factory"
budgets = [1e8, 2e8]
[model]
factory = "models:gpt"
context_length = 32
[grid]
sizes = 4
half_width = 0.25
center_n_params = [5000, 7000]
[corpus]
source = "files"
paths = ["text"]
heldout_fraction = 0.1
[recipe]
min_steps = 4
max_epochs = 100
[evaluation]
tokens = 1024
[run]
keep = "all"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The example with budgets of a second, on a text of forty files."""
    shutil.copytree(EXAMPLE, tmp_path, dirs_exist_ok=True)
    (tmp_path / "text").mkdir()
    for number in range(40):
        words = " ".join(f"{number * step % 97}" for step in range(1, 600))
        (tmp_path / "text" / f"{number:02d}.txt").write_text(f"file {number}: {words}")
    small = tmp_path / "small.toml"
    small.write_text(SMALL)
    return small


@pytest.mark.slow(10)
def test_the_example_is_counted_once_and_trained_and_a_change_of_its_file_loses_nothing(file: Path) -> None:
    models, artifacts, db = file.parent / "models.py", file.parent / "artifacts", file.parent / "isoflop.db"
    text = models.read_text()
    with session_of(file) as session:
        runs = session.plan.runs
        models.write_text(text + "# another")
        with pytest.raises(IsoflopError, match="The factory changed between attempts") as raised:
            list(session.events())
        assert raised.value.hint.startswith("Bring back the file as it was")
        assert session.outcome().counts["pending"] == len(runs) >= 6
    models.write_text(text)
    (counts,) = sizes_dir(artifacts).iterdir()
    counted_at = counts.stat().st_mtime_ns
    with session_of(file) as session:
        assert session.plan.runs == runs
        list(session.events())
        assert session.outcome().counts["completed"] == len(runs)
    assert counts.stat().st_mtime_ns == counted_at
    for run_id, run in runs.items():
        assert isinstance(run, RunSpec)
        assert isinstance(run.shape, CountedShape)
        job = RunDir(artifacts / run_id).read_job()
        assert job is not None
        assert job.runs == (run,)
        assert isinstance(job.execution, Execution)
        assert (job.execution.step, job.execution.compile, job.execution.instructions) == ("eager", False, "")
    with open_store(db, write=False) as store:
        spec, cells = store.planned_sweep("own-factory")
        assert spec == session_spec(file)
        stored = {cell.run_id: cell.shape for cell in run_cells(cells)}
        assert stored == {run_id: run.shape for run_id, run in runs.items()}
        assert all(store.run_spec(run_id) == run for run_id, run in runs.items())
    assert '"factory": "models:gpt"' in spec.to_show()
    assert "n_params_total" not in spec.to_show()
    with pytest.raises(IsoflopError, match="trains modules of 'models:gpt'"):
        trained_run(file, db, artifacts, RunChoice())
    assert trained_run(file, db, artifacts, RunChoice(), any_module=True).has_weights
    models.write_text(text + "# another")
    with pytest.raises(IsoflopError, match=r"leaves behind \d trained runs"), session_of(file):
        pass


def session_spec(file: Path) -> Any:
    """The sweep as it is planned, from what is remembered of its sizes."""
    artifacts = file.parent / "artifacts"
    facts = FACTS
    return counted_sweep(load_sweep(file, artifacts, write=False), facts, file, artifacts, write=False)


@pytest.mark.slow(3)
@pytest.mark.parametrize(
    ("text", "params", "sentence"),
    [
        (
            'print("{}")\n' + TOY.replace("return Toy(width,", "return Toy(16,"),
            "total",
            "builds 1 different sizes (8481 parameters)",
        ),
        (
            TOY.replace("self.head", "self.last"),
            "matmul",
            "the name 'last.weight' of one that 'own_models:build' builds",
        ),
        (
            'def build(**s):\n    raise ValueError("no such thing\\nas this")',
            "total",
            "shapes, at first ValueError: no such thing.",
        ),
        ("import os\nos._exit(3)", "total", "'own_models:build' ended with exit code 3."),
    ],
    ids=["one-size", "untold", "raises", "exits"],
)
def test_models_that_make_no_sweep_are_told(tmp_path: Path, text: str, params: str, sentence: str) -> None:
    (tmp_path / "own_models.py").write_text(text)
    file = tmp_path / "sweep.toml"
    model = '[model]\nfactory = "own_models:build"\n'
    file.write_text(f'name = "own"\nbudgets = [1e10]\n{model}[fit]\nparams = "{params}"\n')
    spec = load_sweep(file, tmp_path / "artifacts")
    with pytest.raises(IsoflopError) as raised:
        counted_sweep(spec, FACTS, file, tmp_path / "artifacts")
    assert sentence in raised.value.message
    assert raised.value.hint
    assert not load_spec(file).model.factory_hash


@pytest.mark.parametrize(
    ("others", "sentence"),
    [
        ({"trainer": "simulated"}, 'model.factory belongs to trainer = "builtin", and this one is "simulated"'),
        ({"trainer": "command", "command": {"argv": ["x"]}}, 'trainer = "builtin", and this one is "command"'),
        ({"recipe": {"optimizer": "sgd"}}, 'recipe.optimizer = "sgd" knows isoflop\'s own decoder alone'),
        ({"run": {"devices_per_run": 2}}, "run.devices_per_run = 2 knows isoflop's own decoder alone"),
        ({"evaluation": {"probes": True}}, "evaluation.probes knows isoflop's own decoder alone"),
        ({"model": {"factory": "models.py:build"}}, 'give the module, not its file: "models:build"'),
        ({"model": {"factory": "models"}}, 'give "package.module:function"'),
        ({"model": {"factory": 3}}, "it must be text, in quotes"),
        ({"model": {"factory_hash": "0123"}}, "model.factory_hash and model.counted are for isoflop to fill in"),
    ],
)  # fmt: skip
def test_what_a_factory_does_not_bear_is_told(others: dict[str, object], sentence: str) -> None:
    content = {"name": "own", "budgets": [1e12], "model": {"factory": "models:build"}, **others}
    with pytest.raises(IsoflopError) as raised:
        parse_spec(content, source="x")
    assert sentence in raised.value.message
    assert raised.value.hint


def test_a_factory_is_found_hashed_and_asked_for_its_sizes_without_torch() -> None:
    code = "import isoflop.sweep.own_factory, isoflop.sweep.own_program, isoflop.train.factory_source"
    assert "torch" not in loaded_after(code)


def test_a_module_that_is_missing_is_told_before_anything_is_planned(tmp_path: Path) -> None:
    file = tmp_path / "sweep.toml"
    file.write_text('name = "own"\nbudgets = [1e12]\n[model]\nfactory = "none_such:build"\n')
    with pytest.raises(IsoflopError, match="there is no module 'none_such'"):
        load_sweep(file, tmp_path / "artifacts")
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.toml"]
    assert "counted" not in json.loads(load_spec(file).to_json())["model"]
