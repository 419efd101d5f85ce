"""What a model card says, and which runs of a sweep can have one."""

from pathlib import Path

import pytest

from isoflop.errors import IsoflopError
from isoflop.export.card import model_card
from isoflop.plan.types import Plan, Role
from isoflop.store import ConfirmPlace, open_store
from isoflop.sweep.trained_run import RunChoice, TrainedRun, trained_run, trained_runs
from tests.decision.test_decision_confirmation import PLACES, prediction_of
from tests.report_examples import make_cell, make_result, save_sweep, unfinished

GRID = [make_cell(1e12, width) for width in (16, 32, 48, 64)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sweep of two completed runs, one that diverged and one that is pending; and confirm runs of three sizes."""
    results = [*map(make_result, GRID[:2]), unfinished(GRID[2], "diverged", "loss was not finite at step 17")]
    confirming = [make_result(cell, val_loss=2.0) for cell in PLACES]
    spec = save_sweep(tmp_path / "isoflop.db", [*GRID, *PLACES], [*results, *confirming])
    with open_store(tmp_path / "isoflop.db", write=True) as store:
        predictions = [prediction_of(cell, place, sweep=spec.name) for cell, place in PLACES.items()]
        store.save_plan(spec, Plan(spec.name, (*GRID, *PLACES), (), ()), predictions)
    (tmp_path / "my sweep.toml").write_text('name = "demo"\nbudgets = [1e12]\n')
    return tmp_path


def chosen(folder: Path, run: str) -> TrainedRun:
    return trained_run(folder / "my sweep.toml", folder / "isoflop.db", folder / "a", RunChoice(run=run))


def card(trained: TrainedRun, text: str = "files text") -> dict[str, str]:
    """The rows of its table."""
    lines = model_card(trained, text=text, dtype="float32").splitlines()
    cells = (line.split(" | ", 1) for line in lines if line.startswith("| ") and line.endswith(" |"))
    return {name.removeprefix("| "): value.removesuffix(" |") for name, value in cells if value.strip("| ")}


def test_all_runs_of_a_sweep_are_those_that_completed(folder: Path) -> None:
    found = trained_runs(folder / "my sweep.toml", folder / "isoflop.db", folder / "a")
    confirming = sorted(PLACES, key=lambda cell: cell.run.shape.n_params_total)
    assert [one.run.run_id for one in found] == [cell.run.run_id for cell in (*GRID[:2], *confirming)]
    assert [one.place for one in found] == [None, None, *(PLACES[cell] for cell in confirming)]


@pytest.mark.parametrize("place", ConfirmPlace)
def test_a_card_has_the_command_that_made_the_run(folder: Path, place: ConfirmPlace) -> None:
    (cell,) = [cell for cell, its in PLACES.items() if its is place]
    rows = card(chosen(folder, cell.run.run_id))
    neighbours = "" if place is ConfirmPlace.OPTIMUM else " --neighbours"
    assert rows["command"] == f"`isoflop run 'my sweep.toml' --confirm 1e14{neighbours}`"
    assert rows["run"] == f"`{cell.run.run_id}`, {Role.CONFIRM.value} run, {place.words} of the sweep demo"
    assert card(chosen(folder, GRID[0].run.run_id))["command"] == "`isoflop run 'my sweep.toml'`"


def test_a_path_of_the_text_is_shown_and_not_obeyed(folder: Path) -> None:
    text = card(chosen(folder, GRID[0].run.run_id), "files \x1b[31m\x9b\u202e<b>&lt;~~$x$|\n---")["text"]
    assert text.startswith(r"files \[31m \<b\>\&lt;\~\~\$x\$\| ---, corpus ") and text.isprintable()


def test_weights_in_bfloat16_have_a_loss_that_is_not_theirs(folder: Path) -> None:
    said = model_card(chosen(folder, GRID[0].run.run_id), text="files text", dtype="bfloat16")
    assert "nats per token, of the float32 weights |" in said


def test_the_budget_of_a_confirm_run_leads_to_it(folder: Path) -> None:
    where = (folder / "my sweep.toml", folder / "isoflop.db", folder / "a")
    assert trained_run(*where, RunChoice(budget_flops=1e12)).run.run_id in {cell.run.run_id for cell in GRID[:2]}
    for budget, way in ((1e14, "by its id, --confirm the confirm run."), (1e13, "by its id.")):
        with pytest.raises(IsoflopError) as caught:
            trained_run(*where, RunChoice(budget_flops=budget))
        assert caught.value.hint.endswith(way)
