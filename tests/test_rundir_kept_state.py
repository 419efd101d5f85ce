"""What a state to resume from says of itself, also where it is none."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from isoflop.rundir.kept_state import holds_weights, kept_tokens
from isoflop.train.checkpoint import save_weights
from isoflop.train.model import build_model
from tests.run_examples import RUN

GOOD = save({"a": torch.zeros(3)}, {"run_id": "one", "progress": json.dumps({"step": 2, "n_tokens": 512})})


def test_the_tokens_are_those_of_the_counters(tmp_path: Path) -> None:
    (path := tmp_path / "state").write_bytes(GOOD)
    assert kept_tokens(path, "one") == 512
    assert kept_tokens(path, "another") == 0


@pytest.mark.parametrize(
    "content",
    [
        b"", GOOD[:5], GOOD[:40], b"not a checkpoint" * 10, b"\xff" * 64, (2).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]", save({"a": torch.zeros(1)}), save({"a": torch.zeros(1)}, {"run_id": "one"}),
        save({"a": torch.zeros(1)}, {"run_id": "one", "progress": "3"}),
    ],
    # Named: the library writes its metadata in another order in each process, and each collects the tests.
    ids=[
        "empty", "no length", "no whole header", "text", "a length beyond all files", "no metadata", "a list", "no run",
        "no progress", "a progress of one number",
    ],
)  # fmt: skip
def test_a_file_that_is_no_state_keeps_nothing(tmp_path: Path, content: bytes) -> None:
    (path := tmp_path / "state").write_bytes(content)
    assert kept_tokens(path, "one") == 0


def test_a_state_that_is_not_there_keeps_nothing(tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    for path in (tmp_path / "state", tmp_path, pipe):
        assert kept_tokens(path, "one") == 0


def test_weights_are_whole_and_of_their_run_or_none(tmp_path: Path) -> None:
    save_weights(path := tmp_path / "w", RUN.run_id, build_model(RUN.shape, seed=0))
    assert holds_weights(path, RUN)
    assert not holds_weights(path, RUN.model_copy(update={"seed": 1})), "another run's"
    whole = path.read_bytes()
    for content in (whole[:-1], whole[:1000], whole + b"x", b"", b"text", (2).to_bytes(8, "little") + b"{}"):
        path.write_bytes(content)
        assert not holds_weights(path, RUN)
    smaller = type(RUN.shape)(**{**RUN.shape.as_dict(), "d_ff": 40})
    save_weights(path, RUN.run_id, build_model(smaller, seed=0))
    assert not holds_weights(path, RUN)
    assert not holds_weights(tmp_path, RUN) and not holds_weights(tmp_path / "none", RUN)
