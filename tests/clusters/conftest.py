"""Clusters of this machine, one of each kind for a process of the suite, and what faults did to sweeps there."""

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.clusters.cluster_sweeps import ClusterSweep, Damage
from tests.clusters.slurm_daemons import Slurm, why_no_slurm

# Asked often, so that what happens is seen within a second; jobs wait no longer than a test.
OPTIONS = ("poll_seconds=1", "idle_seconds=60", "mem=1000")
END_SECONDS = 40.0

NewSweep = Callable[..., ClusterSweep]
Count = Callable[..., Damage]


@pytest.fixture(scope="session", params=["plain", "accounting"])
def slurm(request: pytest.FixtureRequest) -> Iterator[Slurm]:
    """A Slurm without accounting, and one that forgets what has ended and has `sacct` for that."""
    accounting = request.param == "accounting"
    if reason := why_no_slurm(accounting=accounting):
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # pytest's own are too long for a socket
    folder.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PACE", raising=False)
        cluster = Slurm(folder, accounting=accounting)
        patch.setenv("SLURM_CONF", str(cluster.configuration))
        yield cluster
        cluster.stop()


def new_sweep_in(folder: Path, name: str, *options: str, jobs: int = 2) -> ClusterSweep:
    """A sweep of a program for Slurm."""
    return ClusterSweep(folder / name, name, *on_slurm(*options, jobs=jobs)).write_program()


def on_slurm(*options: str, jobs: int = 2) -> list[str]:
    """Options of the command that have it train there."""
    given = {option.partition("=")[0]: option for option in (*OPTIONS, *options)}
    words = [word for option in given.values() for word in ("--engine-option", option)]
    return ["--engine", "slurm", "--workers", str(jobs), *words]


@pytest.fixture
def new_sweep(slurm: Slurm, tmp_path: Path) -> NewSweep:
    """The same, on the cluster."""
    return partial(new_sweep_in, tmp_path)


@pytest.fixture
def counted(slurm: Slurm, record_property: Callable[[str, Any], None]) -> Count:
    """Sees that a sweep is whole and nothing of it left, and counts what the fault cost."""

    def count(fault: str, sweep: ClusterSweep, *, times: int = 1, losses: dict[str, str] | None = None) -> Damage:
        assert sweep.sandbox.losses() == (losses or sweep.expected_losses())
        assert set(sweep.result_files().values()) == {1}
        damage = sweep.damage()
        assert (damage.lost, damage.doubled) == (0, 0), sweep.logs()
        assert all([outcome for _, outcome in ended].count("done") <= 1 for ended in sweep.attempts().values())
        nothing_left(slurm, sweep)
        record_property("fault", [fault, times, damage.runs, damage.attempts, damage.lost, damage.doubled])
        return damage

    return count


def nothing_left(slurm: Slurm, sweep: ClusterSweep) -> None:
    """Wait until no job of the sweep is queued or runs, and no process of one is left on any node."""
    name = f"isoflop-{sweep.name}-"
    sweep.wait_for(lambda: not slurm.queue(name) and not slurm.of_jobs(name), END_SECONDS)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of faults, of docs/clusters.md."""
    counts: dict[str, list[int]] = {}
    for report in terminalreporter.stats.get("passed", []):
        for name, value in getattr(report, "user_properties", []) if report.when == "call" else []:
            if name == "fault":
                before = counts.get(value[0], [0] * len(value[1:]))
                counts[value[0]] = [one + other for one, other in zip(before, value[1:], strict=True)]
    if not counts:
        return
    terminalreporter.section("faults")
    terminalreporter.write_line("| fault | times | runs | attempts | lost | doubled |\n|---|---|---|---|---|---|")
    for fault, numbers in counts.items():
        terminalreporter.write_line(f"| {fault} | {' | '.join(map(str, numbers))} |")


__all__ = ["Count", "NewSweep", "counted", "new_sweep", "nothing_left", "slurm"]
