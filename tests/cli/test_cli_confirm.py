"""`run --confirm`: a run that is predicted before it exists, and a prediction that nothing replaces."""

import dataclasses
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from isoflop.artifacts.retention import weights_to_keep
from isoflop.decision.confirmation import judge
from isoflop.errors import IsoflopError
from isoflop.fit import Question
from isoflop.plan.types import Cell, Role
from isoflop.report.confirmation_words import confirmations_document
from isoflop.report.fit_document import fit_document
from isoflop.report.summary import Summary, summarize
from isoflop.rundir import RunDir
from isoflop.sources.load import load_source, load_sources
from isoflop.sources.source import fit_source
from isoflop.store import ConfirmPlace, open_store, run_cells, sweep_lock
from isoflop.sweep.locks import lock_path
from isoflop.sweep.trained_run import RunChoice, trained_run
from tests.commands import isoflop, isoflop_here
from tests.config_changes import BASE, as_toml
from tests.confirm_examples import SWEEP, chinchilla, predictions, session, train
from tests.report_examples import GENERATED_AT, make_result

C = 5e18


def document(folder: Path, *arguments: str) -> dict[str, Any]:
    return json.loads(isoflop(*arguments, "--json", folder=folder).stdout)


def summary(folder: Path, *targets: float) -> Summary:
    source = load_source(str(folder / "s.toml"), db=folder / "isoflop.db", sweep=None)
    return summarize(source, fit_source(source, Question(targets=targets)), generated_at=GENERATED_AT)


def confirmations(folder: Path) -> list[dict[str, Any]]:
    """What `fit --json` says of the confirm runs, without the fit."""
    with open_store(folder / "isoflop.db", write=False) as store:
        return confirmations_document(judge(store.predictions("drawn"), store.cells("drawn")))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a simulated sweep whose runs all have a result."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "s.toml").write_text(SWEEP)
    train(folder)
    return folder


@pytest.fixture(scope="module")
def confirmed(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same after its confirm run and the neighbours."""
    folder = shutil.copytree(trained, tmp_path_factory.mktemp("confirmed"), dirs_exist_ok=True)
    train(folder, C, neighbours=True)
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "copy")


@pytest.fixture
def done(confirmed: Path, tmp_path: Path) -> Path:
    return shutil.copytree(confirmed, tmp_path / "done")


def confirming(folder: Path) -> list[Cell]:
    with open_store(folder / "isoflop.db", write=False) as store:
        return [cell for cell in run_cells(store.cells("drawn")) if cell.role is Role.CONFIRM]  # type: ignore[misc]


def test_the_prediction_is_what_fit_says_there_and_is_stored_before_anything_is_trained(folder: Path) -> None:
    with session(folder, C):
        pass  # killed before the first run
    (made,) = predictions(folder)
    (target,) = summary(folder, C).targets
    assert (made.place, made.budget_flops, made.estimator) == (ConfirmPlace.OPTIMUM, C, target.estimator)
    assert (made.n_opt, made.d_opt) == (target.n_opt, target.d_opt)
    assert (made.n_opt_low, made.n_opt_high) == target.n_opt_ci
    assert made.n_params == pytest.approx(made.n_opt, rel=0.05)
    assert target.loss_ci is not None
    assert made.loss == pytest.approx(target.loss, abs=1e-3)
    assert made.loss_low < target.loss_ci[0] and made.loss_high > target.loss_ci[1], "one run scatters too"
    assert made.n_rows == len(made.fitted_runs) == 24
    (cell,) = confirming(folder)
    assert (cell.run_id, cell.result, cell.budget_flops) == (made.run_id, None, C)
    assert cell.planned_flops == pytest.approx(C, rel=0.005)


def test_a_pending_confirm_run_stays_in_the_plan_and_is_finished_by_a_plain_run(folder: Path) -> None:
    with session(folder, C):
        pass
    before = predictions(folder)
    plan = document(folder, "plan", "s.toml")
    assert [run["run_id"] for run in plan["runs"] if run["role"] == "confirm"] == [before[0].run_id]
    assert plan["changes"]["new"] == plan["changes"]["no_longer_asked_for"] == []
    said = confirmations(folder)[0]
    assert said["status"] == "pending" and "has no result yet" in said["sentences"][0]
    codes = {finding.code for finding in summary(folder).findings}
    assert "runs_pending" not in codes, "the fit lacks nothing"
    opened = train(folder)
    assert not opened.changes.differ
    assert confirming(folder)[0].result is not None
    assert predictions(folder) == before


def test_the_same_command_again_changes_nothing_and_says_that_the_prediction_stands(done: Path) -> None:
    before = predictions(done)
    opened = train(done, C, neighbours=True, loss=lambda cell: pytest.fail("trained again"))
    assert predictions(done) == before
    assert opened.confirming.new == () and not opened.changes.differ
    assert any("that prediction stands." in note for note in opened.confirming.notes)


def test_results_that_come_or_go_later_move_the_fit_and_not_the_prediction(done: Path) -> None:
    before, was, loss = predictions(done), confirmations(done)[0], summary(done, C).targets[0].loss
    isoflop("plan", "s.toml", "--extend", "3", "--target", "1e18", folder=done)
    train(done, loss=lambda cell: chinchilla(cell) + 0.02)
    isoflop("exclude", before[0].fitted_runs[3], "--reason", "spike", folder=done)
    assert summary(done, C).targets[0].loss != loss
    (now,) = confirmations(done)
    assert now["results_changed"] == {"added": 3, "excluded": 1, "gone": 0, "altered": False}
    changed = {name for name in was if was[name] != now[name]}
    assert changed == {"results_changed", "sentences"}
    assert "since then: 3 added, 1 excluded by hand" in now["sentences"][-1]
    opened = train(done, C)
    assert predictions(done) == before
    assert any("the results changed since, and it stays as it was" in note for note in opened.confirming.notes)


def test_neighbours_have_half_and_twice_the_size_at_the_same_budget(done: Path) -> None:
    made = {one.place: one for one in predictions(done)}
    cells = {cell.run_id: cell for cell in confirming(done)}
    centre = made[ConfirmPlace.OPTIMUM]
    for place in ConfirmPlace:
        assert made[place].n_params == pytest.approx(place.factor * centre.n_params, rel=0.05)
        assert cells[made[place].run_id].planned_flops == pytest.approx(C, rel=0.005)
        assert made[place].loss >= centre.loss - 1e-6
    (told,) = confirmations(done)
    losses = {run_id: cell.completed.val_loss for run_id, cell in cells.items() if cell.completed}
    assert [beside["place"] for beside in told["neighbours"]] == ["half", "double"]
    for beside in told["neighbours"]:
        worse_by = losses[beside["run_id"]] - losses[told["run_id"]]
        assert beside["worse_by"] == pytest.approx(worse_by)
        assert beside["n_standard_errors"] == pytest.approx(worse_by / (2**0.5 * told["noise"]))
    assert told["held"] is True
    assert told["sentences"][1].startswith("N/2 was worse by ") and ", 2N by " in told["sentences"][1]


def test_neighbours_asked_for_later_stand_beside_the_run_that_is_there(folder: Path) -> None:
    train(folder, C)
    (before,) = predictions(folder)
    train(folder, C, neighbours=True)
    after = predictions(folder)
    assert after[0] == before
    assert [one.place for one in after[1:]] == [ConfirmPlace.HALF, ConfirmPlace.DOUBLE]
    assert {one.budget_flops for one in after} == {C}


def test_a_budget_that_was_predicted_before_it_joined_the_sweep_shows_that_prediction(done: Path) -> None:
    before = predictions(done)
    (done / "s.toml").write_text(SWEEP.replace("1e18]", f"1e18, {C!r}]"))
    train(done)
    opened = train(done, C, neighbours=True, loss=lambda cell: pytest.fail("trained again"))
    assert any("that prediction stands" in note for note in opened.confirming.notes)
    assert predictions(done) == before


def test_neighbours_are_half_and_twice_the_run_that_is_there_as_the_fit_counts_now(tmp_path: Path) -> None:
    """Of models this small, embedding and head are half: half of all parameters would be a model almost as large."""
    small = SWEEP.replace("[1e17, 3e17, 1e18]", "[3e10, 1e11, 3e11]") + "[model]\ncontext_length = 64\n"
    (tmp_path / "s.toml").write_text(small)
    train(tmp_path)
    train(tmp_path, 1e12)
    (tmp_path / "s.toml").write_text(small + '[fit]\nparams = "non_embedding"\n')
    train(tmp_path)
    train(tmp_path, 1e12, neighbours=True)
    with open_store(tmp_path / "isoflop.db", write=False) as store:
        sizes = {
            one.place: store.run_spec(one.run_id).shape.n_params_non_embedding for one in store.predictions("drawn")
        }
    assert sizes[ConfirmPlace.HALF] == pytest.approx(sizes[ConfirmPlace.OPTIMUM] / 2, rel=0.04)
    assert sizes[ConfirmPlace.DOUBLE] == pytest.approx(2 * sizes[ConfirmPlace.OPTIMUM], rel=0.04)


def test_no_confirm_run_is_ever_fitted_or_missed_by_a_fit(trained: Path, done: Path) -> None:
    without, within = (fit_document(summary(where)) for where in (trained, done))
    assert within.pop("confirmations") and not without.pop("confirmations")
    assert str(within) == str(without).replace(str(trained), str(done))


def test_a_confirm_run_that_two_sources_have_is_told_once(done: Path) -> None:
    copy = shutil.copy(done / "isoflop.db", done / "copy.db")
    sources = [str(done / "s.toml"), f"copy={copy}"]
    pooled = load_sources(sources, db=done / "isoflop.db", sweep=None)
    told = summarize(pooled, fit_source(pooled, Question()), generated_at=GENERATED_AT)
    assert [one.prediction.run_id for one in told.confirmations] == [predictions(done)[0].run_id]
    assert not told.confirmations[0].changed.any


def test_a_run_that_was_trained_before_it_was_predicted_is_trained_with_another_seed(folder: Path) -> None:
    """The prediction would not be from before; neither the database nor a result file may know its outcome."""
    with session(folder, C) as opened:
        (known,) = (cell for cell in opened.plan.cells if cell.role is Role.CONFIRM)
    other = shutil.copytree(folder.parent / "copy", folder.parent / "other")
    (other / "isoflop.db").unlink()
    run_dir = RunDir((other / "isoflop-artifacts").resolve() / known.run.run_id)
    run_dir.path.mkdir(parents=True)
    run_dir.result_path(known.run.run_id).write_text(make_result(known).model_dump_json())
    train(other)
    opened = train(other, C)
    (made,) = predictions(other)
    assert made.run_id != known.run.run_id
    assert any("another seed" in note for note in opened.confirming.notes)


def test_a_recipe_that_changed_leaves_the_confirm_run_behind_and_the_old_one_returns_with_it(done: Path) -> None:
    before = predictions(done)
    (done / "s.toml").write_text(SWEEP + "[recipe]\nlearning_rate = 0.01\n")
    train(done)
    assert confirming(done) == []
    assert confirmations(done) == []
    train(done, C)
    assert len(predictions(done)) == 4, "another recipe, another run, another prediction"
    (done / "s.toml").write_text(SWEEP)
    train(done)
    train(done, C, neighbours=True, loss=lambda cell: pytest.fail("trained again"))
    assert predictions(done)[:3] == before and len(predictions(done)) == 4
    assert {cell.run_id for cell in confirming(done)} == {one.run_id for one in before}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--confirm", "1e18"), "does not lie above the largest budget of the sweep, 1.00e18"),
        (("--confirm", "9e17"), "a confirm run tests an extrapolation"),
        (("--confirm", "ten"), "'ten' is not a usable --confirm in FLOPs"),
        (("--confirm", "0"), "is not a usable --confirm"),
        (("--confirm", "-1e19"), "is not a usable --confirm"),
        (("--neighbours",), "--neighbours has no effect without --confirm"),
        (("--confirm", "1e30"), "cannot be built; the nearest shape has"),
        (("--confirm", "1e300"), "cannot be built"),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, tuple) else "",
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(
    trained: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    folder = shutil.copytree(trained, tmp_path / "copy")
    before = (folder / "isoflop.db").read_bytes()
    refused = isoflop_here("run", "s.toml", *arguments, folder=folder, code=1)
    assert words in refused.stderr and "Hint: " in refused.stderr and "Traceback" not in refused.stderr
    assert predictions(folder) == ()
    assert (folder / "isoflop.db").read_bytes() == before


def refusal(folder: Path, confirm: float = C, neighbours: bool = False) -> IsoflopError:
    with pytest.raises(IsoflopError) as caught, session(folder, confirm, neighbours):
        pass
    return caught.value


def test_a_sweep_that_was_never_run_predicts_nothing(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(SWEEP)
    error = refusal(tmp_path)
    assert "has never been run" in error.message and f"`isoflop run {tmp_path / 's.toml'}` trains" in error.hint


def test_a_sweep_that_is_not_finished_is_refused_with_the_number_of_runs(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(SWEEP)
    with session(tmp_path) as opened:
        for cell in opened.plan.cells[:-3]:
            opened.store.record(make_result(cell, val_loss=chinchilla(cell)))
    assert "3 of the 24 runs of 'drawn' have no result yet" in refusal(tmp_path).message


def test_a_sweep_file_that_asks_for_other_runs_is_refused(folder: Path) -> None:
    (folder / "s.toml").write_text(SWEEP.replace("1e18]", "1e18, 3e18]"))
    assert "asks for other runs" in refusal(folder).message


def test_a_frontier_that_the_fit_itself_disowns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(SWEEP.replace("1e17, 3e17, 1e18", "1e18"))
    train(tmp_path)
    error = refusal(tmp_path)
    assert "makes no prediction to rely on" in error.message and error.hint
    assert predictions(tmp_path) == ()


@pytest.fixture(scope="module")
def of_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep on a text of 300 kB, whose runs all have a result."""
    folder = tmp_path_factory.mktemp("text")
    words = random.Random(1)
    (folder / "text").mkdir()
    for number in range(40):
        lines = (" ".join(words.choices(["red", "green", "blue", "black"], k=9)) for _ in range(150))
        (folder / "text" / f"{number:02d}.txt").write_text(f"page {number}\n" + "\n".join(lines))
    (folder / "s.toml").write_text(as_toml({**BASE, "name": "drawn", "budgets": [4e10, 1e11, 2.5e11]}))
    train(folder)
    return folder


def test_a_run_that_cannot_be_trained_is_refused_with_its_number(of_text: Path) -> None:
    error = refusal(of_text, 1e17)
    assert "The confirm run at 1.00e17 FLOPs (" in error.message and "cannot be trained: " in error.message
    assert " epochs of the corpus, more than recipe.max_epochs = 1000" in error.message
    assert "raise recipe.max_epochs" in error.hint
    assert predictions(of_text) == ()


def test_of_confirm_runs_the_one_at_the_predicted_optimum_is_meant_and_all_keep_their_weights(
    of_text: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(of_text, tmp_path / "copy")
    train(folder, 1e12, neighbours=True)
    made = predictions(folder)
    chosen = trained_run(
        folder / "s.toml", folder / "isoflop.db", folder / "isoflop-artifacts", RunChoice(confirm=True)
    )
    assert chosen.run.run_id == next(one.run_id for one in made if one.place is ConfirmPlace.OPTIMUM)
    with open_store(folder / "isoflop.db", write=False) as store:
        kept = weights_to_keep("best-per-budget", store.cells("drawn"))
        assert weights_to_keep("none", store.cells("drawn")) == frozenset()
    assert len(kept) == 3 + 3 and kept >= {one.run_id for one in made}


def test_another_process_that_holds_the_sweep_is_named(folder: Path) -> None:
    with sweep_lock(lock_path(folder / "isoflop.db", "drawn"), "drawn"):
        refused = isoflop_here("run", "s.toml", "--confirm", str(C), folder=folder, code=1)
    assert "drawn" in refused.stderr and predictions(folder) == ()


def test_runs_that_broke_are_counted_and_the_confirm_run_that_broke_is_told(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(SWEEP)
    with session(tmp_path) as opened:
        for number, cell in enumerate(opened.plan.cells):
            broken = {"status": "diverged", "reason": "loss was not finite", "val_loss": None, "val_loss_se": None}
            opened.store.record(make_result(cell, **({"val_loss": chinchilla(cell)} if number else broken)))
    with session(tmp_path, C) as opened:
        assert any("1 of the 24 runs diverged or failed" in note for note in opened.confirming.notes)
        (cell,) = (cell for cell in opened.plan.cells if cell.role is Role.CONFIRM)
        opened.store.record(
            make_result(cell, status="failed", reason="out of memory.", val_loss=None, val_loss_se=None)
        )
    (told,) = confirmations(tmp_path)
    assert (told["status"], told["held"], told["loss"]) == ("failed", None, None)
    assert "failed: out of memory; predicted" in told["sentences"][0]


def test_a_prediction_that_missed_and_a_better_neighbour_are_findings_and_sentences(folder: Path) -> None:
    with session(folder, C, neighbours=True) as opened:
        centre = opened.confirming.new[0].run_id
        for cell in opened.plan.cells:
            if cell.role is Role.CONFIRM:
                loss = chinchilla(cell) + 0.3 * (cell.run.run_id == centre)
                opened.store.record(make_result(cell, val_loss=loss))
    told = summary(folder)
    codes = [finding.code for finding in told.findings]
    assert codes.count("prediction_missed") == 1 and codes.count("confirm_neighbour_better") == 2
    verdict, beside = told.answer.sentences[-2:]
    assert "it did not hold" in verdict and "standard errors too low" in verdict
    assert beside.startswith("N/2 was better by ") and ", 2N by " in beside


def test_a_confirm_run_that_a_person_excluded_is_still_shown(done: Path) -> None:
    isoflop("exclude", predictions(done)[0].run_id, "--reason", "looked wrong", folder=done)
    (told,) = confirmations(done)
    assert (told["excluded"], told["held"]) == ("looked wrong", True)
    assert "A person excluded the confirm run: looked wrong." in told["sentences"]


@pytest.mark.slow(5)
def test_every_output_tells_what_was_predicted_and_what_came(done: Path) -> None:
    page = " ".join(isoflop("fit", "s.toml", folder=done).stdout.split())
    (told,) = confirmations(done)
    assert told["sentences"][0].startswith("The confirm run at 5.00e18 FLOPs (")
    assert told["sentences"][0] in page and "Confirm runs" in page and "SIMULATED" in page
    isoflop("report", "s.toml", "--out", "report", folder=done)
    for name in ("index.html", "report.md"):
        text = (done / "report" / name).read_text()
        assert told["sentences"][0] in text and "Confirm runs" in text
        assert "--confirm 5e+18 --neighbours" in text or name == "report.md"
    assert "confirm run, not fitted" in (done / "report" / "index.html").read_text()
    assert json.loads((done / "report" / "report.json").read_text())["confirmations"] == [told]


@pytest.mark.slow
def test_the_command_trains_and_tells(trained: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(trained, tmp_path / "copy")
    run = isoflop("run", "s.toml", "--confirm", "5e18", "--neighbours", folder=folder)
    assert "confirm run at 5.00e18 FLOPs: " in run.stderr and "stored before it is trained" in run.stderr
    assert "its neighbour N/2 at 5.00e18 FLOPs" in run.stderr and "confirm run  loss" in run.stderr
    assert "The confirm run at 5.00e18 FLOPs" in " ".join(run.stdout.split())
    again = document(folder, "run", "s.toml", "--confirm", "5e18")
    assert again["confirmations"] == document(folder, "fit", "s.toml")["confirmations"]
    assert again["confirmations"][0]["status"] == "completed"


def test_planned_extensions_do_not_wait_for_confirm_runs(done: Path) -> None:
    asked = ("--extend", "3", "--target", "1e18", "--dry-run")
    with_results = document(done, "plan", "s.toml", *asked)["suggested"]
    with open_store(done / "isoflop.db", write=True) as store:
        for one in predictions(done):
            store._db.table("results").delete(one.run_id)
    assert document(done, "plan", "s.toml", *asked)["suggested"] == with_results


def test_of_a_prediction_nothing_can_be_replaced(done: Path) -> None:
    first = predictions(done)[0]
    with open_store(done / "isoflop.db", write=True) as store:
        spec, plan = store.sweep_spec("drawn"), train(done).plan
        with pytest.raises(Exception, match="UNIQUE"):
            store.save_plan(spec, plan, [dataclasses.replace(first, loss=1.0, loss_low=0.9, loss_high=1.1)])
    assert predictions(done)[0] == first
