"""benchmarks/train_throughput.py: its document says what was measured, and its figures belong together."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from train_throughput import LADDERS, case_of, table

from isoflop.step_library import usable_instructions

ROOT = Path(__file__).parents[2]


@pytest.mark.slow(7)
def test_a_shape_is_measured_beside_the_plain_loop() -> None:
    command = [sys.executable, "benchmarks/train_throughput.py", "--shapes", "2x6", "--repeats", "2"]
    done = subprocess.run(
        [*command, "--no-compile", "--json"], cwd=ROOT, capture_output=True, text=True, timeout=250, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert (document["device_kind"], document["repeats"], document["n_threads"]) == ("cpu", 2, 1)
    assert document["clock"] == "CPU time of the process"
    (row,) = document["shapes"]
    assert (row["shape"], row["batch_tokens"], row["dtype"]) == ("2x6", 192, "float32")
    assert (row["step"], row["instructions"]) == ("native" if usable_instructions() else "eager", usable_instructions())
    # Per token: 6 per weight of 2 layers (4 of 6 x 6, 3 of 6 x 16) and of the head; attention over the whole context.
    assert row["flops_per_step"] == 192 * (6 * (2 * (4 * 36 + 3 * 96) + 6 * 257) + 12 * 2 * 64 * 6)
    assert set(row["roads"]) == {"isoflop", "plain"}
    assert (row["times_compiled"], row["not_compiled"]) == (None, "--no-compile")
    for road in row["roads"].values():
        assert 0 < road["least"] <= road["seconds_per_step"] <= road["most"]
        assert road["tokens_per_second"] == pytest.approx(192 / road["seconds_per_step"])
        share = row["flops_per_step"] / road["seconds_per_step"] / row["ceiling_flops_per_second"]
        assert road["ceiling_share"] == pytest.approx(share)
    ours, plain = row["roads"]["isoflop"], row["roads"]["plain"]
    assert row["times_plain"] == pytest.approx(ours["tokens_per_second"] / plain["tokens_per_second"])
    text = table(document)
    assert "not compiled: --no-compile" in text[-1]
    assert f"{ours['tokens_per_second']:,.0f}" in text[-1]


def test_a_shape_beside_the_ladder_is_trained_like_the_next_wider_one() -> None:
    ladder = LADDERS["cpu"]
    assert case_of("3x36", ladder) == (3, 36, 64, 2)
    assert case_of("5x48", ladder)[:2] == (5, 48)
    assert case_of("5x48", ladder)[2:] == case_of("4x64", ladder)[2:]
    assert case_of("4x2048", ladder)[2:] == ladder[-1][2:]
    for wrong in ("4", "4x", "axb", "0x64", "2x7", "2x6x3"):
        with pytest.raises(ValueError):
            case_of(wrong, ladder)
