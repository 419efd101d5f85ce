"""`isoflop evaluate`: what the models of a sweep can do, measured from their weights and recorded as values of runs."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from isoflop.corpus import Corpus, load_intact, tokenizer_of
from isoflop.errors import IsoflopError, why_inaccessible
from isoflop.probes import PROBE_VERSION, LeftOut
from isoflop.result import Metric
from isoflop.spec import load_spec
from isoflop.store import Store, open_store, sweep_lock
from isoflop.sweep.locks import lock_path
from isoflop.sweep.planning import corpora
from isoflop.sweep.trained_run import RunChoice, TrainedRun, trained_run, trained_runs

if TYPE_CHECKING:
    from isoflop.train.foreign_text import ForeignText
    from isoflop.train.model import Decoder

DeviceKind = Literal["auto", "cpu", "cuda"]

# A metric is named after the text; more could not be told apart in a table's heading.
_TEXT_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
# Far more than is read of a text.
_LARGEST_TEXT = 64 << 20


@dataclass(frozen=True)
class WhatToMeasure:
    """What `isoflop evaluate` was asked for.

    Attributes:
        probes: whether the built-in probes are asked.
        texts: files of foreign texts.
        device: where models are evaluated; auto: on a GPU where there is one.
    """

    probes: bool = True
    texts: tuple[Path, ...] = ()
    device: DeviceKind = "auto"


@dataclass(frozen=True)
class Measured:
    """A run and what its model can do.

    Attributes:
        run: the run.
        metrics: all that is known of it, by name.
        new: names of what was measured just now; none where all was known.
        hint: how to have its weights, where they are missing or are not those of the run and something was to be
            measured; else None.
        left_out: probes that its corpus does not give.
    """

    run: TrainedRun
    metrics: dict[str, Metric]
    new: tuple[str, ...] = ()
    hint: str | None = None
    left_out: tuple[LeftOut, ...] = ()


def measure_runs(
    file: Path,
    db: Path,
    artifacts: Path,
    choice: RunChoice | None,
    what: WhatToMeasure,
    *,
    on_progress: Callable[[int, int, str], None] = lambda done, n_runs, run_id: None,
) -> Iterator[Measured]:
    """Measure the run that `choice` means, or with None every completed run of the sweep in `file`, one after another.

    Each is recorded before the next begins, and what is known already is not measured again: what was interrupted goes
    on. Of one run the weights must be there; of all, those without are named.

    Raises:
        IsoflopError: no such run, weights or device; a text that is too short, or whose name is that of another; or
            another process holds the sweep.
    """
    texts = [read_text(path) for path in what.texts]
    _refuse_nothing(what, texts)
    if not db.is_file():
        trained_runs(file, db, artifacts)  # says what is wrong
    name = load_spec(file).name
    with sweep_lock(lock_path(db, name), name), open_store(db, write=True) as store:
        runs = trained_runs(file, db, artifacts) if choice is None else [trained_run(file, db, artifacts, choice)]
        _refuse_other_texts(texts, store.metrics(name).values())
        intact = cache(partial(load_intact, corpora(artifacts)))
        for number, run in enumerate(runs):
            corpus = intact(run.run.corpus_fingerprint)
            begin = partial(on_progress, number, len(runs), run.run.run_id)
            yield _measured(store, run, corpus, what, texts, alone=choice is not None, begin=begin)
        on_progress(len(runs), len(runs), "")


def read_text(path: Path) -> "ForeignText":
    """The text in a UTF-8 file, by the name of the file: `my-notes.txt` is `my_notes`.

    Raises:
        IsoflopError: it cannot be read, is too large, is not UTF-8, or its name does not name a metric.
    """
    from isoflop.train.foreign_text import ForeignText

    name = path.stem.lower().replace("-", "_")
    if not _TEXT_NAME.fullmatch(name):
        raise IsoflopError(
            f"The file name {path.name!r} cannot name a metric: a name is a letter and up to 31 letters, digits or _.",
            hint="Rename the file, or make a link to it under such a name.",
        )
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_TEXT + 1)  # a device may have no end
        if len(content) > _LARGEST_TEXT:
            raise IsoflopError(
                f"The text {str(path)!r} has more than {_LARGEST_TEXT >> 20} MiB.",
                hint="Name a part of it: 131,072 tokens are read.",
            )
        content.decode()
    except UnicodeDecodeError as error:
        raise IsoflopError(
            f"The text {str(path)!r} is not UTF-8: byte {error.start} cannot be read.",
            hint="Convert the file to UTF-8.",
        ) from None
    except OSError as error:
        raise IsoflopError(
            f"Cannot read the text {str(path)!r}: {why_inaccessible(error, path)}.",
            hint="Name a UTF-8 file with --text.",
        ) from None
    return ForeignText(name, content)


def _refuse_nothing(what: WhatToMeasure, texts: Sequence["ForeignText"]) -> None:
    names = [text.name for text in texts]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise IsoflopError(
            f"Two texts have the name {twice!r}, which names their metric.", hint="Rename one of the files."
        )
    if not what.probes and not texts:
        raise IsoflopError("--no-probes without --text leaves nothing to measure.", hint="Name a text with --text.")


def _measured(
    store: Store,
    run: TrainedRun,
    corpus: Corpus,
    what: WhatToMeasure,
    texts: Sequence["ForeignText"],
    *,
    alone: bool,
    begin: Callable[[], None],
) -> Measured:
    from isoflop.train.abilities import probe_metrics, probe_set
    from isoflop.train.checkpoint import UnusableWeightsError
    from isoflop.train.foreign_text import text_metric, text_windows

    run_id, known, length = run.run.run_id, dict(run.cell.metrics), run.run.shape.context_length
    probes = probe_set(corpus, length) if what.probes else None
    left_out = probes.left_out if probes else ()
    missing = [text for text in texts if _is_old(known.get(text.metric_name))]
    asked = probes is not None and any(_is_old(known.get(name)) for name in probes.metric_names)
    if not (missing or asked):
        return Measured(run, known, left_out=left_out)
    for text in missing:
        text_windows(text, tokenizer_of(corpus), length)  # what is wrong with it is said before anything is measured
    if not run.weights.is_file() and not alone:
        return Measured(run, known, hint=_hint(run), left_out=left_out)
    begin()
    try:
        model = _model(run, corpus, what.device)
    except UnusableWeightsError as error:
        if alone:
            raise
        return Measured(run, known, hint=f"{error.message} {error.hint}", left_out=left_out)
    new = list(probe_metrics(model, corpus)) if asked else []
    new += [text_metric(model, text, tokenizer_of(corpus)) for text in missing]
    store.record_metrics(run_id, new)
    known = {**known, **{metric.name: metric for metric in new if _is_old(known.get(metric.name))}}
    return Measured(run, known, tuple(metric.name for metric in new), left_out=left_out)


def _model(run: TrainedRun, corpus: Corpus, device: DeviceKind) -> "Decoder":
    """The model of the run.

    Raises:
        IsoflopError: there are no weights, or no such device.
        UnusableWeightsError: what is there are not the weights of the run.
    """
    from isoflop.train.model_for_use import model_for_use, refuse_other_weights

    model = model_for_use(run.require_weights(), run.run, device, run.file)
    refuse_other_weights(model, run.weights, run.run, corpus, recorded=run.result.val_loss, sweep_file=run.file)
    return model


def _is_old(metric: Metric | None) -> bool:
    return metric is None or metric.probe_version < PROBE_VERSION


def _refuse_other_texts(texts: Sequence["ForeignText"], known: Iterable[Mapping[str, Metric]]) -> None:
    """Nothing, where no run of the sweep has the metric of another text of one of these names.

    Raises:
        IsoflopError: a run has.
    """
    fingerprints = {(name, metric.corpus_fingerprint) for metrics in known for name, metric in metrics.items()}
    for text in texts:
        others = {of for name, of in fingerprints if name == text.metric_name} - {text.fingerprint}
        if others:
            raise IsoflopError(
                f"The name {text.name!r} stands for another text: runs of the sweep were measured on it.",
                hint="Give this text a file name of its own.",
            )


def _hint(run: TrainedRun) -> str:
    try:
        run.require_weights()
    except IsoflopError as error:
        return error.hint
    raise AssertionError(f"run {run.run.run_id} has weights")
