"""Renews what README.md and docs/ quote and show of the quickstart, from one run of it.

    python docs/figures/quickstart.py build/quickstart

Trains sweeps/quickstart.toml in that folder, which git ignores and whose clone's commit the report names; takes
pictures of `isoflop status` halfway and of the report's page; writes docs/quickstart/, docs/img/ and the transcripts in
README.md and docs/guide.md. Where a run is finished nothing is trained again. Times in prose stay (CONTRIBUTING.md).
"""

import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[2]
SWEEP = "sweeps/quickstart.toml"
README, GUIDE = ROOT / "README.md", ROOT / "docs" / "guide.md"
COPIED = ("figure.png", "frontier.csv", "report.json", "report.md")
COLUMNS = 80
# Pixels: width and height of the pictures of the page; width, lines and margin of that of the terminal.
PAGE_PICTURES = {"page-wide": (1400, 1500), "page-narrow": (390, 1500)}
TERMINAL_WIDTH = 800
LINE_HEIGHT, MARGIN = 20, 16
# As many as a palette holds: with 64, two budgets have one colour.
N_COLOURS = 256
TERMINAL_PAGE = (
    f'<!DOCTYPE html><meta charset="utf-8"><body style="margin: {MARGIN}px">'
    f"<pre style=\"margin: 0; font: 15px/{LINE_HEIGHT}px 'DejaVu Sans Mono', monospace\">"
    '<code style="font: inherit">{code}</code></pre>'
)


def isoflop(folder: Path, *words: str, colours: bool = False) -> subprocess.Popen[str]:
    """The command, started in `folder`, with both of its streams in one pipe."""
    return subprocess.Popen(
        [sys.executable, "-m", "isoflop", *words],
        cwd=folder,
        env={**os.environ, "COLUMNS": str(COLUMNS)} | ({"FORCE_COLOR": "1"} if colours else {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def said(command: subprocess.Popen[str]) -> str:
    """What a command that ends well prints."""
    output, _ = command.communicate()
    if command.returncode != 0:
        sys.exit(output)
    return "\n".join(line.rstrip() for line in output.splitlines()) + "\n"


def train(folder: Path) -> None:
    """Leave plan.txt, run.txt and, taken when half of the runs are done, status.txt in `folder`."""
    (folder / "sweeps").mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / SWEEP, folder / SWEEP)
    (folder / "plan.txt").write_text(said(isoflop(folder, "plan", SWEEP)))
    begun, lines = time.monotonic(), []
    run = isoflop(folder, "run", SWEEP)
    assert run.stdout is not None
    for line in run.stdout:
        lines.append(line)
        if (place := re.match(r"\[(\d+)/(\d+)\]", line)) and 2 * int(place[1]) == int(place[2]):
            (folder / "status.txt").write_text(said(isoflop(folder, "status", SWEEP, colours=True)))
    if run.wait() != 0:
        sys.exit("".join(lines))
    (folder / "run.txt").write_text("".join(lines))
    print(f"isoflop run took {time.monotonic() - begun:.0f} s, its start included")


def plan_quoted(printed: str) -> str:
    """The plan up to the second row of its table."""
    head, rows = re.split(r"(?<=─\n)", printed, maxsplit=1)
    return head + "".join(rows.splitlines(keepends=True)[:2]) + "...\n"


def run_quoted(printed: str) -> str:
    """The first three runs, the last one, and the summary."""
    lines = printed.splitlines(keepends=True)
    return "".join((*lines[:4], "...\n", *lines[-3:]))


def fit_quoted(printed: str) -> str:
    """The answer with the tables of the frontier, of the targets and of the profiles."""
    answer, *sections = re.split(r"\n\n(?=[A-Z][a-z ]+\n)", printed.rstrip())
    tables = [part for part in sections if part.split("\n", 1)[0] in ("Frontier", "Targets", "Profiles")]
    return "\n\n".join((answer, *tables)) + "\n...\n"


def quote(page: Path, opening: str, text: str) -> None:
    """Put `text` where the block of `page` that begins with `opening` goes on, up to its end."""
    found = page.read_text(encoding="utf-8")
    begin = found.index(opening) + len(opening)
    page.write_text(found[:begin] + text + found[found.index("```", begin) :], encoding="utf-8")


def answer_quoted(report: str) -> str:
    """The frontier and the extrapolation, in lines that a page shows whole."""
    wanted = ("Compute-optimal: ", "For 4.00e12 FLOPs: ")
    lines = [line for line in report.splitlines() if line.startswith(wanted)]
    return "".join(textwrap.fill(line, 120, break_on_hyphens=False) + "\n" for line in lines)


def picture(page: Path, name: str, *size: str) -> None:
    """A picture of `page` as docs/img/NAME.png, in as many colours as such a page has."""
    out = ROOT / "docs" / "img" / f"{name}.png"
    subprocess.run([sys.executable, "-m", "tests.report.chromium", page, out, *size], cwd=ROOT, check=True)
    with Image.open(out) as shown:
        shown.convert("RGB").quantize(N_COLOURS).save(out, optimize=True)


def terminal_picture(folder: Path) -> None:
    """The status as a terminal of light background shows it."""
    console = Console(record=True, width=COLUMNS, file=(folder / "shown.txt").open("w"), color_system="standard")
    console.print(Text(f"$ isoflop status {SWEEP}", style="bold"))
    shown = (folder / "status.txt").read_text()
    console.print(Text.from_ansi(shown))
    page = folder / "status.html"
    page.write_text(console.export_html(inline_styles=True, code_format=TERMINAL_PAGE), encoding="utf-8")
    height = LINE_HEIGHT * (1 + len(shown.splitlines())) + 2 * MARGIN
    picture(page, "status", "--width", str(TERMINAL_WIDTH), "--height", str(height))


def main(folder: Path) -> None:
    """Train unless done, then renew pages and pictures."""
    if not (folder / "run.txt").exists():
        train(folder)
    fit = said(isoflop(folder, "fit", SWEEP))
    report = said(isoflop(folder, "report", SWEEP, "--out", "report"))
    for name in COPIED:
        shutil.copy(folder / "report" / name, ROOT / "docs" / "quickstart" / name)
    transcripts: dict[str, Callable[[], str]] = {
        "plan": lambda: plan_quoted((folder / "plan.txt").read_text()),
        "run": lambda: run_quoted((folder / "run.txt").read_text()),
        "fit": lambda: fit_quoted(fit),
        "report": lambda: report,
    }
    for name, text in transcripts.items():
        options = " --out report" if name == "report" else ""
        quote(GUIDE, f"$ isoflop {name} {SWEEP}{options}\n", text())
    quote(README, "figure.png)\n\n```\n", answer_quoted((folder / "report" / "report.md").read_text()))
    for name, (width, height) in PAGE_PICTURES.items():
        picture(folder / "report" / "index.html", name, "--width", str(width), "--height", str(height))
    terminal_picture(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
