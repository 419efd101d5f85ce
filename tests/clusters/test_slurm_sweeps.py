"""Whole sweeps on a real Slurm, without accounting and with: the same losses as on this machine, and nothing left."""

from pathlib import Path

import pytest

from tests.clusters.cluster_sweeps import ClusterSweep
from tests.clusters.conftest import Count, NewSweep, on_slurm
from tests.clusters.slurm_daemons import Slurm
from tests.clusters.slurm_processes import claimants, jobs_of
from tests.engine.conftest import SECONDS_OF_WORK, SWEEP, make_sandbox

# Three runs of about half a second each.
TRANSFORMERS = SWEEP.replace("[6e8, 1.2e9]", f"[{SECONDS_OF_WORK / 6}]").replace(
    "max_epochs = 1000", "max_epochs = 1e6"
)


@pytest.fixture(scope="session")
def local_losses(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Losses, to the bit, of the transformers on the local engine, by run."""
    sandbox = make_sandbox(tmp_path_factory.mktemp("local"), TRANSFORMERS)
    sandbox.run("run", "tiny.toml", "--device", "cpu", "--workers", "2")
    return sandbox.losses()


def test_a_sweep_of_a_program_is_trained_as_on_this_machine(
    new_sweep: NewSweep, counted: Count, tmp_path: Path
) -> None:
    sweep = new_sweep("whole")
    here = ClusterSweep(tmp_path / "here", "whole").write_program()
    commands = [sweep.start(), here.start("--workers", "2")]
    for one, command in zip((sweep, here), commands, strict=True):
        one.finish(command)
    damage = counted("none", sweep, times=0)
    assert damage.attempts == damage.runs == 4
    assert here.sandbox.losses() == sweep.sandbox.losses()
    assert {host for *_, host in sweep.diary()} <= {"n1", "n2"}
    assert sweep.sandbox.rows("select distinct engine from attempts") == [("slurm",)]


@pytest.mark.slow(30)
@pytest.mark.parametrize("slurm", ["accounting"], indirect=True)
def test_transformers_whose_worker_and_job_end_early_have_the_losses_of_the_local_engine(
    slurm: Slurm, local_losses: dict[str, str], counted: Count, tmp_path: Path
) -> None:
    """A worker is killed in its midst, and the job of another cancelled: SIGTERM, a checkpoint, another job."""
    make_sandbox(tmp_path, TRANSFORMERS.replace('"tiny"', '"transformers"'))
    (tmp_path / "tiny.toml").rename(tmp_path / "sweep.toml")
    sweep = ClusterSweep(tmp_path, "transformers", *on_slurm())
    command = sweep.start()
    killed = _stopped_in_its_midst(slurm, sweep, set())
    cancelled = _stopped_in_its_midst(slurm, sweep, {killed})
    assert not sweep.sandbox.losses().keys() & {killed, cancelled}
    found = claimants(slurm, sweep)
    found[killed].kill()
    slurm.said("scancel", _job_of(sweep, cancelled))
    found[cancelled].resume()
    sweep.finish(command)
    counted("transformers: kill -9 of a worker, scancel of a job", sweep, times=2, losses=local_losses)
    outcomes = {run: [outcome for _, outcome in ended] for run, ended in sweep.attempts().items()}
    assert outcomes[killed][0] == "died"
    assert outcomes[cancelled][0] == "interrupted"
    assert not slurm.queue(jobs_of(sweep))


def _stopped_in_its_midst(slurm: Slurm, sweep: ClusterSweep, but: set[str]) -> str:
    """A run, none of `but`, whose worker has taken steps and stands still now."""
    found: list[str] = []

    def stop() -> bool:
        for run, worker in claimants(slurm, sweep).items():
            events = sweep.folder / "isoflop-artifacts" / run / "events.jsonl"
            if run not in but and '"progress"' in events.read_text():
                worker.suspend()
                found.append(run)
                return True
        return False

    sweep.wait_for(stop)
    return found[0]


def _job_of(sweep: ClusterSweep, run: str) -> str:
    """The job that the run's attempt runs in, as its pilot was told."""
    for orders in sweep.folder.glob("isoflop-artifacts/pilots/*/*/orders.jsonl"):
        for line in orders.read_text().splitlines():
            if f"/{run}" in line:
                return line.partition('"engine_job":"')[2].partition('"')[0]
    raise AssertionError(f"no job was told of {run}")
