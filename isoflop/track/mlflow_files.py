"""MLflow in its local file store: an experiment per sweep, a run per run."""

import os
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

from isoflop.track.tracked import TrackedFit, TrackedRun

_KEY, _FIT = "isoflop.key", "fit"
# Of one call (mlflow.utils.validation).
_MOST_METRICS = 1000


class MlflowFiles:
    """Runs in a file store, which `mlflow ui --backend-store-uri FOLDER` shows."""

    name = "MLflow"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._experiments: dict[str, str] = {}

    def known(self, sweep: str) -> set[str]:
        """Keys of the runs that are marked as finished."""
        whole = (run for run in self._runs(sweep) if run.info.status in ("FINISHED", "FAILED"))
        return {run.data.tags[_KEY] for run in whole if _KEY in run.data.tags}

    def add(self, run: TrackedRun) -> None:
        """The run's curve over optimizer steps, its losses, and its parameters."""
        from mlflow.entities import Metric, Param

        self._drop_unfinished(run.sweep, run.key)
        tags = {"isoflop.status": run.status, "isoflop.simulated": str(run.simulated).lower()}
        if run.reason is not None:
            tags["isoflop.reason"] = run.reason
        made = self._begin(run.sweep, run.key, f"{run.group} {run.name}", tags, started_at=run.time_of(0))
        last = run.curve[-1].step if run.curve else 0
        metrics = [Metric("training_loss", at.loss, _milli(run.time_of(at.step)), at.step) for at in run.curve]
        metrics += [Metric(name, value, _milli(run.ended_at), last) for name, value in run.outcome.items()]
        self._client.log_batch(made, params=[Param(name, str(value)) for name, value in run.parameters.items()])
        for begin in range(0, len(metrics), _MOST_METRICS):
            self._client.log_batch(made, metrics=metrics[begin : begin + _MOST_METRICS])
        status = "FINISHED" if run.status == "completed" else "FAILED"
        self._client.set_terminated(made, status=status, end_time=_milli(run.ended_at))

    def conclude(self, fit: TrackedFit) -> None:
        """A run named after the fit, with the figure and the numbers, in the place of the one before."""
        from mlflow.entities import Metric

        before = [run.info.run_id for run in self._runs(fit.sweep) if run.data.tags.get(_KEY) == _FIT]
        tags = {"isoflop.simulated": str(fit.simulated).lower()}
        made = self._begin(fit.sweep, _FIT, f"fit {fit.sweep}", tags, started_at=fit.made_at)
        at = _milli(fit.made_at)
        self._client.log_batch(made, metrics=[Metric(name, value, at, 0) for name, value in fit.values.items()])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "fit.png"
            path.write_bytes(fit.figure)
            self._client.log_artifact(made, str(path))
        self._client.set_terminated(made, end_time=at)
        for run_id in before:
            self._client.delete_run(run_id)

    def close(self) -> None:
        """Nothing is held."""

    @cached_property
    def _client(self) -> Any:
        # Read when the library is loaded. Usage is otherwise reported over the network; and of stores of files the
        # library says that they will see no new features.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self._folder.as_uri())

    def _experiment(self, sweep: str) -> str:
        if sweep not in self._experiments:
            found = self._client.get_experiment_by_name(sweep)
            self._experiments[sweep] = found.experiment_id if found else self._client.create_experiment(sweep)
        return self._experiments[sweep]

    def _runs(self, sweep: str) -> list[Any]:
        found, token = [], None
        while True:
            page = self._client.search_runs([self._experiment(sweep)], page_token=token)
            found += list(page)
            token = page.token
            if not token:
                return found

    def _drop_unfinished(self, sweep: str, key: str) -> None:
        """What an interrupted command left of the run."""
        asked = f"tags.`{_KEY}` = '{key}' and attributes.status = 'RUNNING'"
        for run in self._client.search_runs([self._experiment(sweep)], filter_string=asked):
            self._client.delete_run(run.info.run_id)

    def _begin(self, sweep: str, key: str, name: str, tags: dict[str, str], *, started_at: float) -> str:
        made = self._client.create_run(
            self._experiment(sweep), start_time=_milli(started_at), run_name=name, tags={**tags, _KEY: key}
        )
        return str(made.info.run_id)


def _milli(seconds: float) -> int:
    return int(seconds * 1000)
