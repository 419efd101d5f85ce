"""`isoflop export` and `isoflop sample` on a sweep that was trained."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import isoflop

pytestmark = pytest.mark.slow  # a sweep is trained


def runs(folder: Path) -> list[dict[str, object]]:
    """The sweep's runs from its report, best last at each budget."""
    return json.loads(isoflop("plan", "tiny.toml", "--json", folder=folder).stdout)["runs"]


def config(folder: Path) -> dict[str, object]:
    return json.loads((folder / "config.json").read_text())


def test_the_best_run_of_the_largest_budget_is_exported_and_the_card_says_what_it_is(
    swept: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    printed = isoflop("export", "tiny.toml", "--out", str(out), folder=swept).stdout.split()
    assert {Path(line).name for line in printed} == {path.name for path in out.iterdir()}
    run_id = config(out)["isoflop"]["run_id"]
    run = next(run for run in runs(swept) if run["run_id"] == run_id)
    assert run["budget_flops"] == 1.2e9
    card = (out / "README.md").read_text()
    for said in (
        run_id,
        f"{run['n_params_total']:,}",
        f"{run['n_tokens']:,}",
        "32 tokens",
        "files text",
        "byte",
        "nats",
    ):
        assert said in card
    again = json.loads(isoflop("export", "tiny.toml", "--out", str(out), "--json", folder=swept).stdout)
    assert again["run_id"] == run_id and len(again["paths"]) == len(printed)
    smaller = isoflop("export", "tiny.toml", "--budget", "6e8", "--out", str(out), folder=swept, code=1)
    assert "holds the export of another run" in smaller.stderr
    isoflop("export", "tiny.toml", "--budget", "0.6G", "--out", str(tmp_path / "small"), folder=swept)
    assert config(tmp_path / "small")["isoflop"]["run_id"] != run_id


def test_text_alone_is_on_stdout_and_is_the_same_each_time(swept: Path) -> None:
    first = isoflop("sample", "tiny.toml", "--prompt", "line ", "--tokens", "40", folder=swept)
    assert first.stdout.startswith("line ") and first.stdout.endswith("\n") and not first.stderr
    assert len(first.stdout) > 20
    assert first.stdout == isoflop("sample", "tiny.toml", "--prompt", "line ", "--tokens", "40", folder=swept).stdout
    document = json.loads(
        isoflop("sample", "tiny.toml", "--prompt", "line ", "--tokens", "40", "--json", folder=swept).stdout
    )
    assert document["text"] + "\n" == first.stdout
    long = isoflop("sample", "tiny.toml", "--prompt", "x" * 50, "--tokens", "3", folder=swept)
    assert "50 tokens, the model sees 32: it reads the last 16" in long.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run", "zz"], "is not a run id"),
        (["--run", "0000"], "has no run"),
        (["--budget", "7e8"], "No run that a fit uses has the budget 7.00e8"),
        (["--budget", "many"], "is not a usable --budget"),
        (["--confirm"], "has no confirm run"),
        (["--confirm", "--budget", "6e8"], "each name one run"),
    ],
)
def test_a_run_that_is_not_there_is_one_sentence(swept: Path, arguments: list[str], message: str) -> None:
    for command in (["sample"], ["export", "--out", "nowhere"]):
        done = isoflop(command[0], "tiny.toml", *command[1:], *arguments, folder=swept, code=1)
        assert message in done.stderr and "Hint:" in done.stderr
    assert not (swept / "nowhere").exists()


def test_a_prompt_that_is_no_text_is_one_sentence(swept: Path) -> None:
    command = [sys.executable, "-m", "isoflop", "sample", "tiny.toml", "--prompt", os.fsdecode(b"\xff\xfe")]
    done = subprocess.run(command, cwd=swept, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "") and "not UTF-8" in done.stderr


def test_an_export_needs_no_corpus_where_tokens_are_bytes(own: Path) -> None:
    for path in (own / "isoflop-artifacts" / "corpora").rglob("manifest.json"):
        path.unlink()
    isoflop("export", "tiny.toml", "--out", "model", folder=own)
    assert "not on this machine any more" in (own / "model" / "README.md").read_text()


def test_a_run_whose_weights_were_not_kept_says_how_to_have_them(swept: Path) -> None:
    kept = {path.name.split(".")[0] for path in (swept / "isoflop-artifacts").rglob("*.weights.safetensors")}
    gone = next(run["run_id"] for run in runs(swept) if run["run_id"] not in kept)
    done = isoflop("export", "tiny.toml", "--run", gone, "--out", "nowhere", folder=swept, code=1)
    assert f"isoflop run tiny.toml --again {gone}" in done.stderr


def test_a_stdout_without_the_letters_of_a_text_gets_them_spelled_out(swept: Path) -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "isoflop", "sample", "tiny.toml", "--prompt", "\u00e9", "--tokens", "1"],
        cwd=swept,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert printed.returncode == 0 and printed.stdout.startswith(b"\\xe9"), printed.stderr


def test_the_command_on_a_card_stays_in_its_cell_whatever_the_sweep_files_name(own: Path) -> None:
    (own / "tiny.toml").rename(own / "a|b`c.toml")
    isoflop("export", "a|b`c.toml", "--out", "model", folder=own)
    row = next(line for line in (own / "model" / "README.md").read_text().splitlines() if line.startswith("| command"))
    assert row == r"| command | isoflop run 'a\|b\`c.toml' |"
