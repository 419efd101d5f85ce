"""A report as a folder of files, each there whole or not at all."""

from pathlib import Path

from isoflop.errors import IsoflopError
from isoflop.files import write_atomically
from isoflop.report.figure.figure import render_figure
from isoflop.report.frontier_csv import render_frontier_csv
from isoflop.report.json import fit_document
from isoflop.report.markdown import render_markdown
from isoflop.report.page.html import render_html
from isoflop.report.summary import Summary
from isoflop.view.document import dumps


def write_report(summary: Summary, out: Path) -> list[Path]:
    """The paths of the report's files in the folder `out`, which is made where it is missing.

    All files are rendered before the first is written; each replaces its older self in one step.

    Raises:
        IsoflopError: `out` is a file, or cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise IsoflopError(f"{str(out)!r} is a file; a report is a folder.", hint="Name another folder with --out.")
    contents = _render(summary)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_atomically(out / name, content)
        return [out / name for name in contents]
    except OSError as error:
        raise IsoflopError(
            f"Cannot write the report to {str(out)!r}: {error}.",
            hint="Check free space and permissions, or name another folder with --out.",
        ) from error


def _render(summary: Summary) -> dict[str, bytes]:
    images = render_figure(summary)
    texts = {
        "index.html": render_html(summary, svg=images.svg),
        "report.md": render_markdown(summary, figure="figure.png"),
        "report.json": dumps(fit_document(summary)) + "\n",
        "frontier.csv": render_frontier_csv(summary),
        "figure.svg": images.svg,
    }
    return {**{name: text.encode() for name, text in texts.items()}, "figure.png": images.png}
