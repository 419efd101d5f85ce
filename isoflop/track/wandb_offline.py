"""Weights & Biases, offline: `wandb/offline-run-...` beside the sweep file, for a person to `wandb sync` one day."""

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from isoflop.track.tracked import TrackedFit, TrackedRun

# In the folder of a run that is whole.
_WHOLE = "isoflop-whole"
# Of what their servers take for an id.
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_-]")


class WandbOffline:
    """Runs that the library writes to the disk; it is told to be offline whatever the environment says."""

    name = "Weights & Biases"

    def __init__(self, folder: Path, project: str) -> None:
        self._folder, self._project = folder, project

    def known(self, sweep: str) -> set[str]:
        """Keys of the runs whose folders say that they are whole."""
        return {path.read_text() for path in self._folder.glob(f"wandb/offline-run-*/{_WHOLE}")}

    def add(self, run: TrackedRun) -> None:
        """The run's curve over optimizer steps, its losses in the summary, and its parameters as the configuration."""
        config = {**run.parameters, "simulated": run.simulated}
        tags = [run.status, *(["simulated"] if run.simulated else [])]
        wandb_run = self._begin(run.key, name=f"{run.group} {run.name}", group=run.sweep, config=config, tags=tags)
        for at in run.curve:
            wandb_run.log({"training_loss": at.loss, "n_tokens": at.n_tokens}, step=at.step)
        wandb_run.summary.update({**run.outcome, "status": run.status, "reason": run.reason})
        self._end(wandb_run, run.key)

    def conclude(self, fit: TrackedFit) -> None:
        """A run named after the fit, with the figure and the numbers."""
        import wandb

        config = {"simulated": fit.simulated}
        key = f"fit-{fit.sweep}"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "fit.png"
            path.write_bytes(fit.figure)
            wandb_run = self._begin(key, name=f"fit {fit.sweep}", group=fit.sweep, config=config, tags=["fit"])
            wandb_run.log({"figure": wandb.Image(str(path))})
            wandb_run.summary.update(dict(fit.values))
            self._end(wandb_run, key)

    def close(self) -> None:
        """End the library's own process."""
        import wandb

        wandb.teardown()

    def _begin(self, key: str, **said: Any) -> Any:
        # Read when the library is loaded: reports of its own errors go over the network.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        for unfinished in self._folder.glob(f"wandb/offline-run-*-{_id(key)}"):
            shutil.rmtree(unfinished)
        settings = wandb.Settings(
            console="off", silent=True, disable_git=True, save_code=False, x_disable_stats=True, x_disable_meta=True
        )
        return wandb.init(
            project=self._project,
            dir=str(self._folder),
            id=_id(key),
            mode="offline",
            reinit="create_new",
            settings=settings,
            **said,
        )

    def _end(self, wandb_run: Any, key: str) -> None:
        folder = Path(wandb_run.dir).parent
        wandb_run.finish()
        (folder / _WHOLE).write_text(key)


def _id(key: str) -> str:
    return _NOT_IN_IDS.sub("-", key)
