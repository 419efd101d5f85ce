"""Sweeps for clusters: four runs of a program that waits where it is told to, and writes down what it does.

Its loss follows a chaotic map: a step that is left out, or done twice, shows in every bit.
"""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from isoflop.rundir import RunDir
from tests.config_changes import as_toml
from tests.engine.conftest import Sandbox, in_time

N_STEPS, HELD_AT = 24, 8
SIZES = (1000, 1700, 2900, 4900)
BUDGET = 6e9
WAIT_SECONDS = 100.0
_PROGRAM = f"""
import json, os, signal, socket, sys, time
run_id, n_tokens, per_token, out, folder, attempt = sys.argv[1:]
told, state = [], folder + "/state.json"
signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))

def write(path, content):
    with open(path + ".part", "w") as file:
        json.dump(content, file)
    os.replace(path + ".part", path)

def note(word):
    with open("diary", "a") as diary:
        diary.write(" ".join([word, run_id, attempt, str(step), socket.gethostname()]) + "\\n")

step, x = 0, 0.1 + 1e-9 * int(n_tokens) % 0.8
if os.path.exists(state):
    with open(state) as file:
        step, x = json.load(file)
note("begun")
while step < {N_STEPS}:
    while step == {HELD_AT} and (os.path.exists("hold") or os.path.exists("hold." + attempt)) and not told:
        time.sleep(0.05)
    time.sleep(float(os.environ.get("PACE", "0.01")))
    if told:
        sys.exit(75)
    step, x = step + 1, 3.9 * x * (1.0 - x)
    write(state, [step, x])
note("finished")
write(out, {{"run_id": run_id, "status": "completed", "n_tokens": int(n_tokens), "n_steps": step,
            "achieved_flops": int(n_tokens) * int(per_token), "val_loss": 2.0 + x}})
"""


@dataclass(frozen=True)
class Damage:
    """What a fault has cost.

    Attributes:
        attempts: workers that began a run.
        lost: planned runs without a result.
        doubled: runs that were trained to the end more often than once, by attempts that count.
    """

    runs: int
    attempts: int
    lost: int
    doubled: int


class ClusterSweep:
    """A sweep in a folder of its own, named like that, and the command that trains it on a cluster.

    Args:
        options: of the command, before those of a test.
    """

    def __init__(self, folder: Path, name: str, *options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.name, self.options = folder, name, options
        self.sandbox = Sandbox(folder)

    def write_program(self) -> "ClusterSweep":
        """Have the program's sweep lie there; itself."""
        (self.folder / "program.py").write_text(_PROGRAM)
        values = ("{run_id}", "{n_tokens}", "{flops_per_token}", "{result_path}", "{checkpoint_dir}", "{attempt}")
        content = {
            "name": self.name,
            "budgets": [BUDGET],
            "trainer": "command",
            "grid": {"lattice": list(SIZES)},
            "command": {"argv": [sys.executable, "-S", "-E", "program.py", *values]},
        }
        ladder = "".join(f"[[ladder]]\nn_params = {size}\nflops_per_token = {6 * size}\n" for size in SIZES)
        (self.folder / "sweep.toml").write_text(as_toml(content) + ladder)
        return self

    def start(self, *options: str) -> "subprocess.Popen[str]":
        """`isoflop run` on the cluster, running."""
        words = ["--device", "cpu", "--events", "told.jsonl", *self.options, *options]
        return self.sandbox.start("run", "sweep.toml", *words)

    def told(self, event: str) -> list[dict[str, object]]:
        """What the command has told of such an event, in all its lives."""
        path = self.folder / "told.jsonl"
        lines = map(json.loads, path.read_text().splitlines() if path.exists() else ())
        return [line for line in lines if line["event"] == event]

    def hold(self, *attempts: int) -> None:
        """Have runs wait in their midst; only in attempts of these numbers where some are given."""
        for path in self._holds(attempts):
            path.touch()

    def release(self, *attempts: int) -> None:
        """Have them go on."""
        for path in self._holds(attempts):
            path.unlink()

    def _holds(self, attempts: Sequence[int]) -> list[Path]:
        return [self.folder / f"hold.{attempt}" for attempt in attempts] or [self.folder / "hold"]

    def diary(self) -> list[tuple[str, str, int, int, str]]:
        """What programs noted: "begun" or "finished", run, attempt, step, host."""
        path = self.folder / "diary"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(word, run, int(k), int(step), host) for word, run, k, step, host in map(str.split, lines)]

    def held(self) -> dict[str, str]:
        """The runs that wait in their midst, and their hosts."""
        ended = {entry[1:3] for entry in self.diary() if entry[0] == "finished"}
        begun = {entry[1]: entry for entry in self.diary() if entry[0] == "begun"}
        return {run: entry[4] for run, entry in begun.items() if entry[1:3] not in ended and self._step(run) == HELD_AT}

    def _step(self, run: str) -> int:
        for state in self.folder.glob(f"isoflop-artifacts/{run}/checkpoint/*/state.json"):
            return int(json.loads(state.read_bytes())[0])
        return 0

    def wait_for(self, condition: Callable[[], object], seconds: float = WAIT_SECONDS) -> None:
        """Wait until it holds.

        Raises:
            AssertionError: it does not in time; with what pilots printed.
        """
        begun = time.monotonic()
        while not condition():
            assert in_time(begun, seconds), f"it did not happen within {seconds:.0f} s\n{self.logs()}"
            time.sleep(0.05)

    def wait_until_held(self, number: int = 2) -> None:
        """Wait until so many runs wait in their midst."""
        self.wait_for(lambda: len(self.held()) >= number)

    def logs(self) -> str:
        """The diary, and the end of what pilots printed."""
        logs = sorted(self.folder.glob("isoflop-artifacts/pilots/*/*/*"))
        texts = [f"{log.relative_to(self.folder)}: {log.read_text()[-600:]}" for log in logs if log.is_file()]
        return "\n".join([*map(str, self.diary()), *texts])

    def finish(self, process: "subprocess.Popen[str]", code: int = 0, seconds: float = WAIT_SECONDS) -> str:
        """stderr of the command, which must end with `code`."""
        out, err = process.communicate(timeout=seconds)
        assert process.returncode == code, f"exit {process.returncode}\n{out}\n{err}\n{self.logs()}"
        return err

    def expected_losses(self) -> dict[str, str]:
        """The exact loss of every planned run, worked out here."""
        planned = self.sandbox.rows("select run_id, n_tokens from runs")
        return {str(run): (2.0 + _mapped(int(str(n_tokens)))).hex() for run, n_tokens in planned}

    def damage(self) -> Damage:
        """What is missing, and what was done twice; every attempt is told of."""
        planned = [str(run) for (run,) in self.sandbox.rows("select run_id from cells where run_id is not null")]
        results = Counter(str(run) for (run,) in self.sandbox.rows("select run_id from results"))
        ends = self._ends()
        attempts = sum(1 for run in planned for _ in self._run_dir(run).path.glob("attempt-*"))
        doubled = [run for run in planned if ends[run] > 1 or results[run] > 1]
        return Damage(len(planned), attempts, sum(not results[run] for run in planned), len(doubled))

    def _ends(self) -> Counter[str]:
        """How often each run was trained to its end by an attempt that counts."""
        ends = [(run, attempt) for word, run, attempt, _, _ in self.diary() if word == "finished"]
        for events in self.folder.glob("isoflop-artifacts/*/events.jsonl") if not ends else ():
            begun = 0
            for event in map(json.loads, events.read_text().splitlines()):
                begun = event["attempt"] if event["event"] == "started" else begun
                if event["event"] == "result":
                    ends.append((events.parent.name, begun))
        return Counter(run for run, attempt in ends if not self._run_dir(run).is_fenced(attempt))

    def _run_dir(self, run: str) -> RunDir:
        return RunDir(self.folder / "isoflop-artifacts" / run)

    def attempts(self) -> Mapping[str, Sequence[tuple[int, str]]]:
        """Numbers and outcomes of the attempts in the database, by run."""
        found: dict[str, list[tuple[int, str]]] = {}
        for run, number, outcome in self.sandbox.rows("select run_id, attempt, outcome from attempts order by attempt"):
            found.setdefault(str(run), []).append((int(str(number)), str(outcome)))
        return found

    def result_files(self) -> Counter[str]:
        """How many results lie in each run's directory, those that were set aside apart."""
        paths = self.folder.glob("isoflop-artifacts/*/**/result-*.json")
        return Counter(path.relative_to(self.folder / "isoflop-artifacts").parts[0] for path in paths)


def _mapped(n_tokens: int) -> float:
    """What the program's map comes to."""
    x = 0.1 + 1e-9 * n_tokens % 0.8
    for _ in range(N_STEPS):
        x = 3.9 * x * (1.0 - x)
    return x
