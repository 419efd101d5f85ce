"""Planning where the text is not: from its stated size, without a trace in any database."""

import json
import random
from pathlib import Path

import pytest

from tests.cli.test_cli_errors import refused
from tests.cli.test_cli_surface import isoflop
from tests.databases import opened

STATED = """
name = "elsewhere"
budgets = [1e10, 3e10, 1e11]
[grid]
sizes = 6
half_width = 0.3
center_n_params = 12e3
[model]
context_length = 64
[corpus]
source = "files"
paths = ["texts", "more.txt"]
heldout_fraction = 0.1
tokens = 50_000_000
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "s.toml").write_text(STATED)
    return tmp_path


def planned(folder: Path) -> dict[str, object]:
    return json.loads(isoflop("plan", "s.toml", "--json", folder=folder).stdout)


def findings(document: dict[str, object], code: str) -> list[dict[str, object]]:
    return [finding for finding in document["findings"] if finding["code"] == code]


def write_text(folder: Path, n_bytes: int) -> None:
    """Texts of about `n_bytes` in all."""
    words = random.Random(0)
    (folder / "texts").mkdir()
    for number in range(50):
        text = "".join(f"{words.random()} of page {number}\n" for _ in range(n_bytes // 50 // 30))
        (folder / "texts" / f"{number}.txt").write_text(text)
    (folder / "more.txt").write_text("one more text\n")


def test_the_plan_rests_on_the_stated_tokens_and_says_so(folder: Path) -> None:
    document = planned(folder)
    [finding] = findings(document, "corpus_absent")
    assert finding["severity"] == "warning"
    assert finding["values"] == {
        "paths": ["texts", "more.txt"],
        "stated_tokens": 50_000_000,
        "n_train_tokens": 45_000_000,
        "n_heldout_tokens": 5_000_000,
        "corpus_fingerprint": "absent",
        "provisional_run_ids": True,
    }
    assert len(document["runs"]) == 18
    for run in document["runs"]:
        assert run["epochs"] == pytest.approx(run["n_tokens"] / 45_000_000)


def test_nothing_is_recorded_and_nothing_is_left_behind(folder: Path) -> None:
    done = isoflop("plan", "s.toml", folder=folder)
    assert "is not on this machine" in " ".join(done.stdout.split())
    assert "is not recorded" in " ".join(done.stdout.split())
    assert {path.name for path in folder.iterdir()} == {"s.toml"}


def test_an_existing_database_keeps_every_byte(folder: Path) -> None:
    simulated = STATED.split("[corpus]", maxsplit=1)[0].replace('"elsewhere"', '"drawn"')
    (folder / "drawn.toml").write_text(simulated.replace("[grid]", 'trainer = "simulated"\n[grid]'))
    isoflop("plan", "drawn.toml", folder=folder)
    before = (folder / "isoflop.db").read_bytes()
    planned(folder)
    assert (folder / "isoflop.db").read_bytes() == before
    with opened(folder / "isoflop.db") as connection:
        assert connection.execute("select name from sweeps").fetchall() == [("drawn",)]


def test_a_smaller_text_drops_what_it_would_repeat_too_often(folder: Path) -> None:
    (folder / "s.toml").write_text(STATED.replace("50_000_000", "100_000"))
    document = planned(folder)
    assert any("epochs" in cell["reason"] for cell in document["dropped"])
    assert len(document["runs"]) + len(document["dropped"]) == 18


def test_run_needs_the_text(folder: Path) -> None:
    assert "corpus.paths lists 'texts', but there is no" in refused(folder, "run", "s.toml")


def test_plan_without_a_stated_size_needs_the_text(folder: Path) -> None:
    (folder / "s.toml").write_text(STATED.replace("tokens = 50_000_000", ""))
    said = refused(folder, "plan", "s.toml")
    assert "corpus.paths lists 'texts'" in said and "corpus.tokens" in said


@pytest.mark.parametrize("present", ["texts", "more.txt"])
def test_a_text_that_is_here_in_part_is_a_mistake_to_be_named(folder: Path, present: str) -> None:
    write_text(folder, 30_000)
    [missing] = {"texts", "more.txt"} - {present}
    (folder / missing).rename(folder / "moved")
    assert f"corpus.paths lists {missing!r}" in refused(folder, "plan", "s.toml")


def test_a_link_that_leads_nowhere_is_a_mistake_to_be_named(folder: Path) -> None:
    (folder / "texts").symlink_to("unmounted")
    assert "corpus.paths lists 'texts'" in refused(folder, "plan", "s.toml")


def test_a_stated_size_too_small_for_a_sequence_is_refused(folder: Path) -> None:
    (folder / "s.toml").write_text(STATED.replace("50_000_000", "600"))
    assert "too few for a sequence of 64" in refused(folder, "plan", "s.toml")


@pytest.mark.parametrize(
    ("share", "differs"),
    [
        pytest.param(2.0, True, id="too many"),
        pytest.param(0.5, True, id="too few"),
        pytest.param(1.08, False, id="close"),
    ],
)
def test_a_stated_size_far_from_the_counted_one_is_a_finding(folder: Path, share: float, differs: bool) -> None:
    write_text(folder, 150_000)
    first = planned(folder)
    [finding] = findings(first, "corpus_tokens_differ")
    counted = finding["values"]["counted_tokens"]
    assert counted == sum(path.stat().st_size + 1 for path in (*folder.glob("texts/*.txt"), folder / "more.txt"))
    (folder / "s.toml").write_text(STATED.replace("50_000_000", str(round(counted * share))))
    document = planned(folder)
    assert not findings(document, "corpus_absent")
    assert len(findings(document, "corpus_tokens_differ")) == differs
    for found in findings(document, "corpus_tokens_differ"):
        assert found["values"] == {"counted_tokens": counted, "stated_tokens": round(counted * share)}
    # What is stated changes no run: the text was counted.
    assert {run["run_id"] for run in document["runs"]} == {run["run_id"] for run in first["runs"]}


def test_run_ids_change_when_the_text_is_there_and_are_recorded_then(folder: Path) -> None:
    (folder / "s.toml").write_text(STATED.replace("50_000_000", "150_000"))
    provisional = {run["run_id"] for run in planned(folder)["runs"]}
    assert provisional == {run["run_id"] for run in planned(folder)["runs"]}
    write_text(folder, 150_000)
    final = {run["run_id"] for run in planned(folder)["runs"]}
    assert len(final) == len(provisional) and not final & provisional
    with opened(folder / "isoflop.db") as connection:
        assert {run_id for (run_id,) in connection.execute("select run_id from runs")} == final
