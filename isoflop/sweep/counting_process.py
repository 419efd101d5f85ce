"""The process that counts what a factory builds: it has torch, which plans do without."""

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from isoflop.errors import IsoflopError
from isoflop.shape import ModelShape
from isoflop.train.factory_source import SEE_PAGE

# A model takes some hundredths of a second; a factory that loads weights or data takes longer.
COUNTING_SECONDS = 600.0
# The end of what the process printed, for a sentence.
_SHOWN = 200


class CountingProcess:
    """Started by the first question, and ended with the block."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the block

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._printed.close()

    def ask(self, name: str, folder: Path, shapes: Sequence[ModelShape]) -> list[dict[str, Any]]:
        """Counts of what the factory `name` builds for each of `shapes`; {"refused"} where it raised.

        Raises:
            IsoflopError: the factory cannot be used, or the process came to grief.
        """
        process = self._process = self._process or self._start()
        asked = {"factory": name, "folder": str(folder), "shapes": [[*shape.as_dict().values()] for shape in shapes]}
        late = threading.Timer(COUNTING_SECONDS, process.kill)
        late.start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(asked).encode() + b"\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = b""
        finally:
            late.cancel()
        if not answer:
            raise self._came_to_grief(name, process.wait())
        said = json.loads(answer)
        if "problem" in said:
            raise IsoflopError(said["problem"], hint=said["hint"])
        return list(said["sizes"])

    def _start(self) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "isoflop.train.count_models"]
        return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._printed)  # noqa: S603

    def _came_to_grief(self, name: str, code: int) -> IsoflopError:
        self._printed.seek(0)
        last = self._printed.read().decode(errors="replace").strip().splitlines()[-1:]
        end = f" ({last[0][:_SHOWN]})" if last else ""
        return IsoflopError(
            f"Counting the models of model.factory = {name!r} ended with exit code {code}{end}.",
            hint=f"Build one by hand to see. {SEE_PAGE}",
        )
