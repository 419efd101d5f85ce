"""Does a sweep whose processes are killed at random come to exactly what the undisturbed sweep came to?

    python benchmarks/chaos.py --kills 300 --seed 1

Real sweeps of two dozen tiny runs, two workers. Coordinator, workers and fork server get SIGKILL and SIGTERM at random
instants, inside writes of files and of the database too, or rest for a while (SIGSTOP, SIGCONT); while nobody runs,
files of unfinished runs are cut short; the file system fills up. Everything happens once, then at random, until so many
kills have hit. After each end the same command is given again; a sweep that is done is followed by a new one. In each
every planned run must have one result, equal to the undisturbed sweep's in every bit, attempts and events must agree,
and no process may be left. The first thing that is not so ends the program, which then names its folder.

Full disks need a file system of the program's own, in a mount namespace: root, or user namespaces. Needs pytest.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.engine.conftest import Sandbox, alive, end_what_was_started, make_sandbox
from tests.faults.mounts import UNSHARE, why_no_mounts
from tests.faults.turmoil import NO_KILLS, VICTIMS, Turmoil
from tests.faults.wholeness import TEN_RUNS

# Two dozen runs in the place of ten, of half a second and more.
RUNS = (
    TEN_RUNS.replace("[1.5e9, 3e9]", "[1.2e10, 2.4e10]")
    .replace("sizes = 5", "sizes = 12")
    .replace("half_width = 0.3", "half_width = 0.4")
)
# Of the file system that fills up: some sweeps and what they keep.
DISK = "size=64m"
# Set for every process of a sweep: what has it at the end was left over.
MARK = "ISOFLOP_CHAOS"
INSIDE = "ISOFLOP_CHAOS_FOLDER"


def main() -> None:
    """Parse the command line and disturb."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one document on stdout")
    options = parser.parse_args()
    if INSIDE in os.environ:
        disturb(Path(os.environ[INSIDE]), options.kills, options.seed, as_json=options.json)
        return
    folder = Path(tempfile.mkdtemp(prefix="isoflop-chaos-"))
    if reason := why_no_mounts(folder):
        print(f"No full disks: {reason}", file=sys.stderr)
        disturb(folder, options.kills, options.seed, as_json=options.json, full=False)
    else:
        mounted = f'mount -t tmpfs -o {DISK} none "$0" && exec "$@"'
        command = [*UNSHARE, "sh", "-c", mounted, str(folder), sys.executable, *sys.argv]
        code = subprocess.run(command, env={**os.environ, INSIDE: str(folder)}, check=False).returncode
        folder.rmdir()  # what was mounted on it is gone
        sys.exit(code)
    shutil.rmtree(folder)


def disturb(folder: Path, n_kills: int, seed: int, *, as_json: bool, full: bool = True) -> None:
    """Disturb sweeps in `folder` and print what came of it."""
    os.environ[MARK] = mark = uuid.uuid4().hex
    made = iter(range(n_kills + 2))

    def new_sweep() -> Sandbox:
        sweep = folder / f"sweep-{next(made)}"
        sweep.mkdir()
        return make_sandbox(sweep, RUNS)

    undisturbed = new_sweep()
    begun = time.monotonic()
    undisturbed.run("run", "tiny.toml", "--workers", "2")
    quiet = time.monotonic() - begun
    turmoil = Turmoil(new_sweep, undisturbed, seed, n_kills, full=full)
    try:
        turmoil.disturb()
    except BaseException:
        kept = Path(tempfile.mkdtemp(prefix="isoflop-chaos-kept-")) / "sweeps"
        shutil.copytree(folder, kept, symlinks=True)
        print(f"after {turmoil.tally}, torn {dict(turmoil.torn)}: see {kept}", file=sys.stderr)
        raise
    finally:
        end_what_was_started()
    left = [process for process in marked(mark) if process != os.getpid()]
    assert not left, f"processes left over: {left}"
    tell(turmoil, n_runs=len(undisturbed.losses()), quiet=quiet, seconds=time.monotonic() - begun, as_json=as_json)


def marked(mark: str) -> list[int]:
    """Living processes that this program started, or that those did."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{MARK}={mark}".encode() in path.read_bytes() and alive(int(path.parent.name)):
                found.append(int(path.parent.name))
        except OSError:  # another user's, or ended
            continue
    return found


def tell(turmoil: Turmoil, *, n_runs: int, quiet: float, seconds: float, as_json: bool) -> None:
    """Print what was done, and that nothing came of it."""
    kinds = Counter(kind for kind, _ in turmoil.kills)
    victims: Counter[str] = Counter()
    for kind, number in kinds.items():
        if kind not in NO_KILLS:
            victims[VICTIMS.get(kind, "worker")] += number
    document = {
        "kills": sum(victims.values()),
        "by_victim": dict(victims.most_common()),
        "by_kind": dict(kinds.most_common()),
        "inside_writes": turmoil.n_inside - kinds["disk"],
        "files_torn": dict(turmoil.torn.most_common()),
        "full_disks": kinds["disk"],
        "sweeps": len(turmoil.sweeps),
        "runs_compared": turmoil.n_compared,
        "runs_lost": 0,
        "results_doubled": 0,
        "processes_left": 0,
        "seconds": round(seconds, 1),
        "undisturbed_seconds": round(quiet, 1),
        "runs_per_sweep": n_runs,
    }
    assert turmoil.n_compared == n_runs * len(turmoil.sweeps)
    if as_json:
        print(json.dumps(document))
        return
    for name, value in document.items():
        said = ", ".join(f"{number} {what}" for what, number in value.items()) if isinstance(value, dict) else value
        print(f"{name.replace('_', ' '):20} {said}")


if __name__ == "__main__":
    main()
