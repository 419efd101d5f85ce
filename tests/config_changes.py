"""Every key of a sweep file with another value for it, and every number of a run, each with what it must change."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from isoflop.plan.types import Plan
from isoflop.rundir import RunDir
from isoflop.shape import ModelShape
from isoflop.sources.load import load_source
from isoflop.spec import EngineSpec, load_spec
from isoflop.sweep.session import open_session
from isoflop.track import wanted_trackers
from tests.run_examples import OPTIMIZER
from tests.store.store_examples import make_result

Content = Mapping[str, Any]

BASE: Content = {
    "name": "base",
    "budgets": [4e10, 1e11],
    "grid": {"sizes": 5, "half_width": 0.3},
    "model": {"context_length": 32},
    "corpus": {"source": "files", "paths": ["text"], "heldout_fraction": 0.1},
    "recipe": {"min_steps": 20, "max_epochs": 1000.0},
    "evaluation": {"tokens": 1024},
}

# Another value for each key (or the whole section, where it cannot change alone), and the part of what is observed
# that it must change. `fetched`: other cells, by a library that is not always there.
_RECORDS: Content = {"source": "jsonl", "paths": ["more"], "heldout_fraction": 0.1}
_TOKENS: Content = {"source": "tokens", "paths": ["more"], "vocab_size": 300, "heldout_fraction": 0.1}
_FETCHED: Content = {"source": "hf", "dataset": "more/set", "max_bytes": 10**6, "heldout_fraction": 0.1}
# That they reach the clusters: tests/engine/test_engine_slurm_words.py, tests/engine/test_engine_ray_words.py.
SLURM_VALUES: Content = {
    "jobs": 3, "partition": "long", "account": "lab", "qos": "low", "time": "10", "gres": "gpu:1", "constraint": "h100",
    "cpus_per_task": 2, "mem": "4G", "exclude": "n7", "sbatch": ["--reservation=july"], "python": "/opt/python",
    "setup": "setup.sh", "lanes_per_device": 2, "signal_seconds": 90, "idle_seconds": 77.0, "poll_seconds": 3.0,
}  # fmt: skip
RAY_VALUES: Content = {
    "address": "head:6379", "jobs": 3, "num_gpus": 0.5, "num_cpus": 2.0, "memory": 10**9, "resources": {"big": 1.0},
    "python": "/opt/python", "storage": "copied", "lanes_per_device": 2, "grace_seconds": 33.0, "idle_seconds": 77.0,
    "poll_seconds": 3.0,
}  # fmt: skip
CHANGES: Mapping[str, tuple[object, str]] = {
    "name": ("other", "label"),
    "budgets": ([4e10, 2e11], "cells"),
    "trainer": ("simulated", "simulated"),
    "grid.sizes": (7, "cells"),
    "grid.half_width": (0.4, "cells"),
    "grid.center_tokens_per_param": (40.0, "cells"),
    "grid.center_n_params": ([3e4], "cells"),
    "grid.lattice": (True, "cells"),
    "grid.seeds": (2, "cells"),
    "grid.center_seeds": (1, "cells"),
    "grid.first_seed": (7, "cells"),
    "model.context_length": (64, "cells"),
    "model.head_dim": (8, "cells"),
    "model.aspect_ratio": (4.0, "cells"),
    "corpus.source": ({"source": "python-stdlib"}, "cells"),
    "corpus.paths": (["more"], "cells"),
    "corpus.pattern": ("**/0*.txt", "cells"),
    "corpus.heldout_fraction": (0.3, "cells"),
    "corpus.tokens": (10**9, "findings"),
    "corpus.field": ({**_RECORDS, "field": "body"}, "cells"),
    "corpus.vocab_size": (_TOKENS, "cells"),
    "corpus.bytes_per_token": ({**_TOKENS, "bytes_per_token": 4.5}, "cells"),
    "corpus.separator": ({**_TOKENS, "separator": 7}, "cells"),
    "corpus.format": ({**_TOKENS, "format": "nanogpt"}, "cells"),
    "corpus.heldout": ({**_TOKENS, "heldout": "more/held.bin"}, "cells"),
    "corpus.dataset": (_FETCHED, "fetched"),
    "corpus.subset": ({**_FETCHED, "subset": "default"}, "fetched"),
    "corpus.split": ({**_FETCHED, "split": "train"}, "fetched"),
    "corpus.revision": ({**_FETCHED, "revision": "main"}, "fetched"),
    "corpus.max_bytes": ({**_FETCHED, "max_bytes": 10**5}, "fetched"),
    "corpus.mix": (
        {
            "mix": [{"source": "files", "paths": [name], "weight": 1} for name in ("text", "more")],
            "heldout_fraction": 0.1,
        },
        "cells",
    ),
    "tokenizer.kind": ({"kind": "bpe", "vocab_size": 270}, "cells"),
    "tokenizer.vocab_size": ({"kind": "bpe", "vocab_size": 264}, "cells"),
    "tokenizer.path": ({"kind": "file", "path": "more/tokenizer.json", "separator": "<|endoftext|>"}, "cells"),
    "tokenizer.separator": ({"kind": "file", "path": "more/tokenizer.json", "separator": "</s>"}, "cells"),
    "recipe.optimizer": ("sgd", "cells"),
    "recipe.momentum": ({"optimizer": "sgd", "momentum": 0.5, "min_steps": 20, "max_epochs": 1000.0}, "cells"),
    "recipe.matrix_learning_rate": (
        {"optimizer": "muon", "matrix_learning_rate": 0.01, "min_steps": 20, "max_epochs": 1000.0},
        "cells",
    ),
    "recipe.learning_rate": (0.01, "cells"),
    "recipe.base_width": (64, "cells"),
    "recipe.base_batch_tokens": (384.0, "cells"),
    "recipe.base_tokens": (1e5, "cells"),
    "recipe.batch_exponent": (0.9, "cells"),
    "recipe.warmup_fraction": (0.1, "cells"),
    "recipe.cooldown_fraction": (0.2, "cells"),
    "recipe.cooldown_shape": ("one_minus_sqrt", "cells"),
    "recipe.decay_per_run": (0.25, "cells"),
    "recipe.beta1": (0.8, "cells"),
    "recipe.beta2": (0.95, "cells"),
    "recipe.epsilon": (1e-6, "cells"),
    "recipe.grad_clip": (0.5, "cells"),
    "recipe.min_steps": (3000, "dropped"),
    "recipe.max_epochs": (3.0, "dropped"),
    "evaluation.tokens": (2048, "cells"),
    "evaluation.probes": (True, "probes"),
    "run.keep": ("none", "weights"),
    "run.stall_seconds": (77.0, "stall_seconds"),
    "run.devices_per_run": (2, "findings"),
    "fit.params": ("matmul", "sizes"),
    "track.tensorboard": ("board", "trackers"),
    "track.wandb": ("project", "trackers"),
    "track.mlflow": ("file:runs", "trackers"),
    **{f"engine.slurm.{key}": (value, "place") for key, value in SLURM_VALUES.items()},
    **{f"engine.ray.{key}": (value, "place") for key, value in RAY_VALUES.items()},
    "goal": ({"target": 1e12, "within": 2.0, "max_hours": 3.0}, "goal"),
}

# Another value for each number of a run. The rest says which code trains, on which tokens.
RUN_CHANGES: Mapping[str, object] = {
    "shape.n_layers": 3,
    "shape.width": 20,
    "shape.n_heads": 2,
    "shape.head_dim": 8,
    "shape.d_ff": 48,
    "shape.vocab_size": 300,
    "shape.context_length": 16,
    "n_steps": 41,
    "batch_sequences": 5,
    "schedule.warmup_steps": 5,
    "schedule.cooldown_steps": 10,
    "schedule.cooldown_shape": "one_minus_sqrt",
    "optimizer.kind": "sgd",
    "optimizer.momentum": {**OPTIMIZER.model_dump(), "kind": "muon", "momentum": 0.5},
    "optimizer.writing_rate_scale": 0.5,
    "optimizer.learning_rate": 0.02,
    "optimizer.hidden_rate_scale": 1.0,
    "optimizer.head_rate_scale": 1.0,
    "optimizer.decay_per_step": 0.01,
    "optimizer.beta1": 0.8,
    "optimizer.beta2": 0.9,
    "optimizer.epsilon": 1e-4,
    "optimizer.grad_clip": 0.1,
    "seed": 1,
    "eval_tokens": 256,
}
NOT_TRAINED = {"trainer", "numerics", "corpus_fingerprint", "tokenizer", "factory"}


@dataclass(frozen=True)
class Observed:
    """What becomes of a sweep file: its plan, what a fit reads, and how its runs are looked after.

    Attributes:
        cells: role, budget and id of every run.
        weights: how many runs' weights stay.
        trackers: where else the sweep is shown.
        place: how clusters would be asked for room.
    """

    label: str
    cells: tuple[tuple[str, float, str], ...]
    dropped: tuple[object, ...]
    findings: tuple[object, ...]
    sizes: tuple[float, ...]
    simulated: bool
    weights: int
    stall_seconds: float
    probes: bool
    trackers: tuple[str, ...]
    place: EngineSpec
    goal: object


def leaves(kind: Any, prefix: str = "") -> Iterator[str]:
    """The dotted names of all values in a pydantic model or dataclass, sections opened."""
    if is_dataclass(kind):
        yield from (f"{prefix}{field.name}" for field in fields(kind))
        return
    for name, field in kind.model_fields.items():
        inner = ModelShape if name == "shape" else field.annotation  # the other kind of shape is a factory's
        is_section = isinstance(inner, type) and (issubclass(inner, BaseModel) or is_dataclass(inner))
        yield from leaves(inner, f"{prefix}{name}.") if is_section else [f"{prefix}{name}"]


def changed(content: Content, key: str, value: object) -> dict[str, Any]:
    """`content` with another value at the dotted `key`, or with another section around it."""
    section, _, name = key.rpartition(".")
    if not section or (isinstance(value, Mapping) and not section.startswith("engine.")):
        return {**content, section or name: value}
    return {**content, section: {**content.get(section, {}), name: value}}


def as_toml(content: Content) -> str:
    """The content of a sweep file; JSON's numbers, strings and lists are TOML's too."""
    lines = [f"{key} = {_as_toml(value)}" for key, value in content.items() if not isinstance(value, Mapping)]
    for section, values in content.items():
        if isinstance(values, Mapping):
            lines += [f"[{section}]", *(f"{key} = {_as_toml(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def _as_toml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_as_toml(inner)}" for key, inner in value.items()) + "}"
    return f"[{', '.join(map(_as_toml, value))}]" if isinstance(value, list) else json.dumps(value)


def answer(artifacts: Path, plan: Plan, wrong: Mapping[str, Content] | None = None) -> None:
    """Write a result file and weights for every run of the plan, as a trainer of another make does.

    Every valley has its floor where N = 20 thousand x (C / 4e10)^0.5. `wrong` replaces fields of results, by run.
    """
    for run_id, run in plan.runs.items():
        offset = math.log10(run.shape.n_params_total / 2e4 * (4e10 / run.planned_flops) ** 0.5)
        content = {"val_loss": 2 + 0.4 * offset**2, **(wrong or {}).get(run_id, {})}
        run_dir = RunDir(artifacts / run_id)
        run_dir.checkpoint_dir.mkdir(parents=True)
        run_dir.weights_path(run_id).write_bytes(b"weights")
        run_dir.result_path(run_id).write_text(make_result(run, **content).model_dump_json())


def observe(folder: Path, content: Content) -> Observed:
    """Plan the sweep in `folder`, take in the results of a trainer of another make, and look at everything."""
    file, db, artifacts = folder / "sweep.toml", folder / "isoflop.db", folder / "artifacts"
    file.write_text(as_toml(content))
    with open_session(file, db, artifacts, device="cpu", workers=1, retry=False) as session:
        plan, engine = session.plan, session.engine
        answer(artifacts, plan)
        assert len(list(session.events())) == len(plan.runs)
    source = load_source(str(file), db=db, sweep=None)
    return Observed(
        label=source.label,
        cells=tuple((cell.role.value, cell.budget_flops, cell.run.run_id) for cell in plan.cells),
        dropped=plan.dropped,
        findings=plan.findings,
        sizes=source.columns_of_fit["n_params"],
        simulated=source.simulated,
        weights=len(list(artifacts.glob("*/checkpoint/*.weights.safetensors"))),
        stall_seconds=engine._stall_seconds,
        probes=engine._probes,
        trackers=tuple(f"{one.library} {one.place.name}" for one in wanted_trackers(load_spec(file).track, folder)),
        place=load_spec(file).engine,
        goal=session.growth.spec.goal,
    )
