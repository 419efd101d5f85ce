"""Whole sweeps on a real Slurm, without accounting and with: the same losses as on this machine, and nothing left."""

from tests.clusters.conftest import Count, NewSweep
from tests.clusters.slurm_daemons import Slurm


def test_a_sweep_of_a_program_is_trained_as_on_this_machine(slurm: Slurm, new_sweep: NewSweep, counted: Count) -> None:
    sweep = new_sweep("whole")
    sweep.finish(sweep.start())
    damage = counted("none", sweep, times=0)
    assert damage.attempts == damage.runs == 4
    hosts = {host for *_, host in sweep.diary()}
    assert hosts <= {"n1", "n2"}
    [(engine,)] = sweep.sandbox.rows("select distinct engine from attempts")
    assert engine == "slurm"
