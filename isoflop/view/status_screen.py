"""A status that is redrawn in place: as much of the page as the screen has room for, and a line about the rest."""

from collections.abc import Callable

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment

from isoflop.view.drawing import text


class StatusScreen:
    """The page that `page` gives for the present size of the screen, cut where the screen ends.

    Args:
        page: drawn anew at every refresh, so that it fits a screen that was resized.
        seconds: between two looks at the sweep, for the last line.
    """

    def __init__(self, page: Callable[[Console], RenderableType], seconds: float) -> None:
        self._page, self._seconds = page, seconds

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines of the screen."""
        room = max(1, console.height - 1)
        lines = console.render_lines(self._page(console), options.update(height=None), pad=False)
        for line in lines[:room]:
            yield from line
            yield Segment.line()
        yield from [Segment.line()] * (room - len(lines))
        for line in console.render_lines(text(self._last(len(lines) - room), "reverse"), options, pad=False)[:1]:
            yield from line

    def _last(self, n_hidden: int) -> str:
        below = f"{n_hidden} more {'line' if n_hidden == 1 else 'lines'}, printed at the end. " if n_hidden > 0 else ""
        return f"{below}Read every {self._seconds:g} s. Ctrl-C ends."
