"""What trackers write, read back by the libraries themselves; skipped where these are missing (`make test-track`)."""

import json
import os
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isoflop.track.mlflow_files import MlflowFiles
from isoflop.track.tensorboard_files import TensorBoardFiles
from isoflop.track.wandb_offline import WandbOffline
from tests.cli.test_cli_surface import SIMULATED
from tests.commands import isoflop
from tests.track.track_examples import CURVE, make_fit, make_tracked, png

TRACK = '[track]\ntensorboard = "runs/"\nwandb = "demo project"\nmlflow = "file:mlruns"\n'


def board(folder: Path) -> Any:
    """TensorBoard's own reader of a folder."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    read = accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    read.Reload()
    return read


def test_tensorboard_reads_curve_losses_parameters_and_figure(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    tracker = TensorBoardFiles(tmp_path)
    assert tracker.known("demo") == set()
    tracker.add(make_tracked())
    tracker.add(make_tracked("0123-diverged", status="diverged", reason="loss was not finite"))
    tracker.conclude(make_fit())
    tracker.conclude(make_fit())  # in the place of the first
    assert tracker.known("demo") == {"6b71faa31031", "0123-diverged"}
    run = board(tmp_path / "demo" / "C 1.00e11" / "N 25.3k seed 0 6b71faa31031")
    curve = run.Scalars("loss/training")
    assert [(at.step, at.value) for at in curve] == [(at.step, pytest.approx(at.loss)) for at in CURVE]
    assert curve[-1].wall_time == 1_800_000_000.0 and curve[0].wall_time == pytest.approx(1_800_000_000 - 59.5)
    assert [(at.step, at.value) for at in run.Scalars("result/val_loss")] == [(1200, 3.25)]
    assert parameters(run) == {
        "budget_flops": 1e11, "n_params_total": 25_300.0, "n_tokens": 307_200.0, "seed": 3.0, "role": "grid"
    }  # fmt: skip
    diverged = board(tmp_path / "demo" / "C 1.00e11" / "N 25.3k seed 0 0123-diverged")
    assert "result/val_loss" not in diverged.Tags()["scalars"]
    assert diverged.Tensors("result/reason")[0].tensor_proto.string_val[0] == b"diverged: loss was not finite"
    fit = board(tmp_path / "demo" / "fit")
    (image,) = fit.Images("fit/figure")
    assert (image.encoded_image_string, image.width, image.height) == (png(), 2, 3)
    assert fit.Scalars("fit/exponent_a")[0].value == 0.5


def parameters(run: Any) -> dict[str, object]:
    """What the HParams tab shows."""
    from tensorboard.plugins.hparams import metadata

    content = run.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    info = metadata.parse_session_start_info_plugin_data(content)
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in info.hparams.items()}


@pytest.fixture
def wandb_tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbOffline]:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "online")  # whatever a person has set
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    tracker = WandbOffline(tmp_path, "demo project")
    yield tracker
    tracker.close()


def records(folder: Path) -> list[Any]:
    """The records of an offline run in the library's own message types.

    Its reader is a program in Go that sends what it reads. The frame is LevelDB's log format after a header of 7 bytes:
    blocks of 32 KiB, in each a checksum of four bytes, a length of two and a kind (whole, first, middle, last).
    """
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("*.wandb")
    content, at, parts, found = path.read_bytes(), 7, b"", []
    assert content[:4] == b":W&B"
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:  # too short for a frame: filled with zeros
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            found.append(Record.FromString(parts))
            parts = b""
    return found


def items(update: Any) -> dict[str, object]:
    return {item.key or item.nested_key[0]: json.loads(item.value_json) for item in update}


def test_wandb_reads_curve_summary_and_configuration_of_runs_that_stayed_offline(
    tmp_path: Path, wandb_tracker: WandbOffline
) -> None:
    (tmp_path / "wandb" / "offline-run-20200101_000000-6b71faa31031").mkdir(parents=True)  # of a killed command
    wandb_tracker.add(make_tracked())
    wandb_tracker.conclude(make_fit())
    wandb_tracker.conclude(make_fit())
    assert wandb_tracker.known("demo") >= {"6b71faa31031"}
    (folder,) = (tmp_path / "wandb").glob("offline-run-*-6b71faa31031")
    read = records(folder)
    (run,) = [record.run for record in read if record.HasField("run")]
    assert (run.project, run.run_id, run.run_group) == ("demo project", "6b71faa31031", "demo")
    config = items(run.config.update)
    assert (config["n_params_total"], config["seed"], config["simulated"]) == (25_300, 3, False)
    curve = [items(record.history.item) for record in read if record.HasField("history")]
    assert [(at["_step"], at["training_loss"]) for at in curve] == [(at.step, at.loss) for at in CURVE]
    summary: dict[str, object] = {}
    for record in read:
        if record.HasField("summary"):
            summary |= items(record.summary.update)
    assert (summary["val_loss"], summary["status"]) == (3.25, "completed")
    (fit,) = (tmp_path / "wandb").glob("offline-run-*-fit-demo")
    (image,) = (fit / "files" / "media" / "images").glob("*.png")
    assert image.read_bytes() == png()


def test_mlflow_reads_curve_losses_parameters_and_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # whatever a person has set
    tracker = MlflowFiles(tmp_path)
    assert tracker.known("demo") == set()
    tracker.add(make_tracked())
    tracker.add(make_tracked("0123-diverged", status="diverged", reason="loss was not finite"))
    tracker._begin("demo", "killed", "x", {}, started_at=0.0)
    assert tracker.known("demo") == {"6b71faa31031", "0123-diverged"}
    tracker.add(make_tracked("killed"))
    tracker.conclude(make_fit())
    tracker.conclude(make_fit())
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tmp_path.as_uri())
    experiment = client.get_experiment_by_name("demo")
    runs = {run.data.tags["isoflop.key"]: run for run in client.search_runs([experiment.experiment_id])}
    assert len(client.search_runs([experiment.experiment_id])) == 4 and runs.keys() == {
        "6b71faa31031", "0123-diverged", "killed", "fit"
    }  # fmt: skip
    run = runs["6b71faa31031"]
    assert run.data.params["n_params_total"] == "25300" and run.data.metrics["val_loss"] == 3.25
    history = sorted(client.get_metric_history(run.info.run_id, "training_loss"), key=lambda at: at.step)
    assert [(at.step, at.value) for at in history] == [(at.step, at.loss) for at in CURVE]
    assert (run.info.run_name, run.info.end_time) == ("C 1.00e11 N 25.3k seed 0", 1_800_000_000_000)
    assert runs["0123-diverged"].info.status == "FAILED"
    assert runs["0123-diverged"].data.tags["isoflop.reason"] == "loss was not finite"
    figure = client.download_artifacts(runs["fit"].info.run_id, "fit.png", str(tmp_path))
    assert Path(figure).read_bytes() == png() and runs["fit"].data.metrics["exponent_a"] == 0.5


@pytest.mark.slow
def test_a_sweep_is_tracked_once_whatever_was_killed_or_deleted(tmp_path: Path) -> None:
    for library in ("tensorboard", "wandb", "mlflow"):
        pytest.importorskip(library)
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "drawn.toml").write_text(SIMULATED + TRACK)
    done = isoflop("run", "s/drawn.toml", folder=tmp_path)
    assert "left out" not in done.stderr and "not written" not in done.stderr
    kept = tracked(tmp_path / "s")
    assert {name: len(found) for name, found in kept.items()} == {"tensorboard": 22, "wandb": 22, "mlflow": 22}
    lost = sorted(kept["tensorboard"])[0]
    shutil.rmtree(lost)
    (tmp_path / "isoflop.db").unlink()  # every result is read again from its directory
    again = isoflop("run", "s/drawn.toml", folder=tmp_path)
    assert "left out" not in again.stderr
    assert {name: len(found) for name, found in tracked(tmp_path / "s").items()} == {
        "tensorboard": 22, "wandb": 22, "mlflow": 22
    }  # fmt: skip
    assert lost.exists()
    values = board(tmp_path / "s" / "runs" / "drawn" / "fit").Tags()
    assert "fit/exponent_a" in values["scalars"] and "fit/figure" in values["images"]


def tracked(folder: Path) -> dict[str, set[Path]]:
    """Where every run and the fit lie."""
    return {
        "tensorboard": {path.parent for path in (folder / "runs").rglob("events.out.*")},
        "wandb": {path.parent for path in (folder / "wandb").glob("offline-run-*/isoflop-whole")},
        "mlflow": {path.parent for path in (folder / "mlruns").glob("*/*/meta.yaml") if is_active(path)},
    }


def is_active(meta: Path) -> bool:
    return "lifecycle_stage: active" in meta.read_text() and os.sep + "0" + os.sep not in str(meta)
