"""A plan that would leave trained runs behind: refused, asked about at a terminal, and taken with --replan."""

import hashlib
import json
import os
import pty
import random
import shutil
import subprocess
import sys
from collections.abc import Mapping
from math import log10
from pathlib import Path
from typing import Any

import pytest

from isoflop.errors import IsoflopError
from isoflop.plan.types import Plan
from isoflop.rundir import RunDir, own_claim
from isoflop.rundir.events import ProgressEvent
from isoflop.sweep.session import open_session
from isoflop.sweep.stakes import LeftBehind
from tests.cli.test_cli_errors import refused
from tests.cli.test_cli_surface import SIMULATED, isoflop
from tests.config_changes import BASE, answer, as_toml, changed
from tests.databases import opened

# Each test starts the command, or plans a corpus: about a second of a core.
pytestmark = pytest.mark.slow

# Where `answer` has the floors of its valleys.
CENTRES = {4e10: 2e4, 1e11: 3.2e4, 2.5e11: 5e4, 6e11: 7.8e4}


def sweep_of(*budgets: float) -> Mapping[str, Any]:
    grid = {"sizes": 6, "half_width": 0.3, "center_n_params": [CENTRES[budget] for budget in budgets]}
    return {**BASE, "budgets": list(budgets), "grid": grid}


SWEEP = sweep_of(4e10, 1e11, 2.5e11)


def losses(plan: Plan) -> dict[str, dict[str, float]]:
    """Valleys whose floors fall with the budget, with some noise."""
    noise = random.Random(3)
    return {
        cell.run.run_id: {
            "val_loss": 2.5
            - 0.3 * log10(cell.budget_flops / 4e10)
            + 0.4 * log10(cell.run.shape.n_params_total / CENTRES[cell.budget_flops]) ** 2
            + noise.gauss(0, 1e-3)
        }
        for cell in plan.cells
    }


def session(folder: Path, **options: Any) -> Any:
    return open_session(
        folder / "s.toml", folder / "isoflop.db", folder / "isoflop-artifacts", device="cpu", workers=1, retry=False,
        **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of six sizes at three budgets, all with a result that a trainer of another make left."""
    folder = tmp_path_factory.mktemp("trained")
    words = random.Random(1)
    (folder / "text").mkdir()
    for number in range(40):
        lines = (" ".join(words.choices(["red", "green", "blue", "black"], k=9)) for _ in range(40))
        (folder / "text" / f"{number:02d}.txt").write_text(f"page {number}\n" + "\n".join(lines))
    (folder / "s.toml").write_text(as_toml(SWEEP))
    with session(folder) as opened_session:
        answer(folder / "isoflop-artifacts", opened_session.plan, losses(opened_session.plan))
        assert len(list(opened_session.events())) == 18
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "copy")


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "isoflop.db").read_bytes()).hexdigest()


def add_a_line(folder: Path) -> None:
    with (folder / "text" / "00.txt").open("a") as file:
        file.write("one line more\n")


def spent(folder: Path, where: str = "true") -> float:
    with opened(folder / "isoflop.db") as connection:
        [(flops,)] = connection.execute(f"select sum(spent_flops) from results join runs using (run_id) where {where}")
    return float(flops)


def at_stake(folder: Path) -> LeftBehind | None:
    """What a session is asked about, if anything; the database is left as it is then."""
    asked: list[LeftBehind] = []

    def no(lost: LeftBehind) -> bool:
        asked.append(lost)
        return False

    try:
        with session(folder, may_leave=no):
            pass
    except IsoflopError as error:
        assert asked[0].sentence in error.message
    return asked[0] if asked else None


def test_one_line_more_in_the_corpus_trains_nothing_anew_without_a_word(folder: Path) -> None:
    add_a_line(folder)
    before, flops = digest(folder), spent(folder)
    said = refused(folder, "run", "s.toml", "--device", "cpu")
    assert "18 trained runs of 18" in said and f"{flops:.2e}".replace("e+", "e") in said
    assert "the corpus changed (fingerprint " in said and "--replan" in said
    assert digest(folder) == before
    assert at_stake(folder) == LeftBehind("base", 18, 0, 18, pytest.approx(flops), at_stake(folder).why)  # type: ignore[union-attr]


def test_a_plan_shows_what_it_would_leave_behind_and_does_not_record_it(folder: Path) -> None:
    """What `plan` records is what `run` compares with: recorded, nothing would be left to notice."""
    add_a_line(folder)
    before = digest(folder)
    done = isoflop("plan", "s.toml", "--json", folder=folder, code=1)
    changes = json.loads(done.stdout)["changes"]
    assert len(changes["no_longer_asked_for"]) == len(changes["new"]) == 18
    assert set(changes["corpus_fingerprint"]) == {"old", "new"}
    assert "18 trained runs of 18" in done.stderr and "Nothing was written" in done.stderr
    assert digest(folder) == before
    isoflop("plan", "s.toml", "--dry-run", folder=folder)
    assert at_stake(folder) is not None
    isoflop("plan", "s.toml", "--replan", folder=folder)
    assert at_stake(folder) is None, "who said --replan to one command is not asked by the next"


def test_keys_that_changed_are_named_and_only_what_they_lose_is_counted(folder: Path) -> None:
    (folder / "s.toml").write_text(as_toml(sweep_of(4e10, 1e11)))
    lost = at_stake(folder)
    assert lost is not None and (lost.n_completed, lost.n_begun, lost.n_runs) == (6, 0, 18)
    assert lost.flops == pytest.approx(spent(folder, "planned_flops > 2e11"))
    assert lost.why == "budgets, grid.center_n_params changed in the sweep file"
    with session(folder, may_leave=lambda lost: True) as agreed:
        assert agreed.outline.done == frozenset(agreed.plan.runs)


@pytest.mark.parametrize(
    "content",
    [
        sweep_of(*CENTRES),
        changed(SWEEP, "grid.seeds", 2),
        changed(SWEEP, "run.keep", "none"),
        changed(SWEEP, "corpus.tokens", 10**9),
        {**SWEEP, "name": "another"},
    ],
    ids=["a budget more", "more seeds", "weights", "stated tokens", "another sweep"],
)
def test_a_change_that_loses_nothing_asks_nothing(folder: Path, content: Mapping[str, Any]) -> None:
    (folder / "s.toml").write_text(as_toml(content))
    assert at_stake(folder) is None


def test_runs_are_at_stake_also_where_another_sweep_asks_for_them(folder: Path) -> None:
    """A copy that was only planned, to try a name, must not switch the question off."""
    (folder / "s.toml").write_text(as_toml({**SWEEP, "name": "another"}))
    with session(folder):
        pass
    (folder / "s.toml").write_text(as_toml(sweep_of(4e10)))
    lost = at_stake(folder)
    assert lost is not None and (lost.n_completed, lost.n_runs) == (12, 18)


def test_a_sweep_that_was_extended_is_planned_and_run_without_a_question(folder: Path) -> None:
    document = json.loads(isoflop("plan", "s.toml", "--extend", "1", "--json", folder=folder).stdout)
    assert [run["role"] for run in document["runs"]].count("suggested") == 1
    assert at_stake(folder) is None
    isoflop("plan", "s.toml", folder=folder)


def test_runs_without_a_result_count_once_they_have_a_checkpoint(folder: Path) -> None:
    """Two of three runs of the largest budget failed or never began; a third was stopped half-way."""
    with opened(folder / "isoflop.db") as connection:
        largest = "select run_id from runs where planned_flops > 2e11 order by run_id"
        failed, absent, begun = [run_id for (run_id,) in connection.execute(largest)][:3]
        connection.execute(
            "update results set status = 'failed', reason = 'x', val_loss = null where run_id = ?", [failed]
        )
        connection.execute("delete from results where run_id in (?, ?)", [absent, begun])
    run_dir = RunDir(folder / "isoflop-artifacts" / begun)
    run_dir.write_claim(own_claim(1))
    run_dir.append_event(ProgressEvent(0.0, begun, step=5, n_tokens=1000, loss=3.0, tokens_per_second=1.0))
    (run_dir.checkpoint_dir / f"{begun}.safetensors").touch()
    flops = spent(folder, f"planned_flops > 2e11 and status = 'completed' and run_id <> '{begun}'")
    with session(folder) as unchanged:
        per_token = unchanged.plan.runs[begun].shape.flops_per_token
        assert unchanged.outline.shares == {begun: 1000 / unchanged.plan.runs[begun].n_tokens}
    (folder / "s.toml").write_text(as_toml(sweep_of(4e10, 1e11)))
    lost = at_stake(folder)
    assert lost is not None and (lost.n_completed, lost.n_begun) == (3, 1)
    assert lost.flops == pytest.approx(flops + 1000 * per_token)
    assert "3 trained runs and 1 half-trained run of 18" in lost.sentence


def test_a_suggested_run_that_has_begun_is_dropped_by_name_and_not_by_a_change_of_the_machine(folder: Path) -> None:
    document = json.loads(isoflop("plan", "s.toml", "--extend", "1", "--json", folder=folder).stdout)
    [begun] = [run["run_id"] for run in document["runs"] if run["role"] == "suggested"]
    run_dir = RunDir(folder / "isoflop-artifacts" / begun)
    run_dir.checkpoint_dir.mkdir(parents=True)
    run_dir.write_claim(own_claim(1))
    run_dir.append_event(ProgressEvent(0.0, begun, step=5, n_tokens=1000, loss=3.0, tokens_per_second=1.0))
    (run_dir.checkpoint_dir / f"{begun}.safetensors").touch()
    said = isoflop("plan", "s.toml", "--drop-suggested", folder=folder, code=1).stderr
    assert "leaves behind 1 half-trained run of 19" in said and "--drop-suggested takes suggested runs out" in said
    assert "this machine" not in said and "Undo the change" not in said
    assert "`isoflop run` finishes these runs; --drop-suggested --replan gives them up." in said
    isoflop("plan", "s.toml", "--drop-suggested", "--replan", folder=folder)
    assert at_stake(folder) is None


def test_a_simulated_sweep_was_not_trained_and_asks_nothing(finished: Path) -> None:
    (finished / "drawn.toml").write_text(SIMULATED.replace("1e17, 3e17, 1e18", "2e17"))
    assert isoflop("run", "drawn.toml", folder=finished).stdout.startswith("drawn: 7 completed")


def at_a_terminal(folder: Path, typed: bytes, *arguments: str) -> tuple[int, str]:
    """Exit code and what a person sees who types that at stdin; stdout is piped away."""
    ours, theirs = pty.openpty()
    os.write(ours, typed)
    process = subprocess.Popen(
        [sys.executable, "-m", "isoflop", *arguments],
        cwd=folder,
        stdin=theirs,
        stderr=theirs,
        stdout=subprocess.DEVNULL,
    )
    code = process.wait(timeout=120)
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 4096):
            seen += chunk
    except OSError:  # Linux says so at the end of a terminal
        pass
    os.close(ours)
    return code, " ".join(seen.decode().split())


@pytest.mark.parametrize(("typed", "code"), [(b"n\n", 1), (b"\n", 1), (b"\x04", 1), (b"y\n", 0)], ids=repr)
def test_a_person_at_a_terminal_is_asked(folder: Path, typed: bytes, code: int) -> None:
    add_a_line(folder)
    before = digest(folder)
    ended, seen = at_a_terminal(folder, typed, "plan", "s.toml")
    assert ended == code
    assert "18 trained runs of 18" in seen and "Plan it all the same? [y/N]" in seen
    assert (digest(folder) == before) is (code == 1)
