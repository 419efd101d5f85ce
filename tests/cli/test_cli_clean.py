"""Final weights and `isoflop clean`, with the real commands."""

import json
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from isoflop.store import sweep_lock
from tests.cli.test_cli_errors import refused
from tests.cli.test_cli_surface import SIMULATED, isoflop
from tests.databases import opened
from tests.engine.conftest import SWEEP, Sandbox, kill, make_sandbox

pytestmark = pytest.mark.slow

ARTIFACTS = "isoflop-artifacts"
FEWER = SIMULATED.replace("1e17, 3e17, 1e18", "1e17, 1e18")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """A tiny sweep, really trained, with the weights of the best run of each budget kept."""
    sandbox = make_sandbox(tmp_path_factory.mktemp("trained"))
    sandbox.run("run", "tiny.toml", "--workers", "2")
    return sandbox


@pytest.fixture(scope="module")
def reduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reduced")
    (folder / "drawn.toml").write_text(SIMULATED)
    isoflop("run", "drawn.toml", folder=folder)
    (folder / "drawn.toml").write_text(FEWER)
    isoflop("plan", "drawn.toml", folder=folder)
    return folder


@pytest.fixture
def drawn(reduced: Path, tmp_path: Path) -> Path:
    """A simulated sweep that has run and then lost a budget."""
    return shutil.copytree(reduced, tmp_path / "drawn")


def weights_in(folder: Path) -> set[str]:
    return {path.name.split(".")[0] for path in folder.glob(f"{ARTIFACTS}/*/checkpoint/*.weights.safetensors")}


def best_of_each_budget(folder: Path) -> set[str]:
    best = "select run_id, min(val_loss) from cells join results using (run_id) group by budget_flops"
    with opened(folder / "isoflop.db") as connection:
        return {run_id for run_id, _ in connection.execute(best)}


def cleaned(folder: Path, *arguments: str) -> dict[str, object]:
    document = json.loads(isoflop("clean", "--json", *arguments, folder=folder).stdout)
    assert set(document) == {
        "schema_version", "database", "artifacts", "freed", "items", "total_bytes", "left_alone",
    }  # fmt: skip
    assert isinstance(document, dict)
    return document


def former_runs(folder: Path) -> set[str]:
    with opened(folder / "isoflop.db") as connection:
        gone = "select run_id from runs where run_id not in (select run_id from cells where run_id is not null)"
        return {run_id for (run_id,) in connection.execute(gone)}


def test_a_run_keeps_the_best_of_each_budget_and_nothing_else(trained: Sandbox) -> None:
    assert weights_in(trained.folder) == best_of_each_budget(trained.folder)
    assert len(weights_in(trained.folder)) == 2
    assert cleaned(trained.folder)["items"] == []


def test_a_sweep_that_keeps_all_and_then_none_frees_them_without_training(tmp_path: Path) -> None:
    sandbox = make_sandbox(tmp_path, SWEEP.replace("6e8, 1.2e9", "2e8, 3e8") + '[run]\nkeep = "all"\n')
    sandbox.run("run", "tiny.toml", "--workers", "2")
    assert weights_in(tmp_path) == set(sandbox.losses())
    assert cleaned(tmp_path)["items"] == []
    (tmp_path / "tiny.toml").write_text((tmp_path / "tiny.toml").read_text().replace('"all"', '"none"'))
    sandbox.run("run", "tiny.toml", "--workers", "2")
    assert weights_in(tmp_path) == set()


def test_weights_are_freed_while_the_sweep_runs(tmp_path: Path) -> None:
    """Killed when its fifth run has begun, so that the end of the command frees nothing."""
    sandbox = make_sandbox(tmp_path)
    process = sandbox.start("run", "tiny.toml", "--workers", "1")
    begun = f"{ARTIFACTS}/*/claim.json"
    sandbox.wait_for(lambda: len(list(tmp_path.glob(begun))) >= 5, seconds=150)
    assert kill(process, signal.SIGKILL) == -signal.SIGKILL
    ended = {run_id for (run_id,) in sandbox.rows("select run_id from attempts where outcome = 'done'")}
    assert len(ended) >= 4
    assert weights_in(tmp_path) & ended <= best_of_each_budget(tmp_path)
    sandbox.run("run", "tiny.toml", "--workers", "2")
    assert weights_in(tmp_path) == best_of_each_budget(tmp_path)


def test_weights_that_another_sweep_keeps_stay_until_it_no_longer_does(trained: Sandbox) -> None:
    """`tiny` keeps none any more; `second` asks for the same runs and keeps the best."""
    folder = trained.folder
    before, original = weights_in(folder), (folder / "tiny.toml").read_text()
    (folder / "second.toml").write_text(original.replace('"tiny"', '"second"'))
    (folder / "tiny.toml").write_text(original + '[run]\nkeep = "none"\n')
    trained.run("plan", "second.toml")
    trained.run("run", "tiny.toml", "--workers", "2")
    assert weights_in(folder) == before
    (folder / "second.toml").write_text((folder / "tiny.toml").read_text().replace('"tiny"', '"second"'))
    trained.run("plan", "second.toml")
    items = cleaned(folder)["items"]
    assert isinstance(items, list)
    assert {(item["kind"], Path(item["path"]).name.split(".")[0]) for item in items} == {
        ("weights", run_id) for run_id in before
    }
    cleaned(folder, "--yes")
    assert weights_in(folder) == set()
    assert trained.run("run", "tiny.toml")[0].startswith("tiny: 6 completed")


def test_without_yes_nothing_goes_and_the_sizes_are_those_on_the_disk(drawn: Path) -> None:
    shown = isoflop("clean", folder=drawn).stdout
    assert "Nothing was deleted: the same command with --yes deletes" in " ".join(shown.split())
    document = cleaned(drawn)
    items = document["items"]
    assert isinstance(items, list)
    assert {Path(item["path"]).name for item in items} == former_runs(drawn)
    assert document["freed"] is False
    paths = [str(drawn / item["path"]) for item in items]
    done = subprocess.run(["du", "-s", "-B1", "-c", *paths], capture_output=True, text=True, check=True)
    assert document["total_bytes"] == int(done.stdout.splitlines()[-1].split()[0])
    assert all(Path(path).is_dir() for path in paths)


def test_with_yes_it_goes_and_every_result_stays(drawn: Path) -> None:
    former = former_runs(drawn)
    assert len(former) == 7
    fit = isoflop("fit", "drawn.toml", "--json", folder=drawn).stdout
    document = cleaned(drawn, "--yes")
    assert document["freed"] is True
    assert not any((drawn / ARTIFACTS / run_id).exists() for run_id in former)
    assert len([path for path in (drawn / ARTIFACTS).iterdir() if len(path.name) == 12]) == 14
    assert isoflop("fit", "drawn.toml", "--json", folder=drawn).stdout == fit
    (drawn / "drawn.toml").write_text(SIMULATED)
    assert isoflop("run", "drawn.toml", folder=drawn).stdout.startswith("drawn: 21 completed")
    assert "nothing to free" in isoflop("clean", "--yes", folder=drawn).stdout


def test_another_database_of_the_same_folder_loses_nothing(drawn: Path) -> None:
    (drawn / "theirs.toml").write_text(SIMULATED.replace("1e17, 3e17, 1e18", "2e17"))
    isoflop("run", "theirs.toml", "--db", "theirs.db", folder=drawn)
    document = cleaned(drawn, "--yes")
    left = document["left_alone"]
    assert isinstance(left, list) and len(left) == 7
    assert {entry["reason"] for entry in left} == {"unknown to this database"}
    assert all((drawn / entry["path"]).is_dir() for entry in left)


def test_freeing_is_refused_while_a_sweep_of_the_database_runs(drawn: Path) -> None:
    (drawn / "other.toml").write_text(SIMULATED.replace('"drawn"', '"other"').replace("1e17, 3e17", "2e17"))
    isoflop("plan", "other.toml", folder=drawn)
    with sweep_lock(drawn / "isoflop.db.other.lock", "other"):
        assert "Sweep 'other' is held" in refused(drawn, "clean", "--yes")
        assert len(cleaned(drawn)["items"]) == 7  # type: ignore[arg-type]
    assert all((drawn / ARTIFACTS / run_id).is_dir() for run_id in former_runs(drawn))


def test_a_missing_database_or_folder_is_refused_and_not_made(tmp_path: Path) -> None:
    assert "There is no folder 'isoflop-artifacts'" in refused(tmp_path, "clean")
    (tmp_path / ARTIFACTS).mkdir()
    assert "There is no database 'isoflop.db'" in refused(tmp_path, "clean", "--yes")
    assert [path.name for path in tmp_path.iterdir()] == [ARTIFACTS]
