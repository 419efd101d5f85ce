"""The one place where an error becomes a line on stderr and an exit code."""

import contextlib
import errno
import sys
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperGroup

from isoflop.cli.streams import OutputError
from isoflop.errors import IsoflopError

EXIT_OK, EXIT_USER_ERROR, EXIT_INCOMPLETE, EXIT_FINDINGS = 0, 1, 3, 4
EXIT_HUNG_UP, EXIT_INTERRUPTED, EXIT_TERMINATED = 129, 130, 143


def _printable(text: str) -> str:
    """Without what would steer a terminal: names and values come from strangers."""
    return "".join(character if character.isprintable() else " " for character in text)


@contextlib.contextmanager
def output_of(code: int) -> Iterator[None]:
    """A block that prints what a command came to, whose exit code is `code`: 1 where that is 0 and nothing arrives."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OutputError as error:
        _say_lost(error)
        raise typer.Exit(code or EXIT_USER_ERROR) from error


def _say_lost(error: OSError) -> None:
    closed = error.errno == errno.EBADF
    cause = "standard output is closed" if closed else error.strerror or str(error)
    _say(
        f"Cannot write the output: {cause}.",
        "Send it to a file or a pipe." if closed else "Make room, or write elsewhere.",
    )


def _say(message: str, hint: str) -> None:
    print(f"Error: {_printable(message)}\nHint: {_printable(hint)}", file=sys.stderr)


class Boundary(TyperGroup):
    """Turns what a user can fix into one sentence and one hint; bugs keep their traceback."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the program; what is printed before any command (help, version) may be lost too."""
        try:
            return super().main(*args, **extra)
        except OutputError as error:
            _say_lost(error)
            sys.exit(EXIT_USER_ERROR)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; see the class."""
        try:
            with output_of(EXIT_OK):
                return super().invoke(ctx)
        except IsoflopError as error:
            _say(error.message, error.hint)
            ctx.exit(EXIT_USER_ERROR)
        except KeyboardInterrupt:
            print("Interrupted.", file=sys.stderr)
            ctx.exit(EXIT_INTERRUPTED)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EIO):
                raise
            _say_lost(error)
            ctx.exit(EXIT_USER_ERROR)
