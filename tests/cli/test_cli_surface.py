"""What scripts rely on: commands, options, JSON keys. A change here is a change of the contract."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import typer
from rich.text import Text

from isoflop import __version__
from isoflop.cli import app
from tests.commands import isoflop, isoflop_here, isoflop_process

DATA = Path(__file__).parent.parent / "data"

SIMULATED = """
name = "drawn"
budgets = [1e17, 3e17, 1e18]
trainer = "simulated"
[grid]
center_tokens_per_param = 20
"""

FIT = {
    "--window", "--surface-loss", "--suggest", "--max-hours", "--params", "--flops", "--law", "--peak", "--utilisation",
    "--price",
    "--devices", "--corpus-tokens", "--inference-tokens", "--budget-tolerance", "--budgets",
    "--where", "--group", "--loss-unit", "--loss", "--metric", "--higher-is-better", "--no-unit-check",
}  # fmt: skip
SURFACE = {
    "plan": {
        "sweep",
        "--db",
        "--artifacts",
        "--device",
        "--workers",
        "--dry-run",
        "--json",
        "--extend",
        "--target",
        "--measure",
        "--measure-seconds",
        "--max-hours",
        "--on",
        "--price",
        "--drop-suggested",
        "--replan",
        "--engine",
        "--engine-option",
    },
    "run": {
        "sweep",
        "--db",
        "--artifacts",
        "--device",
        "--workers",
        "--retry",
        "--devices",
        "--per-device",
        "--share-devices",
        "--engine",
        "--engine-option",
        "--replan",
        "--confirm",
        "--neighbours",
        "--again",
        "--max-hours",
        "--events",
        "--until-goal",
        "--json",
    },
    "status": {"sweep", "--db", "--artifacts", "--watch", "--every", "--json"},
    "fit": {"sources", "--db", "--sweep", "--column", "--target", "--level", "--strict", "--json", "--compare", *FIT},
    "report": {"sources", "--out", "--db", "--sweep", "--column", "--target", "--level", "--bootstrap", "--json", *FIT},
    "evaluate": {
        "sweep",
        "--run",
        "--budget",
        "--confirm",
        "--all",
        "--text",
        "--probes",
        "--device",
        "--db",
        "--artifacts",
        "--json",
    },
    "export": {
        "sweep", "--out", "--run", "--budget", "--confirm", "--dtype", "--gguf", "--db", "--artifacts", "--json",
    },
    "sample": {
        "sweep", "--prompt", "--run", "--budget", "--confirm", "--tokens", "--temperature", "--seed", "--db",
        "--artifacts", "--json",
    },
    "exclude": {"runs", "--reason", "--db", "--json"},
    "include": {"runs", "--db", "--json"},
    "clean": {"--db", "--artifacts", "--yes", "--json"},
}  # fmt: skip


@pytest.fixture(scope="module")
def drawn(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a simulated sweep was planned and run."""
    return shutil.copytree(simulated, tmp_path_factory.mktemp("drawn"), dirs_exist_ok=True)


def test_the_commands_and_their_options_are_frozen() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    surface = {
        name: {max(p.opts, key=len) for p in command.params if p.name != "help"} for name, command in commands.items()
    }
    assert surface == SURFACE


def test_no_name_in_brackets_is_lost_from_a_help_text() -> None:
    commands = typer.main.get_command(app).commands.values()  # type: ignore[attr-defined]
    for said in (text for command in commands for text in (command.help, *(p.help for p in command.params))):
        assert Text.from_markup(said or "").plain == (said or "").replace("\\[", "[")


def test_defaults_and_environment_variables_are_as_documented(tmp_path: Path) -> None:
    shown = isoflop("plan", "--help", folder=tmp_path).stdout
    for words in ("ISOFLOP_DB", "ISOFLOP_ARTIFACTS", "isoflop.db", "isoflop-artifacts"):
        assert words in shown


def test_json_of_plan(drawn: Path) -> None:
    document = json.loads(isoflop("plan", "drawn.toml", "--json", folder=drawn).stdout)
    assert set(document) == {
        "schema_version", "sweep", "simulated", "corpus", "budgets", "runs", "dropped", "total_flops", "estimate",
        "changes", "suggested", "dropped_suggestions", "findings",
    }  # fmt: skip
    assert document["schema_version"] == 1
    assert set(document["runs"][0]) == {
        "run_id", "role", "budget_flops", "shape", "n_params_total", "n_params_non_embedding", "n_params_matmul",
        "n_tokens", "steps", "batch_tokens", "optimizer", "learning_rate", "flops_per_token", "planned_flops",
        "tokens_per_param", "epochs", "seed", "excluded", "seconds",
    }  # fmt: skip
    assert set(document["estimate"]) == {
        "seconds", "measured", "devices", "disk_bytes", "n_done", "n_pending", "device_hours", "price",
        "price_per_device_hour", "price_source", "by_budget", "rests_on", "not_measured",
    }  # fmt: skip
    assert document["corpus"] is None  # no text is read for a simulated sweep
    assert document["budgets"] == [1e17, 3e17, 1e18]
    assert len(document["runs"]) == 21


def test_json_of_a_dropped_cell(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(SIMULATED + "[recipe]\nmin_steps = 300000\n")
    document = json.loads(isoflop("plan", "s.toml", "--json", folder=tmp_path).stdout)
    assert document["dropped"] and document["runs"]
    assert set(document["dropped"][0]) == {"budget_flops", "shape", "reason"}
    assert set(document["findings"][0]) == {"code", "severity", "message", "hint", "values"}


def test_json_of_run(drawn: Path) -> None:
    document = json.loads(isoflop_here("run", "drawn.toml", "--json", folder=drawn).stdout)
    assert document == {
        "schema_version": 1,
        "sweep": "drawn",
        "simulated": True,
        "runs": {"completed": 21, "diverged": 0, "failed": 0, "pending": 0},
        "excluded": {},
        "incomplete": [],
        "seconds": document["seconds"],
        "flops_spent": 0.0,
        "results_read": 0,
        "busy_share": None,
        "confirmations": [],
        "goal": None,
    }


def test_a_new_database_is_filled_from_the_results_in_the_run_directories(drawn: Path) -> None:
    first = isoflop_here("run", "drawn.toml", "--db", "new.db", folder=drawn)
    assert "21 results read from the artifacts" in first.stdout
    said = [line for line in first.stderr.splitlines() if line.startswith(("drawn", "["))]
    assert said == [
        "drawn: 21 results read from the artifacts; none of them is trained again.",
        "drawn  21/21 runs: nothing left to train",
    ]
    document = json.loads(isoflop_here("run", "drawn.toml", "--db", "newer.db", "--json", folder=drawn).stdout)
    assert document["runs"]["completed"] == document["results_read"] == 21
    fits = [isoflop("fit", name, "--json", folder=drawn).stdout for name in ("isoflop.db", "newer.db")]
    assert len({fit.replace("newer.db", "isoflop.db") for fit in fits}) == 1
    assert "read from the artifacts" not in isoflop_here("run", "drawn.toml", "--db", "new.db", folder=drawn).stdout


def test_a_run_without_a_result_on_disk_is_the_only_one_announced(drawn: Path) -> None:
    min((drawn / "isoflop-artifacts").glob("*/result-*.json")).unlink()
    said = isoflop("run", "drawn.toml", "--db", "newest.db", folder=drawn).stderr.splitlines()
    assert [line.split()[:2] for line in said if line.startswith("drawn ")] == [["drawn", "20/21"]]
    [announced] = [line for line in said if line.startswith("[")]
    assert announced.startswith("[21/21] ")
    assert said.index(announced) > said.index(
        "drawn: 20 results read from the artifacts; none of them is trained again."
    )


def test_json_of_fit(drawn: Path) -> None:
    shown = isoflop("fit", "drawn.toml", "--target", "1e20", "--target", "2e19", "--json", folder=drawn).stdout
    document = json.loads(shown)
    assert set(document) == {
        "schema_version", "sweep", "source", "sources", "simulated", "param_count", "flop_count", "level", "profiles",
        "frontier",
        "estimators", "targets", "scorecard", "credible_decades", "loss_credible_decades", "suggested", "conventions",
        "decisions", "laws", "n_budgets", "bootstrap", "confirmations", "findings", "metric", "measures", "run_metrics",
        "rounds",
    }  # fmt: skip
    assert document["sources"] == [
        {
            "label": "drawn",
            "path": "isoflop.db",
            "kind": "sweep",
            "n_rows": 21,
            "param_count": "total",
            "columns": None,
            "loss": "loss",
            "loss_unit": "nats per token",
        }
    ]
    assert set(document["profiles"][0]) == {
        "budget_flops", "n_points", "vertex", "n_opt", "n_opt_ci", "d_opt", "d_opt_ci", "loss_opt", "curvature", "rmse",
    }  # fmt: skip
    assert set(document["frontier"]) == {
        "exponent_a", "exponent_a_ci", "exponent_b", "exponent_b_ci", "coef_n", "coef_d", "n_profiles",
    }  # fmt: skip
    assert set(document["targets"][0]) == {
        "budget_flops", "n_opt", "n_opt_ci_statistical", "n_opt_ci", "d_opt", "d_opt_ci", "loss", "loss_ci",
        "tokens_per_param", "estimator", "extrapolation_decades", "n_opt_model_error", "loss_ci_statistical",
        "loss_model_error", "credible", "bands", "n_opt_shrunk", "d_opt_shrunk", "loss_credible",
    }  # fmt: skip
    assert [target["budget_flops"] for target in document["targets"]] == [1e20, 2e19]
    assert document["simulated"] is True
    assert document["param_count"] == "total"
    assert document["level"] == 0.9


@pytest.mark.slow
def test_conventions_are_the_same_runs_counted_otherwise(drawn: Path) -> None:
    document = json.loads(isoflop("fit", "drawn.toml", "--json", folder=drawn).stdout)
    by_pair = {(entry["params"], entry["flops"]): entry for entry in document["conventions"]}
    assert len(by_pair) == 9
    assert by_pair["total", "exact"]["exponent_a"] == document["frontier"]["exponent_a"]
    for params, flops in (("non_embedding", "6nd"), ("matmul", "no-attention")):
        refit = json.loads(
            isoflop("fit", "drawn.toml", "--params", params, "--flops", flops, "--json", folder=drawn).stdout
        )
        assert refit["param_count"] == params
        assert refit["frontier"]["exponent_a"] == by_pair[params, flops]["exponent_a"]
        assert refit["frontier"]["exponent_a"] != document["frontier"]["exponent_a"]


@pytest.mark.parametrize("option", [("--params", "total"), ("--flops", "6nd")], ids=lambda option: option[0])
def test_a_table_has_no_shapes_to_count_otherwise(tmp_path: Path, option: tuple[str, str]) -> None:
    done = isoflop("fit", str(DATA / "llama3.csv"), *option, folder=tmp_path, code=1)
    assert done.stderr.startswith("Error: --params and --flops count the models of sweeps again, and of a model in a")


def test_a_comparison_is_the_difference_of_the_fits(tmp_path: Path) -> None:
    files = [str(DATA / "llama3.csv"), str(DATA / "chinchilla_isoflop.csv")]
    document = json.loads(isoflop("fit", *files, "--compare", "--target", "1e22", "--json", folder=tmp_path).stdout)
    llama, chinchilla = (fit["estimators"]["recommended"] for fit in document["fits"])
    (difference,) = document["comparisons"]
    assert (difference["source"], difference["baseline"]) == ("chinchilla_isoflop.csv", "llama3.csv")
    assert difference["exponent_a"] == pytest.approx(chinchilla["exponent_a"] - llama["exponent_a"])
    low, high = difference["exponent_a_ci"]
    assert low < difference["exponent_a"] < high
    (ratio,) = difference["ratios"]
    targets = [fit["targets"][0]["n_opt"] for fit in document["fits"]]
    assert ratio["n_opt_ratio"] == pytest.approx(targets[1] / targets[0])
    wide, narrow = ratio["n_opt_ratio_ci"], ratio["n_opt_ratio_ci_statistical"]
    assert wide[0] < narrow[0] < ratio["n_opt_ratio"] < narrow[1] < wide[1]
    assert "Against llama3.csv" in isoflop("fit", *files, "--compare", folder=tmp_path).stdout


def test_strict_judges_every_source_of_a_comparison(tmp_path: Path) -> None:
    files = str(DATA / "llama3.csv"), str(DATA / "epoch240.csv")
    shown = isoflop("fit", *files, "--compare", "--strict", folder=tmp_path, code=4).stdout
    assert "epoch240.csv: no_profiles" in shown


def test_what_a_comparison_does_not_show_is_refused(tmp_path: Path) -> None:
    files = str(DATA / "llama3.csv"), str(DATA / "chinchilla_isoflop.csv")
    done = isoflop("fit", *files, "--compare", "--law", "all", folder=tmp_path, code=1)
    assert done.stderr.startswith("Error: --compare cannot be combined with --law.")


def test_a_number_that_nobody_trains_with_is_refused(tmp_path: Path) -> None:
    for options in (["--target", "1e300"], ["--target", "1e20", "--peak", "1e-300"], ["--corpus-tokens", "1e-9"]):
        done = isoflop("fit", str(DATA / "llama3.csv"), *options, folder=tmp_path, code=1)
        assert "outside the range that makes sense here" in done.stderr


def test_questions_without_a_target_are_answered_at_ten_times_the_largest_budget(tmp_path: Path) -> None:
    shown = isoflop("fit", str(DATA / "llama3.csv"), "--peak", "989e12", "--json", folder=tmp_path).stdout
    (decision,) = json.loads(shown)["decisions"]
    assert decision["cost"]["device_hours"] > 0


def test_one_source_cannot_be_compared(tmp_path: Path) -> None:
    done = isoflop("fit", str(DATA / "llama3.csv"), "--compare", folder=tmp_path, code=1)
    assert done.stderr.startswith("Error: --compare needs two sources or more.")


def test_published_laws_stand_beside_a_fit(tmp_path: Path) -> None:
    file = str(DATA / "chinchilla_scalefit.csv")
    document = json.loads(
        isoflop("fit", file, "--law", "epoch", "--target", "5.76e23", "--json", folder=tmp_path).stdout
    )
    (law,) = document["laws"]
    assert law["exponent_a"] == pytest.approx(0.5126, abs=1e-3)
    assert law["n_opt_ratio"] == pytest.approx(document["targets"][0]["n_opt"] / law["n_opt"])
    done = isoflop("fit", file, "--law", "chinchila-2", folder=tmp_path, code=1)
    assert "Did you mean chinchilla-2?" in done.stderr


def test_a_target_comes_with_a_decision(tmp_path: Path) -> None:
    arguments = ("--target", "1e22", "--peak", "989e12", "--price", "2", "--devices", "8", "--corpus-tokens", "5e10")
    file = str(DATA / "chinchilla_scalefit.csv")
    document = json.loads(
        isoflop("fit", file, *arguments, "--inference-tokens", "1e12", "--json", folder=tmp_path).stdout
    )
    (decision,) = document["decisions"]
    assert decision["cost"]["device_hours"] == pytest.approx(1e22 / (989e12 * 0.4) / 3600)
    assert [built["n_params"] for built in decision["buildable"]] == pytest.approx([decision["n_opt"]] * 2, rel=0.1)
    assert decision["inference"]["n_params"] < decision["n_opt"]
    assert decision["repeats"]["epochs"] > 1
    assert isoflop("fit", file, "--peak", "1e15", "--utilisation", "4", folder=tmp_path, code=1).stderr.startswith(
        "Error: The utilisation is 4."
    )
    assert "without --peak" in isoflop("fit", file, "--price", "2", folder=tmp_path, code=1).stderr
    assert (
        "price of a device-hour"
        in isoflop("fit", file, "--peak", "1e15", "--price", "-1", folder=tmp_path, code=1).stderr
    )


@pytest.mark.parametrize("window", ["0", "-1", "nan", "20"])
def test_a_window_is_a_distance(tmp_path: Path, window: str) -> None:
    done = isoflop("fit", str(DATA / "llama3.csv"), "--window", window, folder=tmp_path, code=1)
    assert done.stderr.startswith(f"Error: --window {window}")


@pytest.mark.slow
def test_json_of_report(drawn: Path) -> None:
    document = json.loads(isoflop("report", "drawn.toml", "--out", "r", "--json", folder=drawn).stdout)
    names = {Path(path).name for path in document["paths"]}
    assert names == {"index.html", "report.md", "report.json", "frontier.csv", "figure.svg", "figure.png"}
    assert all((drawn / path).stat().st_size > 0 for path in document["paths"])
    assert document["simulated"] is True


@pytest.mark.parametrize(
    "arguments", [("plan", "drawn.toml"), ("run", "drawn.toml"), ("fit", "drawn.toml")], ids=lambda a: a[0]
)
def test_every_text_about_a_simulated_sweep_says_so(drawn: Path, arguments: tuple[str, ...]) -> None:
    assert "SIMULATED" in isoflop(*arguments, folder=drawn).stdout


def test_a_simulated_sweep_recovers_the_surface_it_was_drawn_from(drawn: Path) -> None:
    """End to end against a known truth: a = beta / (alpha + beta) up to the parabola's bias and C not being 6ND."""
    document = json.loads(isoflop("fit", "drawn.toml", "--json", folder=drawn).stdout)
    assert [profile["vertex"] for profile in document["profiles"]] == ["inside"] * 3
    low, high = document["frontier"]["exponent_a_ci"]
    assert low - 0.1 < 0.5139 < high + 0.1


def test_json_goes_to_stdout_alone(drawn: Path) -> None:
    done = isoflop_here("run", "drawn.toml", "--json", folder=drawn)
    json.loads(done.stdout)
    assert "SIMULATED" in done.stderr


@pytest.mark.parametrize(
    ("file", "key", "value", "tolerance"),
    [("llama3.csv", "exponent_b", 0.537, 0.003), ("chinchilla_isoflop.csv", "exponent_a", 0.49, 0.01)],
    ids=["llama3", "chinchilla"],
)
def test_published_exponents_come_out_of_the_command(
    tmp_path: Path, file: str, key: str, value: float, tolerance: float
) -> None:
    document = json.loads(isoflop("fit", str(DATA / file), "--json", folder=tmp_path).stdout)
    assert document["frontier"][key] == pytest.approx(value, abs=tolerance)
    assert document["param_count"] == "as_given"
    assert document["simulated"] is False


def test_ungrouped_rows_exit_0_with_a_finding_and_4_when_strict(tmp_path: Path) -> None:
    document = json.loads(isoflop("fit", str(DATA / "epoch240.csv"), "--json", folder=tmp_path).stdout)
    assert document["frontier"] is None
    assert {profile["vertex"] for profile in document["profiles"]} == {"too_few"}
    assert len(document["profiles"]) <= 50
    assert "no_profiles" in {finding["code"] for finding in document["findings"]}
    isoflop("fit", str(DATA / "epoch240.csv"), "--strict", folder=tmp_path, code=4)


def test_python_dash_m_and_version(tmp_path: Path) -> None:
    assert isoflop_process("--version", folder=tmp_path).stdout == f"isoflop {__version__}\n"


def test_planning_twice_changes_nothing_and_a_fit_leaves_the_database_alone(drawn: Path) -> None:
    def digest() -> str:
        return hashlib.sha256((drawn / "isoflop.db").read_bytes()).hexdigest()

    first = isoflop("plan", "drawn.toml", "--json", folder=drawn).stdout
    second = isoflop("plan", "drawn.toml", "--json", folder=drawn).stdout
    assert first == second
    before = digest()
    isoflop("fit", "drawn.toml", folder=drawn)
    assert digest() == before
