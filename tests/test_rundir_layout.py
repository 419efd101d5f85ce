"""Names on disk: what other programs rely on, written down in one module."""

import ast
import re
from pathlib import Path

import pytest

import isoflop
from isoflop.rundir import RunDir
from isoflop.rundir.layout import OWN_NAMES, dir_of_run, dirs_of_runs, peaks_dir

RUN = "0123456789ab"
# As docs and other programs know them.
NAMES = {
    "job_path": "job.json",
    "lock_path": ".lock",
    "claim_path": "claim.json",
    "heartbeat_path": "heartbeat",
    "events_path": "events.jsonl",
    "checkpoint_dir": "checkpoint",
    "keep_path": "keep",
}
# A literal that spells one of them. Other files are locks too, and a checkpoint is also a kind of thing.
SPELLED = re.compile(r"(job|claim)\.json|heartbeat|events\.jsonl|attempt-.*|result-.*|log\.txt|.*\.safetensors")


@pytest.mark.parametrize("name", NAMES)
def test_a_jobs_files_have_the_names_that_others_rely_on(name: str) -> None:
    assert getattr(RunDir(Path("artifacts") / RUN), name) == Path("artifacts") / RUN / NAMES[name]


def test_files_of_runs_and_attempts_lie_in_the_directory_of_the_job() -> None:
    run_dir, folder = RunDir(dir_of_run(Path("artifacts"), RUN)), Path("artifacts") / RUN
    assert run_dir.path == folder
    assert run_dir.result_path(RUN) == folder / f"result-{RUN}.json"
    assert run_dir.log_path(3) == folder / "attempt-3" / "log.txt"
    assert run_dir.checkpoint_path(RUN) == folder / "checkpoint" / f"{RUN}.safetensors"
    assert run_dir.weights_path(RUN) == folder / "checkpoint" / f"{RUN}.weights.safetensors"
    assert peaks_dir(Path("artifacts")) == Path("artifacts/peaks")


@pytest.mark.parametrize("name", [*NAMES.values(), "attempt-12", f"result-{RUN}.json"])
def test_what_isoflop_writes_is_known_as_its_own(name: str) -> None:
    assert OWN_NAMES.fullmatch(name)
    assert not OWN_NAMES.fullmatch(f"my-{name}")


def test_only_jobs_that_were_begun_have_a_directory(tmp_path: Path) -> None:
    (tmp_path / RUN).mkdir()
    assert dirs_of_runs(tmp_path, [RUN, "ba9876543210"]) == {RUN: tmp_path / RUN}
    assert dirs_of_runs(tmp_path / "absent", [RUN]) == {}


def test_no_other_module_spells_a_name() -> None:
    root = Path(isoflop.__file__).parent
    found = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SPELLED.fullmatch(node.value)
    }
    # In the folder that an export is, weights have the name that Hugging Face's tools look for.
    assert found == {"rundir/layout.py", "export/model_folder.py"}
