"""RayLink: the coordinator's end of the driver, which is started again where it hangs or dies."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import IO, Any

from isoflop.engine.ray import ray_errors
from isoflop.errors import IsoflopError

# From a slow file system Ray takes seconds to import. A cluster that lets one in does so within seconds; a client
# server (ray://) first starts a process that imports Ray too.
IMPORT_SECONDS, CONNECT_SECONDS, CLIENT_SECONDS = 90.0, 12.0, 60.0
AGAIN_SECONDS = 15.0
DRIVER = [sys.executable, "-P", "-m", "isoflop.engine.ray.ray_driver"]
LOOK_SECONDS = 0.1
# What Ray says again and again, until it gives up after 20 seconds.
_WRONG_TOKEN = "InvalidAuthToken"  # noqa: S105


class NoAnswerError(Exception):
    """The driver did not answer in time, or is no more."""


class RayLink:
    """Requests to a process that is connected to the cluster at `address`; it ends with this one.

    Attributes:
        trouble: why the process that connects does not succeed; None where nothing is known, or it has.
    """

    def __init__(self, address: str, environment: Mapping[str, str]) -> None:
        self._address, self._environment = address, environment
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._said: IO[bytes] | None = None  # what Ray prints
        self._facts: dict[str, Any] | None = None
        self._number = 0
        self._started = 0.0
        self._imported_at: float | None = None
        self.trouble: IsoflopError | None = None

    def open(self) -> dict[str, Any]:
        """Connect; the facts of the cluster (`Driver.facts`).

        Raises:
            IsoflopError: nobody answers, or lets us in.
        """
        try:
            self._start()
            while self._facts is None:
                self._hear(LOOK_SECONDS)
        except IsoflopError:
            self._end()
            raise
        return self._facts

    def _start(self) -> None:
        """Start a driver.

        Raises:
            IsoflopError: no process, or no file for what it prints, can be had here.
        """
        self._end()
        self._started, self._imported_at = time.monotonic(), None
        try:
            self._connection, theirs = Pipe()
            with theirs:
                self._said = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the driver runs
                self._process = self._driver(theirs.fileno(), self._said)
        except OSError as error:
            raise ray_errors.no_driver(error) from None

    def _driver(self, descriptor: int, said: IO[bytes]) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(  # noqa: S603
            [*DRIVER, self._address, str(descriptor), str(os.getpid())],
            pass_fds=[descriptor],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            env=dict(self._environment),
            start_new_session=True,  # Ctrl-C is for the coordinator
        )

    def _hear(self, seconds: float) -> None:
        """Take in what a driver says that connects.

        Raises:
            IsoflopError: it does not succeed.
        """
        assert self._connection is not None
        try:
            message = self._connection.recv() if self._connection.poll(seconds) else ("nothing",)
        except (EOFError, ConnectionError):
            raise ray_errors.unreachable(
                self._address, f"the process that connects ended{self._last_words()}"
            ) from None
        match message:
            case ("imported", _):
                self._imported_at = time.monotonic()
            case ("ready", facts):
                self._facts, self.trouble = facts, None
            case ("error", str(text), str(hint)):
                raise IsoflopError(text, hint=hint)
            case _:
                self._raise_if_in_vain()

    def _raise_if_in_vain(self) -> None:
        if _WRONG_TOKEN in self._what_ray_said():
            raise ray_errors.not_let_in(self._address, has_token=_has_token(self._environment))
        since, limit = self._started, IMPORT_SECONDS
        if self._imported_at is not None:
            by_client = self._address.startswith("ray://")
            since, limit = self._imported_at, CLIENT_SECONDS if by_client else CONNECT_SECONDS
        if time.monotonic() - since > limit:
            raise ray_errors.unreachable(self._address, f"nothing was heard for {limit:.0f} s")

    def _what_ray_said(self) -> str:
        if self._said is None:
            return ""
        self._said.seek(0)
        return self._said.read().decode(errors="replace")

    def _last_words(self) -> str:
        """The end of what Ray has printed, in brackets; "" where that is nothing, or would show the token."""
        words = self._what_ray_said().strip().splitlines()[-1:]
        token = self._environment.get("RAY_AUTH_TOKEN")
        return f" ({words[0].strip()[:200]})" if words and not (token and token in words[0]) else ""

    def ask(self, method: str, *arguments: object, seconds: float) -> Any:
        """What `Driver` has that method return.

        Raises:
            IsoflopError: as the method.
            NoAnswerError: it took longer, or there is nobody to ask (`trouble`, where that is known); the next request
                may find another driver.
        """
        self._be_connected(min(seconds, 1.0))
        assert self._connection is not None
        self._number += 1
        try:
            self._connection.send((self._number, method, arguments))
            until = time.monotonic() + seconds
            while self._connection.poll(max(0.0, until - time.monotonic())):
                number, *answer = self._connection.recv()
                if number == self._number:
                    return self._value(answer)
        except (EOFError, ConnectionError):
            pass
        self._end()
        raise NoAnswerError

    def _value(self, answer: list[Any]) -> Any:
        match answer:
            case ["value", value]:
                self.trouble = None
                return value
            case ["error", str(text), str(hint)]:
                raise IsoflopError(text, hint=hint)
            case [_, str(text)]:
                self.trouble = ray_errors.unreachable(self._address, ray_errors.first_line(text))
        raise NoAnswerError

    def _be_connected(self, seconds: float) -> None:
        """Have a driver that is connected; another is started now and then, and not waited for."""
        try:
            if self._process is None and time.monotonic() - self._started > AGAIN_SECONDS:
                self._start()
            until = time.monotonic() + seconds
            while self._process is not None and self._facts is None and time.monotonic() < until:
                self._hear(LOOK_SECONDS)
        except IsoflopError as error:
            self.trouble = error
            self._end()
        if self._facts is None:
            raise NoAnswerError

    def _end(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()
        for open_file in (self._connection, self._said):
            if open_file is not None:
                open_file.close()
        self._process = self._connection = self._said = self._facts = None

    def close(self, seconds: float) -> None:
        """Have pilots hear what was ordered last, and end the driver."""
        if self._facts is not None:
            with contextlib.suppress(NoAnswerError, IsoflopError):
                self.ask("finish", seconds, seconds=seconds + 1.0)
        self._end()


def _has_token(environment: Mapping[str, str]) -> bool:
    """Whether Ray finds a token here: named in the environment, or where it looks by itself."""
    named = any(environment.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    by_itself = Path(environment.get("HOME", "/")) / ".ray" / "auth_token"
    return named or (environment.get("RAY_AUTH_MODE") == "token" and by_itself.exists())
