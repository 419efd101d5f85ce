"""The socket of the process that workers are forked from, where TMPDIR has a long path."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from isoflop.engine.local import socket_folder
from isoflop.errors import IsoflopError

START_A_WORKER = """
import os, sys, tempfile, time
from multiprocessing import util
from isoflop.engine.local.fork_server import ForkServer

def say(word):
    print(word, flush=True)

if __name__ == "__main__":
    worker = ForkServer(say).start("trained", preload=[])
    while worker.is_alive():
        time.sleep(0.05)
    print(tempfile.gettempdir())
    print(util.get_temp_dir())
"""


@pytest.mark.slow
@pytest.mark.parametrize("length", [60, 72, 100, 200])
def test_a_worker_starts_whatever_the_length_of_tmpdir(tmp_path: Path, length: int) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        folder = Path(short) / ("x" * (length - len(short) - 1))
        folder.mkdir()
        (tmp_path / "start.py").write_text(START_A_WORKER)
        environment = os.environ | {"TMPDIR": str(folder)}
        command = [sys.executable, "start.py"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        word, temporary, of_sockets = done.stdout.splitlines()
        assert (word, temporary) == ("trained", str(folder))
        assert Path(of_sockets).is_relative_to(folder) == (length < 72)
        assert not Path(of_sockets).exists(), "it went with its process"


def test_no_folder_for_the_socket_is_a_sentence_that_names_the_one_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    # This process may have such a folder from another test.
    monkeypatch.delitem(vars(multiprocessing.current_process())["_config"], "tempdir", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", "/" + "x" * 80)
    monkeypatch.setattr(socket_folder, "SHORT_FOLDERS", ("/none/there",))
    with pytest.raises(IsoflopError, match=r"/x{80}', is too long for a socket in it"):
        socket_folder.make_room_for_socket()
    assert tempfile.tempdir == "/" + "x" * 80
