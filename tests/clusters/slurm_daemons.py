"""A real Slurm on this machine: a controller, and nodes with host names, process ids and mounts of their own.

Whatever it starts dies with the process that started it, however that ends: daemons by PR_SET_PDEATHSIG, a node with
the first process of its namespace. Debian's packages, root, loopback, ports that are free, a munge of its own.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from isoflop.train.process import PR_SET_PDEATHSIG
from tests.clusters.slurm_files import NODES, SQL_USER, files_in
from tests.waits import has_ended

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
ACCOUNTING_PACKAGES = ("slurmdbd", "mariadb-server")
_USABLE = ("idle", "mixed", "allocated")
UP_SECONDS, DOWN_SECONDS = 60.0, 20.0
_UNSHARE = ["unshare", "--pid", "--uts", "--mount", "--fork", "--kill-child", "--mount-proc"]


def why_no_slurm(*, accounting: bool) -> str | None:
    """Why there can be no Slurm here; None if there can."""
    if os.geteuid() != 0:
        return "Slurm's daemons need root here"
    wanted = ["slurmctld", "slurmd", "sbatch", "munged"] + ["slurmdbd", "mariadbd"] * accounting
    packages = PACKAGES + ACCOUNTING_PACKAGES * accounting
    if missing := [command for command in wanted if shutil.which(command) is None]:
        return f"no {' and no '.join(missing)}: apt-get install --no-install-recommends {' '.join(packages)}"
    done = subprocess.run([*_UNSHARE, "true"], capture_output=True, text=True, check=False)
    return f"nodes need namespaces: {done.stderr.strip()}" if done.returncode else None


class Slurm:
    """A cluster in `folder`, up once it is made.

    Raises:
        TimeoutError: it does not come up; with what the daemons wrote last.
    """

    def __init__(self, folder: Path, *, accounting: bool) -> None:
        self.folder, self.accounting = folder, accounting
        self._files = files_in(folder)
        self.configuration = self._files.configuration
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._environment = {**os.environ, "SLURM_CONF": str(self.configuration)}
        self._files.write(accounting=accounting)
        try:
            self._start_munge()
            if accounting:
                self._start_accounting()
            self.start_controller()
            for node in NODES:
                self.start_node(node)
            self.wait_for_nodes()
        except BaseException:
            self.stop()
            raise

    def _start_munge(self) -> None:
        munge = self.folder / "munge"
        (munge / "key").write_bytes(os.urandom(128))
        (munge / "key").chmod(0o400)
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        # --force: it may run as root, and below a folder that others can write to
        self._start("munged", "--foreground", "--force", *(f"--{key}={munge / name}" for key, name in files.items()))
        self._wait((munge / "socket").is_socket, "munge")

    def _start_accounting(self) -> None:
        folder = self.folder / "mariadb"
        data, sock = f"--datadir={folder}", f"--socket={self.folder}/run/mariadb"
        options = ["--no-defaults", "--user=root", data]
        self._run("mariadb-install-db", *options, "--skip-test-db", "--auth-root-authentication-method=socket")
        small = ["--bind-address=127.0.0.1", "--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900"]
        self._start("mariadbd", *options, sock, f"--port={self._files.ports['mariadbd']}", *small)
        self._wait(lambda: self._succeeds("mariadb-admin", "--no-defaults", sock, "ping"), "MariaDB")
        self._run("mariadb", "--no-defaults", sock, f"--execute={SQL_USER}")
        self._start("slurmdbd", "-D")
        self._wait(lambda: self._succeeds("sacctmgr", "-i", "add", "cluster", "tests"), "slurmdbd")

    def start_controller(self) -> None:
        """Have slurmctld run."""
        self._start("slurmctld", "-D")

    def stop_controller(self) -> None:
        """End slurmctld; jobs go on."""
        _end(self._daemons.pop("slurmctld"))

    def start_node(self, node: str) -> None:
        """Have the node be there, with slurmd; its processes see each other alone."""
        if node not in self._daemons:
            hosts = self.folder / "run" / f"hosts.{node}"
            hosts.write_text(f"127.0.0.1 localhost {node}\n")  # slurmd listens where its host name leads
            seen = self.folder / "run" / f"up.{node}"
            seen.unlink(missing_ok=True)
            here = f"hostname {node} && mount --bind {hosts} /etc/hosts && touch {seen}"
            self._start(*_UNSHARE, "sh", "-c", f"{here} && while :; do sleep 0.5; done", name=node)
            self._wait(seen.exists, node)
        first = self._first_process(node)
        assert first is not None
        self._run("nsenter", f"--target={first.pid}", "--pid", "--uts", "--mount", "slurmd", "-N", node)

    def _first_process(self, node: str) -> psutil.Process | None:
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self._daemons[node].pid).children():
                if child.name() == "sh":
                    return child
        return None

    def switch_off(self, node: str) -> None:
        """Have the node, and every process on it, be gone."""
        _end(self._daemons.pop(node), signal.SIGKILL)

    def processes(self, node: str) -> list[psutil.Process]:
        """What runs on the node, its first process apart."""
        first = self._first_process(node) if node in self._daemons else None
        found = [] if first is None else first.children(recursive=True)
        return [process for process in found if not has_ended(process)]

    def process(self, node: str, number: int) -> psutil.Process | None:
        """What the node itself calls by that number; None where that has ended."""
        for process in self.processes(node):
            with suppress(OSError):
                lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
                if [line.split()[-1] for line in lines if line.startswith("NSpid:")] == [str(number)]:
                    return process
        return None

    def kill_slurmd(self, node: str) -> None:
        """Kill the node's slurmd: what it started lives on."""
        for process in self.processes(node):
            with suppress(psutil.NoSuchProcess):
                if process.name() == "slurmd":
                    process.kill()

    def of_jobs(self, name: str) -> list[psutil.Process]:
        """The processes, on all nodes, of jobs whose name begins so."""
        found = []
        for node in NODES:
            for process in self.processes(node):
                with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                    if process.environ().get("SLURM_JOB_NAME", "").startswith(name):
                        found.append(process)
        return found

    def queue(self, name: str) -> dict[str, str]:
        """States of the jobs that are queued or run and whose name begins so, by job."""
        lines = self.said("squeue", "--noheader", "--array", "--format=%i %T %j").splitlines()
        rows = [line.split() for line in lines]
        return {row[0]: row[1] for row in rows if row[2].startswith(name)}

    def said(self, *command: str) -> str:
        """What a command of Slurm prints."""
        return self._run(*command)

    def wait_for_nodes(self) -> None:
        """Wait until every node takes jobs."""
        self._wait(lambda: sum(state in _USABLE for state in self.node_states()) == len(NODES), "nodes")

    def node_states(self) -> list[str]:
        """Of every node, in Slurm's words: "idle", "down*"."""
        done = subprocess.run(
            ["sinfo", "-h", "-N", "-o", "%T"], capture_output=True, text=True, check=False, env=self._environment
        )
        return done.stdout.split()

    def stop(self) -> None:
        """End everything, in an order in which nothing waits for what has ended."""
        for name in NODES:
            if name in self._daemons:
                self.switch_off(name)
        for name in ("slurmctld", "slurmdbd", "munged", "mariadbd"):
            if name in self._daemons:
                _end(self._daemons.pop(name))
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, *command: str, name: str = "") -> None:
        with (self.folder / "log" / f"{name or command[0]}.out").open("ab") as log:
            self._daemons[name or command[0]] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - no threads here
            )

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=self._environment, timeout=UP_SECONDS
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def _succeeds(self, *command: str) -> bool:
        done = subprocess.run(command, capture_output=True, check=False, env=self._environment, timeout=UP_SECONDS)
        return done.returncode == 0

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + UP_SECONDS
        while not condition():
            if time.monotonic() > end:
                logs = sorted((self.folder / "log").iterdir())
                last = "\n".join(f"{log.name}: {log.read_text(errors='replace')[-400:]}" for log in logs)
                raise TimeoutError(f"{what} not up after {UP_SECONDS:.0f} s\n{self.node_states()}\n{last}")
            time.sleep(0.05)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _end(process: "subprocess.Popen[bytes]", number: signal.Signals = signal.SIGTERM) -> None:
    """End a daemon of ours; kill it where it takes too long."""
    process.send_signal(number)
    try:
        process.wait(DOWN_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
