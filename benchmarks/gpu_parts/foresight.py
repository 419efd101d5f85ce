"""What `plan --measure` foretells of a sweep on the GPU, and whether runs that share it end with the same bits."""

import json
import time
from pathlib import Path
from typing import Any

from gpu_parts.common import ROOT, Rows, Setting, finished, isoflop
from gpu_parts.sweep import SWEEP, losses_of


def main(setting: Setting) -> None:
    """Measure and run the sweep, packed as measuring says; then three runs at once, and one alone, for their bits."""
    rows = Rows(setting, "foresight")
    text = SWEEP if setting.rehearsal else (ROOT / "sweeps" / "gpu-smoke.toml").read_text()
    folders = {name: setting.out / name for name in ("foretold", "packed", "alone")}
    for folder in folders.values():
        folder.mkdir(exist_ok=True)
        (folder / "sweep.toml").write_text(text)
    rows.measure({"what": "foretold"}, lambda: _foretold(setting, folders["foretold"]))
    several = ("--workers", "2") if setting.rehearsal else ("--per-device", "3")
    one = ("--workers", "1") if setting.rehearsal else ("--per-device", "1")
    rows.measure({"what": "packed"}, lambda: _run(setting, folders["packed"], *several)[1])
    rows.measure({"what": "alone"}, lambda: _run(setting, folders["alone"], *one)[1])
    rows.measure({"what": "equal"}, lambda: _equal(*folders.values()))


def _foretold(setting: Setting, folder: Path) -> dict[str, Any]:
    """The measured estimate, and what the sweep then took."""
    begun = time.perf_counter()
    estimate = _document(isoflop("plan", "sweep.toml", "--measure", "--device", setting.kind, "--json", cwd=folder))
    measuring = time.perf_counter() - begun
    document, run = _run(setting, folder)
    left = estimate["estimate"]
    return {
        "measuring_seconds": measuring,
        "devices": left["devices"],
        "not_measured": left["not_measured"],
        "rests_on": left["rests_on"],
        "foretold_seconds": left["seconds"],
        "taken_seconds": document["seconds"],
        **run,
    }


def _run(setting: Setting, folder: Path, *options: str) -> tuple[dict[str, Any], dict[str, Any]]:
    document = _document(isoflop("run", "sweep.toml", "--device", setting.kind, *options, "--json", cwd=folder))
    return document, {"seconds": document["seconds"], "runs": document["runs"], "busy_share": document["busy_share"]}


def _document(process: Any) -> dict[str, Any]:
    code, output = finished(process, timeout=120)
    assert code == 0, output[-300:]
    return json.loads(output[output.index("{\n") :])


def _equal(*folders: Path) -> dict[str, Any]:
    """Runs whose losses differ in a bit between one alone and several at once."""
    losses = [losses_of(folder) for folder in folders]
    assert losses[0] and all(one.keys() == losses[0].keys() for one in losses), "a sweep did not come to its end"
    differing = [run_id for run_id, loss in losses[0].items() if any(one.get(run_id) != loss for one in losses)]
    return {"runs": len(losses[0]), "differing": differing}


def describe(rows: list[dict[str, Any]]) -> list[str]:
    """What happened, in sentences."""
    found = {row["what"]: row for row in rows if "error" not in row}
    lines = []
    if foretold := found.get("foretold"):
        seconds, taken, devices = foretold["foretold_seconds"], foretold["taken_seconds"], foretold["devices"]
        lines.append(
            f"`plan --measure` took {foretold['measuring_seconds']:.1f} s and foretold {seconds:.1f} s on "
            f"{len(devices)} x {devices[0]}; the sweep took {taken:.1f} s ({seconds / taken - 1:+.1%})."
        )
    if (packed := found.get("packed")) and (alone := found.get("alone")):
        lines.append(f"Several runs at once: {packed['seconds']:.1f} s; one alone: {alone['seconds']:.1f} s.")
    if equal := found.get("equal"):
        lines.append(f"Of {equal['runs']} runs {len(equal['differing'])} ended with other bits beside others.")
    return lines
