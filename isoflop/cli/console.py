"""Where the commands print."""

from rich.console import Console


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave a reader that has gone to the error boundary; rich would exit with 1."""
        raise BrokenPipeError


def stdout() -> Console:
    """What a command has to say."""
    return _Console()


def stderr() -> Console:
    """Progress and messages."""
    return _Console(stderr=True)
