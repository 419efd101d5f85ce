"""README.md: the model card, what was trained on what, and what to expect of it."""

import shlex

from isoflop.export.model_config import ExportDtype
from isoflop.store import ConfirmPlace
from isoflop.sweep.trained_run import TrainedRun
from isoflop.units import format_count, format_flops
from isoflop.wording import one_line

_HEAD = """\
---
library_name: transformers
pipeline_tag: text-generation
tags: [isoflop, scaling-laws]
---
"""


def model_card(trained: TrainedRun, *, text: str, dtype: ExportDtype) -> str:
    """The card in Markdown; `text` names what it was trained on, in words. The licence is left to whoever publishes."""
    run, shape, result = trained.run, trained.run.shape, trained.result
    length = shape.context_length
    rows = [
        ("run", f"`{run.run_id}`, {_role(trained)} of the sweep {_inline(trained.sweep.name)}"),
        ("shape", f"{shape.n_layers} layers, width {shape.width}, {shape.n_heads} heads of {shape.head_dim}, "
         f"feed-forward {shape.d_ff}, vocabulary {shape.vocab_size}"),
        ("parameters", f"{shape.n_params_total:,} ({shape.n_params_non_embedding:,} without embedding and head)"),
        ("context", f"{length} tokens"),
        ("training tokens", f"{run.n_tokens:,} ({format_count(run.n_tokens)}), {trained.cell.epochs:.2g} epochs"),
        ("training FLOPs", f"{format_flops(result.achieved_flops)}, of a budget of "
         f"{format_flops(trained.cell.budget_flops)}"),
        ("held-out loss", _losses(trained) + (", of the float32 weights" if dtype == "bfloat16" else "")),
        ("seed", str(run.seed)),
        ("text", f"{_inline(text)}, corpus `{run.corpus_fingerprint}`"),
        ("tokenizer", f"`{run.tokenizer}`"),
        ("weights", dtype),
        ("trained", f"{result.finished_at} on {_inline(result.device)}, isoflop {result.isoflop_version}, "
         f"torch {result.torch_version or 'unknown'}, {_commit(trained)}"),
        ("command", _command(trained)),
    ]  # fmt: skip
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"""{_HEAD}
# {_inline(trained.sweep.name)}: {format_count(shape.n_params_total)} parameters on {format_count(run.n_tokens)} tokens

A small decoder trained by isoflop as one run of a sweep over model sizes. It was
made to measure a loss, not to be useful.

| | |
|---|---|
{table}

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model, tokenizer = AutoModelForCausalLM.from_pretrained("."), AutoTokenizer.from_pretrained(".")
ids = tokenizer("Your prompt", return_tensors="pt").input_ids
print(tokenizer.decode(model.generate(ids, max_new_tokens={min(40, length // 2)})[0]))
```

- **Context.** The model was trained on sequences of {length} tokens. Nothing stops longer ones, but the loss rises
  steeply beyond.
- **Prompts.** Documents were separated by one token, which is also the start, end and padding token:
  `model.generate()` without a prompt starts from it.
- **Licence.** Not stated here: it depends on the text, and is for whoever publishes the model to choose.
"""


def _role(trained: TrainedRun) -> str:
    """`confirm run, N/2`: half the size that was predicted to be best."""
    role = f"{trained.cell.role.value} run"
    return role if trained.place is None else f"{role}, {trained.place.words}"


def _losses(trained: TrainedRun) -> str:
    result = trained.result
    error = "" if result.val_loss_se is None else f" ± {result.val_loss_se:.4f}"
    bits = "" if result.bits_per_byte is None else f", {result.bits_per_byte:.4f} bits per byte"
    return f"{result.val_loss:.4f}{error} nats per token{bits}"


def _command(trained: TrainedRun) -> str:
    command = f"isoflop run {shlex.quote(trained.file.name)}"
    if trained.place is not None:
        command += f" --confirm {_shortest(trained.cell.budget_flops)}"
        command += "" if trained.place is ConfirmPlace.OPTIMUM else " --neighbours"
    # A name may hold what ends a code span, a cell or a line.
    return f"`{command}`" if command.isprintable() and not set("`|") & set(command) else _inline(command)


def _shortest(budget_flops: float) -> str:
    """`1.2e12`, and never another number than this."""
    short = f"{budget_flops:.6g}".replace("e+", "e")
    return short if float(short) == budget_flops else repr(budget_flops)


def _commit(trained: TrainedRun) -> str:
    if trained.result.git_commit is None:
        return "sweep file in no git repository"
    dirty = " with uncommitted changes" if trained.result.git_dirty else ""
    return f"sweep file at git commit `{trained.result.git_commit[:12]}`{dirty}"


def _inline(text: str) -> str:
    """`text` on one line, with nothing that Markdown, a table, HTML or a terminal would take for its own."""
    line = " ".join(one_line(text).split())
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]<>|#!&~$" else letter for letter in line)
