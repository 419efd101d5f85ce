"""Everything that needs a GPU, in one command: is it right, and how fast is it?

    python benchmarks/gpu.py [--out gpu] [--rehearse] [PART ...]

Parts, each with a time box, each failing alone: tests, sweep, foresight, steps, losses, packing, memory. What was
measured stays in the folder, a JSON line each: the same command goes on where it was. At the end it writes gpu.json and
gpu.md with tables for docs/benchmarks.md. `--rehearse` takes the same road on a CPU, in sizes that show only that the
code runs.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
# Seconds on a card of the H100 class, with room.
BOXES = {"tests": 70, "sweep": 110, "foresight": 190, "steps": 150, "losses": 110, "packing": 110, "memory": 100}
REHEARSAL_BOX = 120


def main() -> int:
    """Run the parts in processes of their own; 1 where one of them failed or took too long."""
    arguments = _arguments()
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if arguments.part:
        return _part(arguments.part, out, rehearsal=arguments.rehearse)
    failed = []
    for name in arguments.parts or BOXES:
        done = out / f"{name}.done"
        if done.exists():
            print(f"{name}: measured before, in {done.read_text()} s", flush=True)
            continue
        print(f"{name} [{datetime.now():%H:%M:%S}]", flush=True)
        begun = time.monotonic()
        how = _run(name, out, rehearsal=arguments.rehearse)
        took = time.monotonic() - begun
        print(f"{name}: {how} after {took:.0f} s", flush=True)
        if how == "done":
            done.write_text(f"{took:.0f}")
        else:
            failed.append(name)
    _summarise(out, rehearsal=arguments.rehearse)
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(BOXES)}; all where none is named")
    parser.add_argument("--out", type=Path, default=Path("gpu"), help="folder for what is measured (gpu)")
    parser.add_argument("--rehearse", action="store_true", help="on a CPU, in sizes that show only that the code runs")
    parser.add_argument("--part", choices=list(BOXES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for name in arguments.parts:
        if name not in BOXES:
            parser.error(f"there is no part {name!r}; there are {', '.join(BOXES)}")
    return arguments


def _run(name: str, out: Path, *, rehearsal: bool) -> str:
    """The part in a process group of its own, which ends with its time box; what became of it."""
    if name == "tests":
        marked = (
            ["-m", "not slow", "tests/train/test_train_step_graph.py"] if rehearsal else ["-m", "gpu", "tests/train"]
        )
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *marked]
    else:
        command = [sys.executable, __file__, "--part", name, "--out", str(out), *(["--rehearse"] if rehearsal else [])]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    try:
        code = process.wait(REHEARSAL_BOX if rehearsal else BOXES[name])
    except subprocess.TimeoutExpired:
        code = None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return "out of time" if code is None else "done" if code == 0 else f"failed (exit code {code})"


def _part(name: str, out: Path, *, rehearsal: bool) -> int:
    import importlib

    from gpu_parts.common import Setting

    importlib.import_module(f"gpu_parts.{name}").main(Setting(out, rehearsal))
    rows = _rows(out, name)
    return 1 if any("error" in row for row in rows) else 0


def _rows(out: Path, name: str) -> list[dict[str, Any]]:
    path = out / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _summarise(out: Path, *, rehearsal: bool) -> None:
    """Write gpu.json and gpu.md from whatever was measured, and print the latter."""
    import importlib

    import torch

    device = (
        torch.cuda.get_device_name() if torch.cuda.is_available() and not rehearsal else f"CPU, {platform.machine()}"
    )
    machine = {
        "schema_version": 1,
        "date": datetime.now(UTC).date().isoformat(),
        "device": device,
        "rehearsal": rehearsal,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    parts = {name: _rows(out, name) for name in BOXES if _rows(out, name)}
    (out / "gpu.json").write_text(json.dumps({**machine, "parts": parts}, indent=1))
    lines = [
        f"{device}, torch {torch.__version__}, {machine['date']}"
        + (" (rehearsal: no figure counts)" if rehearsal else "")
    ]
    for name, rows in parts.items():
        lines += ["", f"### {name}", "", *importlib.import_module(f"gpu_parts.{name}").describe(rows)]
        lines += [f"failed: {json.dumps(row)}" for row in rows if "error" in row]
    text = "\n".join(lines) + "\n"
    (out / "gpu.md").write_text(text)
    print(text, flush=True)


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]
    sys.exit(main())
