"""Bad input: one sentence, one hint, exit 1, no traceback, nothing lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_cli_surface import SIMULATED, isoflop
from tests.commands import isoflop_here
from tests.databases import opened


def refused(folder: Path, *arguments: str) -> str:
    """stderr of a command that a user can mend."""
    done = isoflop_here(*arguments, folder=folder, code=1)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    message, hint = done.stderr.strip().splitlines()[-2:]
    assert message.startswith("Error: ") and message.endswith((".", "!", "?"))
    assert hint.startswith("Hint: ")
    return done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "drawn.toml").write_text(SIMULATED)
    return tmp_path


BUILTIN = 'name = "s"\nbudgets = [1e10]\n'
HEADER = "budget_flops,n_params,n_tokens,loss\n"


@pytest.mark.parametrize("command", ["plan", "run", "fit", "report"])
def test_a_missing_sweep_file(folder: Path, command: str) -> None:
    assert "none.toml" in refused(folder, command, "none.toml")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("name = ", "not valid TOML"),
        (SIMULATED + "size = 3\n", "Did you mean 'sizes'"),
        ('name = "s"\nbudgets = [0.0]\n', "entry 1 of budgets = 0.0"),
        ('name = "s"\nbudgets = [nan]\n', "entry 1 of budgets = nan"),
        ('name = "s"\nbudgets = "1e11"\n', "budgets = '1e11'"),
        ('name = "a/b"\nbudgets = [1e11]\n', "name = 'a/b'"),
        (BUILTIN + '[corpus]\nsource = "files"\npaths = ["nothing-here"]\n', "nothing-here"),
    ],
    ids=["malformed", "unknown-key", "zero-budget", "nan-budget", "text-budget", "bad-name", "missing-corpus"],
)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_an_unusable_sweep_file(folder: Path, command: str, content: str, said: str) -> None:
    (folder / "s.toml").write_text(content)
    assert said in refused(folder, command, "s.toml")
    if (folder / "isoflop.db").exists():
        with opened(folder / "isoflop.db") as db:
            assert not db.execute("select * from sweeps").fetchall()


def test_an_empty_corpus(folder: Path) -> None:
    (folder / "texts").mkdir()
    (folder / "texts" / "a.txt").write_text("")
    (folder / "s.toml").write_text(BUILTIN + '[corpus]\nsource = "files"\npaths = ["texts"]\n')
    assert "orpus" in refused(folder, "run", "s.toml")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "empty"),
        ("budget_flops,n_params,loss\n1e18,1e8,3\n", "n_tokens"),
        (HEADER, "no"),
        (HEADER + "1e18,1e8,2e9,nan\n", "line 2"),
        (HEADER + "1e18,1e8,2e9,3.0\n1e18,-1,2e9,3.0\n", "line 3"),
        (HEADER + "1e18,1e8,inf,3.0\n", "line 2"),
        (HEADER + "1e18,1e8,x,3.0\n", "line 2"),
        (HEADER + "1e18,1e8,2e9,1e300\n", "line 2: loss = '1e300' is beyond"),
        ("hello\n", "budget_flops"),
    ],
    ids=["empty", "missing-column", "no-rows", "nan", "negative", "infinite", "text", "huge-loss", "no-header"],
)
def test_an_unusable_csv(folder: Path, content: str, said: str) -> None:
    (folder / "x.csv").write_text(content)
    assert said in refused(folder, "fit", "x.csv")


@pytest.mark.parametrize("command", ["plan", "run", "status", "fit", "report"])
def test_a_folder_as_database_is_called_one_and_gets_no_lock_file(folder: Path, command: str) -> None:
    (folder / "data").mkdir()
    assert "'data' is a folder" in refused(folder, command, "drawn.toml", "--db", "data")
    assert {path.name for path in folder.iterdir()} == {"drawn.toml", "data"}


@pytest.mark.parametrize(
    "arguments",
    [("report", "x.csv", "--out", ""), ("plan", "drawn.toml", "--db", ""), ("run", "drawn.toml", "--artifacts", "")],
)
def test_an_empty_path_does_not_mean_the_current_folder(folder: Path, arguments: tuple[str, ...]) -> None:
    done = isoflop(*arguments, folder=folder, code=2)
    assert "the path is empty" in " ".join(done.stderr.replace("│", " ").split())
    assert [path.name for path in folder.iterdir()] == ["drawn.toml"]


def test_what_is_no_database(folder: Path) -> None:
    (folder / "x.db").write_bytes(b"SQLite format 3\x00" + b"garbage" * 100)
    assert "x.db" in refused(folder, "fit", "x.db")
    (folder / "isoflop.db").write_text("a text, not a database")
    assert "isoflop.db" in refused(folder, "run", "drawn.toml")
    assert (folder / "isoflop.db").read_text() == "a text, not a database"


def test_a_sweep_without_a_completed_run_and_one_not_planned(folder: Path) -> None:
    assert "isoflop.db" in refused(folder, "fit", "drawn.toml")
    isoflop("plan", "drawn.toml", folder=folder)
    assert "21 pending" in refused(folder, "fit", "drawn.toml")
    assert "no sweep 'other'" in refused(folder, "fit", "isoflop.db", "--sweep", "other")


@pytest.mark.parametrize("command", [("fit",), ("status",), ("export", "--out", "model"), ("sample",)])
def test_the_command_in_a_hint_can_be_pasted_whatever_the_files_name(folder: Path, command: tuple[str, ...]) -> None:
    """A database with another sweep; the sweep itself is not planned."""
    isoflop_here("plan", "drawn.toml", folder=folder)
    (folder / "my sweep.toml").write_text(BUILTIN)
    assert "`isoflop run 'my sweep.toml'` plans" in refused(folder, command[0], "my sweep.toml", *command[1:])


@pytest.mark.slow
def test_a_database_of_several_sweeps_needs_a_name(finished: Path) -> None:
    (finished / "two.toml").write_text(SIMULATED.replace("drawn", "second"))
    isoflop("plan", "two.toml", folder=finished)
    assert "--sweep" in refused(finished, "fit", "isoflop.db")
    isoflop("fit", "isoflop.db", "--sweep", "drawn", folder=finished)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [("--target", "lots"), ("--target", "-1"), ("--level", "90")], ids=["word", "negative", "level"]
)
def test_an_unusable_option_of_fit(finished: Path, arguments: tuple[str, ...]) -> None:
    assert arguments[1].lstrip("-") in refused(finished, "fit", "drawn.toml", *arguments)


@pytest.mark.slow
def test_a_report_into_a_file_is_refused_and_the_file_kept(finished: Path) -> None:
    (finished / "out").write_text("mine")
    assert "out" in refused(finished, "report", "drawn.toml", "--out", "out")
    assert (finished / "out").read_text() == "mine"


def test_cuda_where_there_is_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "GPU" in refused(folder, "run", "drawn.toml", "--device", "cuda")


def test_usage_errors_exit_2(folder: Path) -> None:
    for arguments in (
        ["fly"],
        ["plan"],
        ["plan", "drawn.toml", "--sizes", "3"],
        ["run", "drawn.toml", "--workers", "0"],
    ):
        done = isoflop(*arguments, folder=folder, code=2)
        assert "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_written(folder: Path) -> None:
    (folder / "in-the-way").write_text("a file where a folder should be")
    (folder / "s.toml").write_text(BUILTIN)
    for option in ("--artifacts", "--db"):
        assert "in-the-way" in refused(folder, "plan", "s.toml", option, f"in-the-way{os.sep}x")


def test_names_with_markup_are_printed_as_they_are(folder: Path) -> None:
    assert "[red]x.toml" in refused(folder, "plan", "[red]x.toml")


@pytest.mark.slow
def test_a_closed_pipe_is_no_error(finished: Path) -> None:
    command = f"{sys.executable} -m isoflop fit drawn.toml | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=finished, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and done.stderr == ""


@pytest.mark.parametrize(
    "change",
    [
        ("budgets = [1e17, 3e17, 1e18]", "budgets = [1.0]"),
        ("[grid]", "[recipe]\nmin_steps = 1000000000\n[grid]"),
        ("[grid]", "[recipe]\nbase_batch_tokens = 1e12\n[grid]"),
        ("center_tokens_per_param = 20", "center_n_params = 1e19"),
    ],
    ids=["budget", "steps", "batch", "centre"],
)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_sweep_of_which_nothing_can_be_trained(folder: Path, command: str, change: tuple[str, str]) -> None:
    (folder / "s.toml").write_text(SIMULATED.replace(*change))
    assert "No cell" in refused(folder, command, "s.toml")


@pytest.mark.parametrize("lattice", ["[]", "[-1]", '["a"]', "1", '"yes"'])
def test_an_unusable_lattice(folder: Path, lattice: str) -> None:
    (folder / "s.toml").write_text(SIMULATED + f"lattice = {lattice}\n")
    assert "a list of positive sizes" in refused(folder, "plan", "s.toml")


def test_a_decimal_comma_is_no_second_column(folder: Path) -> None:
    (folder / "x.csv").write_text(HEADER + "1e18,1e8,1e9,2,5\n")
    assert "5 fields for 4 columns" in refused(folder, "fit", "x.csv")


def test_a_heldout_text_shorter_than_a_sequence_is_refused_before_training(folder: Path) -> None:
    (folder / "texts").mkdir()
    for number in range(30):
        (folder / "texts" / f"{number}.txt").write_text(f"{number} some words that differ {number**3}\n" * 3)
    text = BUILTIN + '[corpus]\nsource = "files"\npaths = ["texts"]\n[model]\ncontext_length = 2048\n'
    (folder / "s.toml").write_text(text)
    assert "too few for a sequence of 2048" in refused(folder, "run", "s.toml")


@pytest.mark.parametrize("option", ["--db", "--artifacts"])
def test_a_database_or_artifacts_that_are_something_else(folder: Path, option: str) -> None:
    assert "drawn.toml" in refused(folder, "run", "drawn.toml", option, "drawn.toml")
    assert (folder / "drawn.toml").read_text() == SIMULATED


@pytest.mark.slow
def test_a_full_disk_under_stdout_is_one_sentence(finished: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "isoflop", "fit", "drawn.toml", "--json"],
            cwd=finished,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: Cannot write the output") and "Traceback" not in done.stderr
