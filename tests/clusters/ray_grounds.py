"""A Ray cluster of a head of two cores and two nodes of one, on a network and with processes of its own.

The head has the resource `head`, each node `node`: sweeps that ask for them are out of each other's way.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil

from tests.waits import until

ADDRESS = "127.0.0.1:6391"
# Fixed ports lie below 10002, where those of Ray's workers begin. The namespace ends with its first process.
_UP = """
ip link set lo up || exit 1
cd /
try() { "$RAY" start --node-ip-address=127.0.0.1 --disable-usage-stats "$@" </dev/null >>"$DIR/log-$BASHPID" 2>&1; }
node() { try "$@" || try "$@" || try "$@"; }  # two nodes that start at once may pick one port, and one gives up
node --head --port=6391 --num-cpus=2 --resources='{"head": 2}' --num-gpus=0 --include-dashboard=false \
  --temp-dir="$DIR/s" || exit 1
node --address=127.0.0.1:6391 --num-cpus=1 --resources='{"node": 1}' --num-gpus=0 & first=$!
node --address=127.0.0.1:6391 --num-cpus=1 --resources='{"node": 1}' --num-gpus=0 & second=$!
wait $first && wait $second && touch "$DIR/up" || exit 1
exec sleep 600
"""
UP_SECONDS = 90.0


def why_not_here() -> str:
    """Why there can be no such cluster; "" where there can."""
    if find_spec("ray") is None:
        return 'ray is not installed: pip install "isoflop[ray]"'
    if any(shutil.which(name) is None for name in ("unshare", "nsenter", "ip")):
        return "unshare, nsenter (util-linux) or ip (iproute2) is not installed"
    done = subprocess.run(["unshare", "-n", "-p", "-f", "--mount-proc", "ip", "link", "set", "lo", "up"], check=False)
    return "" if done.returncode == 0 else "this user may not make namespaces"


@dataclass(frozen=True)
class RayGrounds:
    """A running cluster. `init`: the first process of its namespace, as this one sees it."""

    init: int
    environment: dict[str, str]

    def start(self, *command: str, folder: Path, **environment: str) -> "subprocess.Popen[str]":
        """A command on the head's machine."""
        heeds_ctrl_c = ["env", "--default-signal=INT"]  # whoever started the tests may have it ignored
        inside = [*heeds_ctrl_c, "nsenter", "-t", str(self.init), "-n", "-p", "-m", f"--wd={folder}", *command]
        given = {name: value for name, value in (self.environment | environment).items() if value}
        return subprocess.Popen(inside, env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def isoflop(self, *arguments: str, folder: Path, **environment: str) -> "subprocess.Popen[str]":
        """The command of that name there."""
        return self.start(sys.executable, "-m", "isoflop", *arguments, folder=folder, **environment)

    def pilots(self, place: str) -> list[psutil.Process]:
        """The pilots that run, of those whose mailbox is in a folder with that in its path."""
        with suppress(psutil.Error):
            return [one for one in psutil.Process(self.init).children(recursive=True) if _is_pilot(one, place)]
        return []

    def coordinator(self, process: "subprocess.Popen[str]") -> psutil.Process:
        """The process of a command that was started: it is nsenter's child."""
        return psutil.Process(process.pid).children()[0]


def _is_pilot(process: psutil.Process, place: str) -> bool:
    with suppress(psutil.Error):
        words = process.cmdline()
        return "isoflop.engine.ray.ray_pilot" in words[:5] and place in words[4]
    return False


def worker_of(pilot: psutil.Process) -> psutil.Process | None:
    """A process that trains for the pilot: a child of the server that it forks from."""
    with suppress(psutil.Error):
        for server in pilot.children():
            if any("forkserver" in word for word in server.cmdline()):
                return next(iter(server.children()), None)
    return None


@contextmanager
def ray_grounds() -> Iterator[RayGrounds]:
    """Such a cluster; all its processes end with the block."""
    # The paths of Ray's sockets may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        root = Path(__file__).parents[2]
        environment = os.environ | {
            "RAY": str(Path(sys.executable).with_name("ray")),
            "DIR": folder,
            "TMPDIR": folder,
            "PYTHONPATH": str(root),
            "RAY_ADDRESS": ADDRESS,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_ENABLE_USAGE_STATS": "0",
        }
        command = ["unshare", "-n", "-p", "-f", "--kill-child", "--mount-proc", "bash", "-c", _UP]
        process = subprocess.Popen(command, env=environment, start_new_session=True)
        try:
            with suppress(AssertionError):
                until(lambda: (Path(folder) / "up").exists() or process.poll() is not None, UP_SECONDS)
            said = "\n".join(path.read_text() for path in Path(folder).glob("log-*"))
            assert (Path(folder) / "up").exists(), said
            yield RayGrounds(psutil.Process(process.pid).children()[0].pid, environment)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
