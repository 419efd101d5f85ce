"""What a Slurm of the tests is: its nodes, ports and files."""

import os
import random
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# By partition. Those of `lossy` are for tests that take a node away.
PARTITIONS = {"main": ("n1", "n2"), "lossy": ("n3", "n4", "n5", "n6", "n7", "n8")}
NODES = tuple(node for nodes in PARTITIONS.values() for node in nodes)
GPUS = 2
# Between Ray's ports and those that Linux gives to whoever asks for none.
_PORTS = range(20_000, 32_000)
_CONFIGURATION = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[slurmctld]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={munge}
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/run/slurmd.%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=200000,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
KillWait=5
SlurmdTimeout=5
MessageTimeout=4
JobRequeue=1
GresTypes=gpu
"""
_ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePass={munge}
AccountingStoragePort={ports[slurmdbd]}
JobAcctGatherType=jobacct_gather/linux
MinJobAge=2
"""
_NO_ACCOUNTING = "AccountingStorageType=accounting_storage/none\nJobAcctGatherType=jobacct_gather/none\n"
_SLURMDBD = """\
AuthType=auth/munge
AuthInfo=socket={munge}
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={ports[slurmdbd]}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={ports[mariadbd]}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/run/slurmdbd.pid
"""
SQL_USER = """\
CREATE DATABASE slurm_acct_db;
CREATE USER 'slurm'@'127.0.0.1' IDENTIFIED BY 'slurm', 'slurm'@'localhost' IDENTIFIED BY 'slurm';
GRANT ALL ON slurm_acct_db.* TO 'slurm'@'127.0.0.1', 'slurm'@'localhost';
"""


@dataclass(frozen=True)
class SlurmFiles:
    """The files of a cluster in `folder`.

    Attributes:
        ports: by daemon, and by node.
    """

    folder: Path
    ports: dict[str, int]

    @property
    def configuration(self) -> Path:
        return self.folder / "slurm.conf"

    @property
    def munge_socket(self) -> Path:
        return self.folder / "munge" / "socket"

    def write(self, *, accounting: bool) -> None:
        """Write them all; GPUs are devices that hold nothing."""
        for name in ("state", "log", "run", "munge", "dev"):
            (self.folder / name).mkdir(parents=True, mode=0o755)
        for gpu in range(GPUS):
            os.mknod(self.folder / "dev" / f"gpu{gpu}", 0o20666, os.makedev(1, 3))
        nodes = "".join(
            f"NodeName={node} NodeHostname={node} NodeAddr=127.0.0.1 Port={self.ports[node]} CPUs=4 RealMemory=8000 "
            f"Gres=gpu:{GPUS} State=UNKNOWN\n"
            for node in NODES
        )
        partitions = "".join(
            f"PartitionName={name} Nodes={','.join(nodes)} Default={'YES' if name == 'main' else 'NO'} "
            "MaxTime=INFINITE DefMemPerCPU=1000 State=UP\n"
            for name, nodes in PARTITIONS.items()
        )
        text = self._filled(_CONFIGURATION + (_ACCOUNTING if accounting else _NO_ACCOUNTING))
        self.configuration.write_text(text + nodes + partitions)
        gres = (f"NodeName={node} Name=gpu File={self.folder}/dev/gpu[0-{GPUS - 1}]\n" for node in NODES)
        (self.folder / "gres.conf").write_text("".join(gres))
        (self.folder / "slurmdbd.conf").touch(0o600)
        (self.folder / "slurmdbd.conf").write_text(self._filled(_SLURMDBD))

    def _filled(self, template: str) -> str:
        host = socket.gethostname()
        return template.format(host=host, folder=self.folder, munge=self.munge_socket, ports=self.ports)


def files_in(folder: Path) -> SlurmFiles:
    """Those of a new cluster, with ports that are free."""
    names = ["slurmctld", "slurmdbd", "mariadbd", *NODES]
    return SlurmFiles(folder, dict(zip(names, _free_ports(len(names)), strict=True)))


def _free_ports(number: int) -> Sequence[int]:
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as candidate, suppress(OSError):
            candidate.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == number:
            break
    return found
