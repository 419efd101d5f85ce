"""The one place where an error becomes a line on stderr and an exit code."""

import os
import sys
from typing import Any

from typer.core import TyperGroup

from isoflop.errors import IsoflopError

EXIT_OK, EXIT_USER_ERROR, EXIT_INCOMPLETE, EXIT_FINDINGS = 0, 1, 3, 4
EXIT_INTERRUPTED, EXIT_TERMINATED = 130, 143


class Boundary(TyperGroup):
    """Turns what a user can fix into one sentence and one hint; bugs keep their traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; see the class."""
        try:
            return super().invoke(ctx)
        except IsoflopError as error:
            print(f"Error: {error.message}\nHint: {error.hint}", file=sys.stderr)
            ctx.exit(EXIT_USER_ERROR)
        except KeyboardInterrupt:
            print("Interrupted.", file=sys.stderr)
            ctx.exit(EXIT_INTERRUPTED)
        except BrokenPipeError:
            # The reader (`| head`) has what it wants; Python would complain again when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(EXIT_OK)
