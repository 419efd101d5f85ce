"""Small and read-only file systems, in a mount namespace of their own: nothing else on the machine sees them."""

import os
import subprocess
import sys
from pathlib import Path

from tests.engine.conftest import Sandbox

# Without root, a user namespace gives the right to mount inside it, where the machine allows one.
UNSHARE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
_ENTER = ["nsenter", "--mount"] if os.geteuid() == 0 else ["nsenter", "--mount", "--user", "--preserve-credentials"]


def why_no_mounts(folder: Path) -> str | None:
    """Why this process cannot mount; None if it can."""
    command = [*UNSHARE, "mount", "-t", "tmpfs", "none", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"mounting needs unshare: {error}"
    return f"mounting needs privileges: {done.stderr.strip()}" if done.returncode else None


class Mounts:
    """A mount namespace that lives until it is closed, and commands run in it."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        keeper = [*UNSHARE, "sh", "-c", "echo ready; exec sleep 600"]
        self._keeper = subprocess.Popen(keeper, stdout=subprocess.PIPE, text=True)
        assert self._keeper.stdout is not None and self._keeper.stdout.readline() == "ready\n"

    def close(self) -> None:
        """End the namespace and with it its mounts."""
        self._keeper.kill()
        self._keeper.communicate()

    def small(self, name: str, kilobytes: int) -> None:
        """Put an empty file system of that size at the folder `name`; one that is there is resized."""
        folder = self.sandbox.folder / name
        folder.mkdir(exist_ok=True)
        self._shell(f"mount -t tmpfs -o size={kilobytes}k none {folder}")

    def read_only(self, name: str) -> None:
        """Make the folder `name` read-only, for root too."""
        folder = self.sandbox.folder / name
        self._shell(f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}")

    def writable(self, name: str) -> None:
        """Undo `read_only`."""
        self._shell(f"umount {self.sandbox.folder / name}")

    def fill(self, name: str, *, leave: int) -> None:
        """Fill the file system at `name` up to so many kilobytes."""
        folder = self.seen(name)
        free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
        assert free > leave * 1024, f"only {free} bytes are free"
        (folder / "filler").write_bytes(b"x" * (free - leave * 1024))

    def make_room(self, name: str) -> None:
        """Delete what `fill` wrote."""
        (self.seen(name) / "filler").unlink()

    def seen(self, name: str) -> Path:
        """The folder as the namespace sees it."""
        return Path(f"/proc/{self._keeper.pid}/root") / (self.sandbox.folder / name).relative_to("/")

    def run(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        """stdout and stderr of the command in the namespace, which must exit with `code`."""
        words = ["sh", "-c", 'cd "$0" && exec "$@"', str(self.sandbox.folder), sys.executable, "-m", "isoflop"]
        process = subprocess.run(
            [*_ENTER, f"--target={self._keeper.pid}", "--", *words, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        )
        assert process.returncode == code, f"exit {process.returncode}\n{process.stdout}\n{process.stderr}"
        return process.stdout, process.stderr

    def _shell(self, command: str) -> None:
        enter = [*_ENTER, f"--target={self._keeper.pid}", "--", "sh", "-c", command]
        done = subprocess.run(enter, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
