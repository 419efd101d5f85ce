"""What stands in the way of every run on Slurm: one sentence and a hint, and no job is left."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.clusters.cluster_sweeps import ClusterSweep
from tests.clusters.conftest import new_sweep_in, nothing_left
from tests.clusters.slurm_daemons import Slurm
from tests.faults.mounts import UNSHARE
from tests.faults.said import is_sentence

pytestmark = [
    pytest.mark.slow(4),
    pytest.mark.parametrize("slurm", ["plain"], indirect=True),  # nobody is asked how a job has ended
]


@dataclass(frozen=True)
class Refusal:
    """What is wrong, and what the command says of it.

    Attributes:
        said: words of the sentence, and of the hint.
        before: words before those of the command.
        variables: of its environment.
    """

    options: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    sweep: ClusterSweep
    code: int
    err: str


REAL = sys.executable
ANOTHER_VERSION = f"""\
#!/bin/sh
shift 3
exec {REAL} -c "import runpy, isoflop
isoflop.__version__ = '9.9.9'
runpy.run_module('isoflop.engine.pilots.pilot_start', run_name='__main__', alter_sys=True)" "$@"
"""
REFUSALS = {
    "no Slurm": Refusal(said=("There is no `sbatch` on PATH", "login node"), variables={"PATH": "/nonexistent"}),
    "no such partition": Refusal(("partition=nowhere",), ("Slurm refuses", "partition", "`sinfo`")),
    "no such resource": Refusal(("gres=tpu:1",), ("Slurm refuses", "generic resource", "--engine-option gres=")),
    "too many GPUs": Refusal(("gres=gpu:9",), ("Slurm refuses", "configuration", "gres")),
    "storage of its own": Refusal(
        said=("jobs ended before their pilot said a word", "Does the node see"),
        before=(*UNSHARE, "sh", "-c", 'mount -t tmpfs none isoflop-artifacts && exec "$@"', "sh"),
    ),
    "no isoflop there": Refusal(
        (f"python={Path(sys.base_prefix) / 'bin' / 'python3'}",),
        ("jobs ended before their pilot said a word", "is isoflop installed there"),
    ),
    "another version": Refusal(("python={folder}/other-python",), ("has isoflop 9.9.9", "Install one version")),
    "no such set-up": Refusal(("setup=nowhere.sh",), ("nowhere.sh", "not a file", "relative to the sweep file")),
    "set-up fails": Refusal(
        ("setup=failing.sh",), ("jobs ended before their pilot said a word", "its log,", "does `setup` succeed")
    ),
    "no controller": Refusal(
        said=("Slurm does not answer", "contact", "scontrol ping"), variables={"SLURM_CONF": "{folder}/slurm.conf"}
    ),
}


@pytest.fixture(scope="module")
def ended(slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Ended]]:
    """How the command ended in each case; all at once."""
    running = {}
    for number, (name, refusal) in enumerate(REFUSALS.items()):
        sweep = new_sweep_in(tmp_path_factory.mktemp("refusal"), f"refused-{number}", jobs=1)
        running[name] = sweep, _start(sweep, refusal, slurm)
    found = {}
    for name, (sweep, process) in running.items():
        _, err = process.communicate(timeout=120)
        found[name] = Ended(sweep, process.returncode, err)
    yield found


def _start(sweep: ClusterSweep, refusal: Refusal, slurm: Slurm) -> "subprocess.Popen[str]":
    folder = sweep.folder
    (folder / "isoflop-artifacts").mkdir()
    (folder / "failing.sh").write_text("module load torch || return 1\n")
    (folder / "other-python").write_text(ANOTHER_VERSION)
    (folder / "other-python").chmod(0o755)
    with socket.socket() as unheard:  # a port on which nobody answers
        unheard.bind(("127.0.0.1", 0))
        port = unheard.getsockname()[1]
        lines = slurm.configuration.read_text().splitlines()
        others = [line for line in lines if not line.startswith(("SlurmctldPort", "MessageTimeout"))]
        (folder / "slurm.conf").write_text("\n".join([f"SlurmctldPort={port}", "MessageTimeout=2", *others]) + "\n")
        for name in ("gres.conf",):
            (folder / name).write_text((slurm.folder / name).read_text())
        variables = {name: value.format(folder=folder) for name, value in refusal.variables.items()}
        options = [word.format(folder=folder) for word in refusal.options]
        words = [word for option in options for word in ("--engine-option", option)]
        return subprocess.Popen(
            [*refusal.before, REAL, "-m", "isoflop", "run", "sweep.toml", *sweep.options, *words],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **variables},
        )


@pytest.mark.parametrize("case", REFUSALS)
def test_what_stands_in_the_way_is_said_in_a_sentence(slurm: Slurm, ended: dict[str, Ended], case: str) -> None:
    came_to = ended[case]
    assert came_to.code == 1, came_to.err
    assert is_sentence(came_to.err), came_to.err
    told = " ".join(came_to.err.split())
    missing = [words for words in REFUSALS[case].said if words.lower() not in told.lower()]
    assert not missing, f"{missing} not in {came_to.err}\n{came_to.sweep.logs()}"
    assert not came_to.sweep.diary()
    nothing_left(slurm, came_to.sweep)
