"""`isoflop --help` against the `--help` of an empty typer application, in alternation.

python benchmarks/startup.py [REPEATS]
"""

import statistics
import subprocess
import sys
import time

EMPTY = "import typer\napp = typer.Typer()\n@app.command()\ndef nothing() -> None: ...\napp(['--help'])"
OURS = "from isoflop.__main__ import main\nimport sys\nsys.argv = ['isoflop', '--help']\nmain()"


def seconds(program: str) -> float:
    """Wall time of one interpreter that runs `program`."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def main() -> None:
    """Print medians and the median of the ratios, pair by pair."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    seconds(EMPTY), seconds(OURS)  # warm the file cache
    pairs = [(seconds(EMPTY), seconds(OURS)) for _ in range(repeats)]
    empty, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    print(f"empty typer application {empty:.3f} s, isoflop {ours:.3f} s, ratio {ratio:.2f} (median of {repeats} pairs)")


if __name__ == "__main__":
    main()
