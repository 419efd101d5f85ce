"""What is left of a sweep that was disturbed, against the same sweep undisturbed."""

import json

from tests.engine.conftest import SWEEP, Sandbox

# Ten runs of about a second each: something to kill.
TEN_RUNS = (
    SWEEP.replace("[6e8, 1.2e9]", "[1.5e9, 3e9]")
    .replace("sizes = 3", "sizes = 5")
    .replace("base_batch_tokens = 256", "base_batch_tokens = 128")
)


def check_whole(sandbox: Sandbox, undisturbed: Sandbox) -> None:
    """Every planned run has one result, to the bit, and nothing half-written is left."""
    planned = {str(run_id) for (run_id,) in sandbox.rows("select run_id from cells where run_id is not null")}
    assert sandbox.rows("select status, count(*) from results group by status") == [("completed", len(planned))]
    assert sandbox.losses() == undisturbed.losses()
    curves = "select run_id, step, n_tokens, loss from curves order by run_id, step"
    assert sandbox.rows(curves) == undisturbed.rows(curves)
    assert not list(sandbox.folder.rglob("*.tmp"))
    assert not list(sandbox.folder.rglob("building-*"))
    for run_id in planned:
        check_directory(sandbox, run_id)


def check_directory(sandbox: Sandbox, run_id: str) -> None:
    """One result file, no state to resume from, and attempts numbered without gaps that agree with the database."""
    folder = sandbox.folder / "isoflop-artifacts" / run_id
    assert [path.name for path in folder.glob("**/result-*")] == [f"result-{run_id}.json"]
    assert not (folder / "checkpoint" / f"{run_id}.safetensors").exists()
    begun = sorted(int(path.name.removeprefix("attempt-")) for path in folder.glob("attempt-*"))
    assert begun == list(range(1, len(begun) + 1))
    [(attempt,)] = sandbox.rows(f"select attempt from results where run_id = '{run_id}'")
    logged = dict(sandbox.rows(f"select attempt, outcome from attempts where run_id = '{run_id}'"))
    assert attempt == begun[-1] and set(logged) <= set(begun)
    assert all(outcome in ("died", "interrupted") for number, outcome in logged.items() if number < attempt)
    assert logged.get(attempt, "done") == "done"  # absent where the coordinator died before it could note it


def check_events(sandbox: Sandbox, run_id: str) -> None:
    """Attempts that began are told in order, and none after the one that the result is of."""
    [(attempt,)] = sandbox.rows(f"select attempt from results where run_id = '{run_id}'")
    lines = (sandbox.folder / "isoflop-artifacts" / run_id / "events.jsonl").read_bytes().splitlines()
    begun = [event["attempt"] for event in map(_parsed, lines) if event.get("event") == "started"]
    assert begun == sorted(set(begun)) and set(begun) <= set(range(1, attempt + 1)), begun


def _parsed(line: bytes) -> dict[str, int | str]:
    """A line of events.jsonl; empty for one that a kill cut short."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
