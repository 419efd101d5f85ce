"""The one place where an error becomes a line on stderr and an exit code."""

import errno
import os
import sys
from typing import Any

from typer.core import TyperGroup

from isoflop.errors import IsoflopError

EXIT_OK, EXIT_USER_ERROR, EXIT_INCOMPLETE, EXIT_FINDINGS = 0, 1, 3, 4
EXIT_INTERRUPTED, EXIT_TERMINATED = 130, 143


def _printable(text: str) -> str:
    """Without what would steer a terminal: names and values come from strangers."""
    return "".join(character if character.isprintable() else " " for character in text)


def _discard_stdout() -> None:
    # Python would complain again when it flushes at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Boundary(TyperGroup):
    """Turns what a user can fix into one sentence and one hint; bugs keep their traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; see the class."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except IsoflopError as error:
            print(f"Error: {_printable(error.message)}\nHint: {_printable(error.hint)}", file=sys.stderr)
            ctx.exit(EXIT_USER_ERROR)
        except KeyboardInterrupt:
            print("Interrupted.", file=sys.stderr)
            ctx.exit(EXIT_INTERRUPTED)
        except BrokenPipeError:
            _discard_stdout()  # the reader (`| head`) has what it wants
            ctx.exit(EXIT_OK)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EIO):
                raise
            _discard_stdout()
            print(f"Error: Cannot write the output: {error}.\nHint: Make room, or write elsewhere.", file=sys.stderr)
            ctx.exit(EXIT_USER_ERROR)
