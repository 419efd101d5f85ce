"""A sweep whose models a factory of the user's own builds: the hash of its file, and its sizes, counted by torch."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from isoflop.corpus_facts import CorpusFacts
from isoflop.errors import IsoflopError
from isoflop.files import write_atomically
from isoflop.plan.candidates import ladder_of_factory
from isoflop.rundir.layout import sizes_dir
from isoflop.shape import GROUPS, SHAPE_NUMBERS, CountedShape, ModelShape
from isoflop.spec import SweepSpec
from isoflop.spec.command_spec import FEWEST_SIZES
from isoflop.sweep.counting_process import CountingProcess
from isoflop.train.factory_source import HASH_LENGTH, SEE_PAGE, factory_source

# Raised when models are counted otherwise, so that nothing remembered is taken.
COUNT_VERSION = 1
Counts = dict[str, dict[str, Any]]


def with_factory_hash(spec: SweepSpec, file: Path) -> SweepSpec:
    """The sweep of `file` with the hash of its factory's source file, if it names a factory.

    Raises:
        IsoflopError: there is no such module.
    """
    if spec.model.factory is None:
        return spec
    source = factory_source(spec.model.factory, file.resolve().parent)
    model = spec.model.model_copy(update={"factory_hash": source.code_hash, "counted": ()})
    return spec.model_copy(update={"model": model})


def counted_sweep(
    spec: SweepSpec, corpus: CorpusFacts, file: Path, artifacts: Path, *, write: bool = True
) -> SweepSpec:
    """The sweep of `file` with the sizes that its factory builds for the corpus's vocabulary, if it names a factory.

    Counts are remembered among the artifacts, unless nothing is to be written.

    Raises:
        IsoflopError: the factory cannot be used.
    """
    if spec.model.factory is None:
        return spec
    with CountingProcess() as process:
        counter = _Counter(spec, file.resolve().parent, sizes_dir(artifacts), process, write=write)
        ladder = ladder_of_factory(spec, corpus.vocab_size, counter.count)
    untold = counter.untold(ladder)
    if len(ladder) < FEWEST_SIZES:
        raise counter.too_few(ladder)
    if spec.fit.params != "total" and untold is not None:
        raise IsoflopError(
            f'fit.params = "{spec.fit.params}" needs parameters by group, and the name {untold!r} of one that '
            f"{spec.model.factory!r} builds tells none.",
            hint='Leave fit.params out, which is "total", or put embed, attn, mlp, norm or head into the names.',
        )
    return spec.model_copy(update={"model": spec.model.model_copy(update={"counted": ladder})})


class _Counter:
    """Counts of a factory's models, each taken once and remembered for this code and this torch."""

    def __init__(
        self, spec: SweepSpec, folder: Path, remembered: Path, process: CountingProcess, *, write: bool
    ) -> None:
        assert spec.model.factory is not None
        self._name, self._folder, self._process, self._write = spec.model.factory, folder, process, write
        of = json.dumps([self._name, spec.model.factory_hash, _torch_version(), COUNT_VERSION])
        self._path = remembered / f"{hashlib.sha256(of.encode()).hexdigest()[:HASH_LENGTH]}.json"
        self._known: Counts = _read(self._path)

    def count(self, shapes: Sequence[ModelShape]) -> list[CountedShape | None]:
        """What the factory builds for each of `shapes`; None where it raised.

        Raises:
            IsoflopError: the factory cannot be used for any shape.
        """
        new = [shape for shape in shapes if _key(shape) not in self._known]
        if new:
            sizes = self._process.ask(self._name, self._folder, new)
            self._known |= {_key(shape): size for shape, size in zip(new, sizes, strict=True)}
            if self._write:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(self._path, json.dumps(self._known).encode())
        return [_counted(shape, self._known[_key(shape)]) for shape in shapes]

    def untold(self, ladder: Sequence[CountedShape]) -> str | None:
        """The name of a parameter that tells no group; None where all do."""
        names = (self._known[_key(shape.asked)].get("untold") for shape in ladder)
        return next((str(name) for name in names if name), None)

    def too_few(self, ladder: Sequence[CountedShape]) -> IsoflopError:
        """Why there is no sweep in so short a ladder."""
        refused = [str(size["refused"]) for size in self._known.values() if "refused" in size]
        if refused and len(refused) * 2 > len(self._known):
            return IsoflopError(
                f"model.factory = {self._name!r} raised for {len(refused)} of {len(self._known)} shapes, "
                f"at first {refused[0]}.",
                hint=f"It is called with {', '.join(SHAPE_NUMBERS)}, all by name. {SEE_PAGE}",
            )
        sizes = ", ".join(str(shape.n_params_total) for shape in ladder)
        return IsoflopError(
            f"model.factory = {self._name!r} builds {len(ladder)} different sizes ({sizes} parameters) for "
            f"{len(self._known)} shapes, and a valley takes {FEWEST_SIZES} or more.",
            hint="Its parameters must grow with n_layers and width (d_ff may be left aside).",
        )


def _counted(shape: ModelShape, size: Mapping[str, Any]) -> CountedShape | None:
    if "refused" in size:
        return None
    groups = {f"n_params_{group}": size[f"n_params_{group}"] for group in GROUPS}
    return CountedShape(size["n_params_total"], size["flops_per_token"], **shape.as_dict(), **groups)


def _key(shape: ModelShape) -> str:
    return ",".join(str(number) for number in shape.as_dict().values())


def _read(path: Path) -> Counts:
    try:
        said = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _torch_version() -> str:
    """The version that counts, asked without loading it."""
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return ""
