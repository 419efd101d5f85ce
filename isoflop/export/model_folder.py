"""One trained run as a folder for Hugging Face's tools: chosen, read, rendered, written."""

import json
import tempfile
from pathlib import Path

from isoflop.corpus import Tokenizer, load_corpus
from isoflop.corpus.tokenizers.tokenizer import BYTE
from isoflop.errors import IsoflopError, why_inaccessible
from isoflop.export.card import model_card
from isoflop.export.folder import CONFIG, GGUF, refuse_another, write_folder
from isoflop.export.gguf_file import require_gguf, write_gguf
from isoflop.export.model_config import ExportDtype, generation_config, model_config
from isoflop.export.tensors import Weights, read_weights, serialized
from isoflop.export.tokenizer_files import tokenizer_files
from isoflop.run_spec import RunSpec
from isoflop.sweep.planning import corpora
from isoflop.sweep.trained_run import TrainedRun


def export_run(
    trained: TrainedRun, artifacts: Path, out: Path, *, dtype: ExportDtype = "float32", gguf: bool = False
) -> list[Path]:
    """The paths of the files of the export of `trained` in the folder `out`.

    Raises:
        IsoflopError: the weights were not kept or are damaged, the corpus or its tokenizer is gone, `out` holds
            something else or cannot be written, or the library that `gguf` needs is not installed.
    """
    if gguf:
        require_gguf()
    refuse_another(out, trained.run.run_id)
    weights = read_weights(trained.require_weights(), trained.run, trained.file)
    tokenizer, text = _tokenizer_and_text(trained, artifacts)
    card = model_card(trained, text=text, dtype=dtype).encode()
    files = {**rendered(trained.run, weights, tokenizer, dtype=dtype), "README.md": card}
    if gguf:
        files[GGUF] = _gguf(trained, weights, tokenizer, dtype)
    return write_folder(out, files)


def rendered(run: RunSpec, weights: Weights, tokenizer: Tokenizer, *, dtype: ExportDtype) -> dict[str, bytes]:
    """What transformers reads, by name of file.

    Raises:
        IsoflopError: the tokenizer's separator has no text.
    """
    separator = tokenizer.separator
    return {
        CONFIG: _json(model_config(run, separator=separator, dtype=dtype)),
        "generation_config.json": _json(generation_config(separator)),
        "model.safetensors": serialized(weights, dtype),
        **tokenizer_files(tokenizer, run.shape.context_length),
    }


def run_tokenizer(trained: TrainedRun, artifacts: Path) -> Tokenizer:
    """What made the tokens that the run was trained on.

    Raises:
        IsoflopError: it was more than bytes, and its corpus is gone.
    """
    return _tokenizer_and_text(trained, artifacts)[0]


def _tokenizer_and_text(trained: TrainedRun, artifacts: Path) -> tuple[Tokenizer, str]:
    try:
        corpus = load_corpus(corpora(artifacts), trained.run.corpus_fingerprint)
        return corpus.tokenizer, corpus.manifest.source
    except IsoflopError:
        if trained.run.tokenizer == BYTE.name:
            return BYTE, "a text that is not on this machine any more"
        raise


def _gguf(trained: TrainedRun, weights: Weights, tokenizer: Tokenizer, dtype: ExportDtype) -> bytes:
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.gguf"
            write_gguf(path, trained.run, weights, tokenizer, dtype)
            return path.read_bytes()
    except OSError as error:
        raise IsoflopError(
            f"Cannot write a temporary file for model.gguf: {why_inaccessible(error, Path(tempfile.gettempdir()))}.",
            hint="Make room there, or name another folder with the environment variable TMPDIR.",
        ) from error


def _json(content: dict[str, object]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
