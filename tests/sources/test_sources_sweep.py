import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from isoflop.errors import IsoflopError
from isoflop.finding import Severity
from isoflop.report.reproduce import reproduction
from isoflop.sources.load import load_source, load_sources
from isoflop.sources.source import Origin
from isoflop.spec import FitSpec, SweepSpec
from isoflop.store import Standing, open_store
from tests.report_examples import grid, make_result, points_of, save_sweep, save_troubled_sweep, summary_of, unfinished

SWEEP_FILE = 'name = "demo"\nbudgets = [1e12, 1e13]\n'


@pytest.fixture
def db(tmp_path):
    return tmp_path / "isoflop.db"


@pytest.fixture
def sweep_file(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text(SWEEP_FILE)
    return path


def save_complete_sweep(db, name="demo", **spec):
    cells = grid(1e12, 1e13, trainer=spec.get("trainer", "builtin"))
    save_sweep(db, cells, map(make_result, cells), spec=SweepSpec(name=name, budgets=(1e12, 1e13), **spec))
    return cells


def refusal(source, db, sweep=None) -> IsoflopError:
    with pytest.raises(IsoflopError) as refused:
        load_source(str(source), db=db, sweep=sweep)
    assert refused.value.hint
    return refused.value


@pytest.mark.parametrize("count", ["total", "non_embedding", "matmul"])
def test_rows_follow_the_sweeps_own_parameter_count(db, count):
    cells = save_complete_sweep(db, fit=FitSpec(params=count))
    source = load_source(str(db), db=db, sweep=None)
    assert source.param_count == count
    assert {point[:4] for point in source.rows} == {
        (c.budget_flops, c.run.shape.n_params(count), c.run.n_tokens, make_result(c).val_loss) for c in cells
    }
    assert (source.origin, source.label, source.corpus_fingerprint) == (Origin.SWEEP, "demo", "c0ffee")


def test_a_sweep_file_means_that_sweep_in_the_database(db, sweep_file):
    save_complete_sweep(db)
    save_complete_sweep(db, name="other")
    source = load_source(str(sweep_file), db=db, sweep=None)
    assert (source.label, source.path, len(source.rows)) == ("demo", db, 14)
    assert source.findings == ()
    assert (source.file, load_source(str(db), db=db, sweep="demo").file) == (sweep_file, None)


def test_the_commands_to_reproduce_name_the_sweep_file_whatever_led_there(db, sweep_file):
    save_complete_sweep(db)
    file = sweep_file.rename(sweep_file.with_name("renamed.toml"))
    commands = reproduction(summary_of(load_source(str(file), db=db, sweep=None)))
    assert [command.split()[1:3] for command in commands[:2]] == [["plan", str(file)], ["run", str(file)]]


def test_every_row_has_the_cell_that_it_is_the_result_of(db):
    cells = grid(1e12, 1e13)
    save_sweep(db, cells, [make_result(cell, val_loss=2 + index / 100) for index, cell in enumerate(cells)])
    source = load_source(str(db), db=db, sweep=None)
    expected = {cell.run.run_id: 2 + index / 100 for index, cell in enumerate(cells)}
    assert {row.cell.run_id: row.loss for row in source.rows} == expected
    assert all(row.cell in source.cells for row in source.rows)


def test_a_sweep_file_edited_since_it_was_planned_is_a_finding(db, sweep_file):
    save_complete_sweep(db)
    sweep_file.write_text(SWEEP_FILE + "[grid]\nsizes = 9\n")
    codes = [finding.code for finding in load_source(str(sweep_file), db=db, sweep=None).findings]
    assert codes == ["sweep_file_changed"]


def test_only_completed_runs_on_plan_that_nobody_excluded_are_rows(db):
    cells = save_troubled_sweep(db)
    source = load_source(str(db), db=db, sweep=None)
    kinds = {cell.standing for cell in source.cells}
    assert kinds == set(Standing)
    used = {cell.run_id for cell in source.cells if cell.standing is Standing.USED}
    assert len(used) == len(source.rows) == len(cells) - 6


def test_each_kind_of_run_left_out_is_one_finding_that_says_why(db):
    save_troubled_sweep(db)
    findings = {finding.code: finding for finding in load_source(str(db), db=db, sweep=None).findings}
    assert set(findings) == {"runs_pending", "runs_diverged", "runs_failed", "flops_mismatch", "runs_excluded"}
    assert "loss was not finite at step 17" in findings["runs_diverged"].message
    assert "exit code 137" in findings["runs_failed"].message
    assert "wrong corpus" in findings["runs_excluded"].message
    assert "planned 1.00e12 FLOPs" in findings["flops_mismatch"].message
    assert "achieved 1.02e12" in findings["flops_mismatch"].message
    assert findings["flops_mismatch"].severity is Severity.ERROR
    assert all(len(finding.values["run_ids"]) == finding.values["n_runs"] == 1 for finding in findings.values())


@pytest.mark.parametrize(("factor", "n_rows"), [(1.0049, 14), (0.9951, 14), (1.0051, 13), (0.9949, 13)])
@pytest.mark.parametrize("what", ["flops", "tokens"])
def test_half_a_percent_of_flops_or_tokens_decides_about_a_row(db, what, factor, n_rows):
    cells = grid(1e12, 1e13)
    run = cells[0].run
    achieved = {
        "flops": {"achieved_flops": factor * run.planned_flops},
        "tokens": {"n_tokens": int(factor * run.n_tokens)},
    }
    first = make_result(cells[0], **achieved[what])
    save_sweep(db, cells, [first, *map(make_result, cells[1:])])
    assert len(load_source(str(db), db=db, sweep=None).rows) == n_rows


CPU = {"device_kind": "cpu", "dtype": "float32", "micro_batch_sequences": 4, "n_threads": 1}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"execution": {**CPU, "dtype": "bfloat16"}}, "computed in bfloat16 and in float32"),
        ({"execution": {**CPU, "attention": "math"}}, "float32, math attention"),
        ({"torch_version": "2.7.0"}, "torch 2.6.0, 2.7.0"),
        ({"device": "Other GPU"}, "were trained on Other GPU, Some CPU"),
    ],
    ids=["precision", "kernel", "torch", "device"],
)
def test_runs_that_were_not_computed_alike_are_a_finding(db, changes, said):
    cells = grid(1e12, 1e13)
    results = [make_result(cell, execution=CPU) for cell in cells]
    provenance = {**results[0].provenance.model_dump(), **{k: v for k, v in changes.items() if k != "execution"}}
    results[0] = make_result(cells[0], execution=changes.get("execution", CPU), provenance=provenance)
    save_sweep(db, cells, results)
    [finding] = load_sources([str(db)], db=db, sweep=None).findings
    assert (finding.code, finding.severity) == ("mixed_execution", Severity.WARNING)
    assert said in finding.message


def test_smaller_micro_batches_and_more_threads_are_no_finding(db):
    cells = grid(1e12, 1e13)
    others = {**CPU, "micro_batch_sequences": 2, "n_threads": 2}
    save_sweep(db, cells, [make_result(cell, execution=others if i else CPU) for i, cell in enumerate(cells)])
    assert load_sources([str(db)], db=db, sweep=None).findings == ()


@pytest.mark.parametrize("execution", ["null", "[]", "3", '"x"', "{}"])
def test_what_a_foreign_trainer_wrote_as_execution_stops_no_fit(db, execution):
    save_complete_sweep(db)
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute("update results set execution = ?", [execution])
    assert load_source(str(db), db=db, sweep=None).cells[0].result.execution == {}


def test_one_simulated_row_makes_the_source_simulated(db):
    save_complete_sweep(db, trainer="simulated")
    assert load_source(str(db), db=db, sweep=None).simulated
    assert not points_of(1e12).simulated


def test_a_database_with_several_sweeps_needs_a_choice(db):
    save_complete_sweep(db)
    save_complete_sweep(db, name="other")
    error = refusal(db, db)
    assert "2 sweeps: demo, other" in error.message
    assert "--sweep demo" in error.hint
    assert load_source(str(db), db=db, sweep="other").label == "other"


def test_an_unknown_sweep_is_refused_with_those_there_are(db):
    save_complete_sweep(db)
    error = refusal(db, db, sweep="dmeo")
    assert "no sweep 'dmeo'" in error.message
    assert "demo" in error.hint


def test_a_sweep_file_whose_sweep_is_not_planned_is_refused(db, sweep_file):
    save_complete_sweep(db, name="other")
    error = refusal(sweep_file, db)
    assert "'demo' is not planned yet" in error.message
    assert "isoflop run" in error.hint


def test_a_sweep_file_without_a_database_is_refused(db, sweep_file):
    assert "There is no database" in refusal(sweep_file, db).message


def test_a_sweep_file_and_another_sweep_are_refused(db, sweep_file):
    save_complete_sweep(db)
    assert "is the file of the sweep 'demo', not of 'other'" in refusal(sweep_file, db, sweep="other").message
    assert load_source(str(sweep_file), db=db, sweep="demo").label == "demo"


def test_a_database_without_sweeps_is_refused(db):
    with open_store(db, write=True):
        pass
    assert "has no sweep" in refusal(db, db).message


def test_a_sweep_without_completed_runs_says_how_many_are_what(db):
    cells = grid(1e12)
    save_sweep(db, cells, [unfinished(cells[0], "failed", "exit code 1"), unfinished(cells[1], "diverged", "no")])
    error = refusal(db, db)
    assert "no completed run to fit: 5 pending, 1 diverged, 1 failed" in error.message


def test_reading_a_source_loads_no_drawing_and_no_training_library():
    code = "import sys, isoflop.sources.load; print([m for m in ('matplotlib', 'scipy', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
