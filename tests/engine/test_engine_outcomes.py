"""Runs that do not end well are told apart, recorded with their reason, and never become numbers."""

import json

from tests.engine.conftest import SWEEP, Sandbox

ONE_BUDGET = SWEEP.replace("[6e8, 1.2e9]", "[6e8]")
WILD = ONE_BUDGET.replace("[recipe]", "[recipe]\nlearning_rate = 1e38\ngrad_clip = 1e38")


def test_a_diverged_run_is_a_status_with_a_reason_and_no_loss(sandbox: Sandbox) -> None:
    (sandbox.folder / "tiny.toml").write_text(WILD)
    out, err = sandbox.run("run", "tiny.toml", "--json", code=3)
    document = json.loads(out)
    assert document["runs"] == {"completed": 0, "diverged": 3, "failed": 0, "pending": 0}
    assert all(run["status"] == "diverged" and "step" in run["reason"] for run in document["incomplete"])
    rows = sandbox.rows("select status, val_loss, n_steps from results")
    assert all(status == "diverged" and loss is None and steps >= 0 for status, loss, steps in rows)
    assert err.count("diverged") >= 3
    _, said = sandbox.run("fit", "tiny.toml", code=1)
    assert "3 diverged" in said
    sandbox.run("run", "tiny.toml", code=3)
    assert sandbox.rows("select count(*) from attempts") == [(3,)]  # nothing was repeated unasked


def test_a_worker_that_raises_is_failed_with_its_log_and_the_others_complete(sandbox: Sandbox) -> None:
    (sandbox.folder / "tiny.toml").write_text(ONE_BUDGET)
    sandbox.run("plan", "tiny.toml")
    [(victim,)] = sandbox.rows("select run_id from cells order by id limit 1")
    run_dir = sandbox.folder / "isoflop-artifacts" / str(victim)
    run_dir.mkdir()
    (run_dir / "checkpoint").write_text("a file where a folder should be")
    out, _ = sandbox.run("run", "tiny.toml", "--json", code=3)
    document = json.loads(out)
    assert document["runs"] == {"completed": 2, "diverged": 0, "failed": 1, "pending": 0}
    [failed] = document["incomplete"]
    assert failed["run_id"] == victim
    log = (sandbox.folder / failed["log_path"]).read_text()
    assert "Traceback" in log and failed["reason"].split(":")[0] in log

    out, _ = sandbox.run("fit", "tiny.toml", "--json")
    assert "runs_failed" in {finding["code"] for finding in json.loads(out)["findings"]}

    (run_dir / "checkpoint").unlink()
    out, _ = sandbox.run("run", "tiny.toml", "--retry", "--json")
    assert json.loads(out)["runs"]["completed"] == 3
    outcomes = sandbox.rows(f"select outcome from attempts where run_id = '{victim}' order by attempt")
    assert len(outcomes) == 2


def test_results_whose_record_was_lost_are_taken_from_disk(undisturbed: Sandbox, sandbox: Sandbox) -> None:
    sandbox.run("run", "tiny.toml", "--workers", "2")
    losses = sandbox.losses()
    for file in sandbox.folder.glob("isoflop.db*"):
        file.unlink()
    out, _ = sandbox.run("run", "tiny.toml", "--json")
    document = json.loads(out)
    assert document["runs"]["completed"] == 6 and document["flops_spent"] == 0
    assert sandbox.losses() == losses == undisturbed.losses()


def test_two_sweeps_that_ask_for_the_same_runs_train_them_once(sandbox: Sandbox) -> None:
    sandbox.run("run", "tiny.toml", "--workers", "2")
    (sandbox.folder / "twin.toml").write_text(SWEEP.replace('"tiny"', '"twin"'))
    out, _ = sandbox.run("run", "twin.toml", "--json")
    document = json.loads(out)
    assert document["runs"]["completed"] == 6 and document["flops_spent"] == 0
    assert sandbox.rows("select count(*) from attempts") == [(6,)]
