"""A report as a folder of files, each there whole or not at all."""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from isoflop.errors import IsoflopError, why_inaccessible
from isoflop.files import is_folder, write_atomically
from isoflop.report.figure.figure import render_figure
from isoflop.report.figure.growth_figure import render_growth
from isoflop.report.fit_document import fit_document
from isoflop.report.frontier_csv import render_frontier_csv
from isoflop.report.markdown import render_markdown
from isoflop.report.page.html import render_html
from isoflop.report.summary import Summary
from isoflop.view.document import dumps

_DOCUMENT = "report.json"
_LONGEST_NAME = 80

# What every report's document has held since the first; later ones hold more.
_MARKS = {"schema_version", "sweep", "source", "profiles", "frontier", "targets", "findings"}


def write_report(summary: Summary, out: Path) -> list[Path]:
    """The paths of the report's files in the folder `out`, which is made where it is missing.

    All files are rendered before the first is written; each replaces its older self in one step.

    Raises:
        IsoflopError: `out`, or what leads to it, is no folder; it holds the report of something else; or it cannot be
            written.
    """
    if (obstacle := _no_folder(out)) is not None:
        raise IsoflopError(
            f"{str(obstacle)!r} is not a folder; --out must name one.", hint="Name another folder with --out."
        )
    document = fit_document(summary)
    _refuse_another(document, out, _names(summary))
    contents = _render(summary, document)
    _refuse_another(document, out, contents)  # drawing takes seconds, in which somebody else may have written
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_atomically(out / name, content)
        return [out / name for name in contents]
    except OSError as error:
        raise IsoflopError(
            f"Cannot write the report to {str(out)!r}: {why_inaccessible(error, out)}.",
            hint="Check free space and permissions, or name another folder with --out.",
        ) from error


def folder_names(labels: Sequence[str]) -> list[str]:
    """A name of a folder for each label, all different: letters, digits, points and dashes, the first no point."""
    names: list[str] = []
    for label in labels:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", label).strip(".-")[:_LONGEST_NAME] or "group"
        number = sum(other == name or other.rpartition("-")[0] == name for other in names)
        names.append(f"{name}-{number + 1}" if number or name in names else name)
    return names


def _no_folder(out: Path) -> Path | None:
    """What of the path is there and no folder: a file, or a link that leads nowhere."""
    return next((path for path in (out, *out.parents) if os.path.lexists(path) and not is_folder(path)), None)


def _refuse_another(own: Mapping[str, object], out: Path, names: Iterable[str]) -> None:
    """A report is renewed as often as one likes, and never takes the place of anything else.

    Raises:
        IsoflopError: `out` holds the report of another subject, or files of these names that no report left.
    """
    there = [name for name in names if (out / name).exists()]
    if not there:
        return
    found = _read(out / _DOCUMENT)
    if not isinstance(found, dict) or not found.keys() >= _MARKS:
        raise IsoflopError(
            f"{str(out / there[0])!r} exists already and is not part of a report.",
            hint="Name another folder with --out.",
        )
    if _subject(found) != _subject(own):
        raise IsoflopError(
            f"{str(out)!r} holds the report of {' '.join(_subject(found))}.",
            hint="Name another folder with --out, or remove that report.",
        )


def _read(document: Path) -> object:
    """The JSON of a regular file; None for whatever else is there."""
    try:
        return json.loads(document.read_bytes()) if document.is_file() else None
    except (OSError, ValueError, RecursionError):
        return None


def _subject(document: Mapping[str, object]) -> tuple[str, str]:
    """What a report is of: several sources by their labels, a sweep by its name, a table by the name of its file.

    A frontier on a metric is another report than that on the loss.
    """
    metric = document.get("metric")
    on = "" if metric is None else f" on {metric}"
    sources = document.get("sources")
    if isinstance(sources, list) and len(sources) > 1:
        labels = [source.get("label") for source in sources if isinstance(source, dict)]
        return "the sources", ", ".join(sorted(map(repr, labels))) + on
    if document.get("sweep") is not None:
        return "the sweep", f"{document['sweep']!r}{on}"
    return "the file", repr(Path(str(document.get("source"))).name)


def _names(summary: Summary) -> list[str]:
    grown = ["growth.svg", "growth.png"] if summary.rounds else []
    return ["index.html", "report.md", _DOCUMENT, "frontier.csv", "figure.svg", "figure.png", *grown]


def _render(summary: Summary, document: dict[str, object]) -> dict[str, bytes]:
    images = render_figure(summary)
    growth = render_growth(summary) if summary.rounds else None
    texts = {
        "index.html": render_html(summary, svg=images.svg, growth=growth.svg if growth else None),
        "report.md": render_markdown(summary, figure="figure.png", growth="growth.png" if growth else None),
        _DOCUMENT: dumps(document) + "\n",
        "frontier.csv": render_frontier_csv(summary),
        "figure.svg": images.svg,
        **({"growth.svg": growth.svg} if growth else {}),
    }
    pictures = {"figure.png": images.png, **({"growth.png": growth.png} if growth else {})}
    return {**{name: text.encode() for name, text in texts.items()}, **pictures}
