"""`plan --measure`, caps on device-hours, and plans for GPUs elsewhere, by the real command."""

import json
from pathlib import Path

import pytest

from tests.commands import isoflop, isoflop_process
from tests.databases import opened

SWEEP = """
name = "s"
budgets = [6e8, 1.2e9]
[grid]
sizes = 3
half_width = 0.3
center_n_params = 12e3
[model]
context_length = 32
[corpus]
source = "files"
paths = ["text.txt"]
[recipe]
base_batch_tokens = 256
base_tokens = 1e5
max_epochs = 1000
min_steps = 20
[evaluation]
tokens = 1024
"""
pytestmark = pytest.mark.slow  # real steps are timed
SIMULATED = 'name = "d"\nbudgets = [1e17, 3e17]\ntrainer = "simulated"\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep whose shapes were measured on two workers, and a simulated one."""
    made = tmp_path_factory.mktemp("preflight")
    (made / "s.toml").write_text(SWEEP)
    (made / "d.toml").write_text(SIMULATED)
    (made / "text.txt").write_text("".join(f"line {number} of a text\n" for number in range(20_000)))
    done = isoflop_process("plan", "s.toml", "--measure", "--device", "cpu", "--workers", "2", "--json", folder=made)
    (made / "measured.json").write_text(done.stdout)
    (made / "measured.err").write_text(done.stderr)
    return made


def estimate(folder: Path, *arguments: str) -> dict[str, object]:
    line = ("plan", "s.toml", "--device", "cpu", "--workers", "2", "--json", *arguments)
    return json.loads(isoflop(*line, folder=folder).stdout)["estimate"]


def test_measuring_makes_the_estimate_measured_and_leaves_no_run_behind(folder: Path) -> None:
    document = json.loads((folder / "measured.json").read_text())
    left = document["estimate"]
    assert left["measured"]
    assert left["rests_on"] == {"finished": 0, "measured": 6, "interpolated": 0, "guessed": 0}
    assert left["not_measured"] == []
    assert [budget["n_runs"] for budget in left["by_budget"]] == [3, 3]
    assert sum(budget["device_hours"] for budget in left["by_budget"]) == pytest.approx(left["device_hours"])
    seconds = sum(run["seconds"] for run in document["runs"])
    assert 0 < seconds < 3600 * left["device_hours"]  # the rest lies beside training
    assert max(run["seconds"] for run in document["runs"]) < left["seconds"] < 3600 * left["device_hours"]
    left_there = {path.name for path in (folder / "isoflop-artifacts").iterdir()}
    assert left_there == {"corpora", "measuring"}
    assert [path.name for path in (folder / "isoflop-artifacts" / "measuring").iterdir()] == [".lock"]


def test_what_was_measured_is_recorded_and_serves_later_plans(folder: Path) -> None:
    with opened(folder / "isoflop.db") as db:
        rows = db.execute("select device_kind, n_at_once, n_steps, seconds_per_step, memory_bytes from measurements")
        found = rows.fetchall()
    assert len(found) == 6
    assert all(kind == "cpu" and n_at_once == 2 and n_steps >= 20 for kind, n_at_once, n_steps, *_ in found)
    assert all(0 < seconds < 10 and 0 < memory < 1e10 for *_, seconds, memory in found)
    assert estimate(folder) == json.loads((folder / "measured.json").read_text())["estimate"]


def test_the_command_says_what_it_measures(folder: Path) -> None:
    first, last = (folder / "measured.err").read_text().splitlines()
    assert first.startswith("Measuring 6 shapes on 2 x ")
    assert last.startswith("Measured 6 of 6 shapes in ")


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_plan_that_costs_more_than_the_cap_is_refused_with_the_budgets_that_fit(folder: Path, command: str) -> None:
    budgets = estimate(folder)["by_budget"]
    cheapest, dearest = sorted(budgets, key=lambda budget: budget["device_hours"])
    cap = cheapest["device_hours"] + dearest["device_hours"] / 2
    line = ("s.toml", "--device", "cpu", "--workers", "2", "--max-hours", str(cap))
    said = isoflop(command, *line, folder=folder, code=1).stderr
    assert "The 6 pending runs cost" in said and "device-hours (measured), more than --max-hours" in said
    flops = {6e8: "6.00e8", 1.2e9: "1.20e9"}
    assert f"Budgets that fit together, cheapest first, in device-hours: {flops[cheapest['budget_flops']]} (" in said
    assert flops[dearest["budget_flops"]] not in said.partition("Hint:")[2]
    assert not (folder / "isoflop-artifacts" / "peaks").exists()  # nothing was trained


def test_where_not_even_the_cheapest_budget_fits_that_is_said_and_nothing_is_recorded(folder: Path) -> None:
    line = ("plan", "s.toml", "--device", "cpu", "--max-hours", "1e-9", "--db", "new.db")
    done = isoflop(*line, folder=folder, code=1)
    assert "(guessed), more than --max-hours 1e-09" in done.stderr
    assert "No budget fits: the cheapest, " in done.stderr
    assert "6 runs at 2 budgets" in done.stdout  # what there is to decide about
    with opened(folder / "new.db") as db:
        assert db.execute("select count(*) from sweeps").fetchone() == (0,)


def test_a_plan_that_fits_its_cap_is_planned(folder: Path) -> None:
    assert estimate(folder, "--max-hours", "1")["n_pending"] == 6


def test_a_price_makes_money_of_device_hours(folder: Path) -> None:
    left = estimate(folder, "--price", "2.5")
    assert left["price"] == pytest.approx(2.5 * left["device_hours"])
    assert (left["price_per_device_hour"], left["price_source"]) == (2.5, "--price")


def test_a_plan_for_gpus_elsewhere_is_guessed_priced_and_not_recorded(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(SWEEP.replace("[6e8, 1.2e9]", "[6e12, 1.2e13]").replace("12e3", "3e6"))
    (tmp_path / "text.txt").write_text("".join(f"line {number} of a text\n" for number in range(20_000)))
    done = isoflop("plan", "s.toml", "--on", "h100:8", "--json", folder=tmp_path)
    left = json.loads(done.stdout)["estimate"]
    assert left["devices"] == ["NVIDIA H100 80GB HBM3"] * 8
    assert not left["measured"]
    assert (left["price_source"], left["price_per_device_hour"]) == ("typical rental price, US dollars", 2.5)
    assert "A plan for other devices: nothing was written." in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"s.toml", "text.txt"}
    own = json.loads(isoflop("plan", "s.toml", "--on", "h100:8", "--price", "1", "--json", folder=tmp_path).stdout)
    assert own["estimate"]["price"] == pytest.approx(left["device_hours"])
    slower = json.loads(isoflop("plan", "s.toml", "--on", "rtx-4090:8", "--json", folder=tmp_path).stdout)
    assert slower["estimate"]["seconds"] > left["seconds"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("s.toml --on h10:8", "'h10:8' names no type of GPU"),
        ("s.toml --on h100 --measure", "--on plans for devices that are not here"),
        ("s.toml --on h100 --workers 2", "--on names the devices"),
        ("s.toml --on h100 --device cuda", "--on names the devices"),
        ("s.toml --measure --measure-seconds 0", "--measure-seconds 0 is no time"),
        ("s.toml --measure --measure-seconds nan", "--measure-seconds nan is no time"),
        ("s.toml --measure-seconds 3", "--measure-seconds has no effect without --measure"),
        ("s.toml --measure --dry-run", "--dry-run nothing"),
        ("d.toml --measure", "A simulated sweep trains nothing"),
        ("s.toml --max-hours 0", "--max-hours 0 is no number of device-hours"),
        ("s.toml --max-hours -1", "--max-hours -1 is no number of device-hours"),
        ("s.toml --max-hours inf", "--max-hours inf is no number of device-hours"),
        ("s.toml --price -1", "The price of a device-hour is -1"),
    ],
)
def test_options_that_mean_nothing_are_refused_in_a_sentence(folder: Path, line: str, said: str) -> None:
    assert said in isoflop("plan", *line.split(), folder=folder, code=1).stderr


def test_gpus_that_are_fewer_than_a_run_wants_are_refused(folder: Path) -> None:
    text = (folder / "s.toml").read_text() + "[run]\ndevices_per_run = 4\n"
    (folder / "four.toml").write_text(text.replace('name = "s"', 'name = "four"'))
    assert "--on h100:4" in isoflop("plan", "four.toml", "--on", "h100:2", folder=folder, code=1).stderr
    left = json.loads(isoflop("plan", "four.toml", "--on", "h100:9", "--json", folder=folder).stdout)["estimate"]
    assert left["devices"] == ["NVIDIA H100 80GB HBM3 (4 together)"] * 2
