"""Names that other people give our columns, and units that they put into them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

_SPLIT = re.compile(r"[^a-z0-9^+]+")


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ALIASES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "budget_flops": _names(
            "budget_flops c flops flop budget budgets compute flops_budget flop_budget budget_flop "
            "compute_budget compute_flops train_flops training_flops total_flops n_flops num_flops "
            "train_compute training_compute total_compute total_train_flops total_flos"
        ),
        "n_params": _names(
            "n_params n params parameters n_parameters num_params num_parameters nparams model_params "
            "model_parameters param model_size total_params total_parameters n_params_total params_total "
            "parameter_count num_model_params non_embedding_params n_params_non_embedding "
            "params_non_embedding non_embedding_parameters active_params active_parameters n_active_params "
            "trainable_params"
        ),
        "n_tokens": _names(
            "n_tokens d tokens num_tokens ntokens n_train_tokens num_train_tokens train_tokens "
            "training_tokens tokens_seen total_tokens tokens_trained n_training_tokens num_training_tokens "
            "tokens_total total_train_tokens trained_tokens num_input_tokens_seen"
        ),
        "loss": _names(
            "loss val_loss eval_loss final_loss test_loss valid_loss validation_loss heldout_loss "
            "held_out_loss final_val_loss final_eval_loss final_test_loss final_validation_loss dev_loss val "
            "eval_val_loss ce_loss cross_entropy cross_entropy_loss val_ce_loss nll val_nll"
        ),
        "unique_tokens": _names(
            "unique_tokens n_unique_tokens num_unique_tokens tokens_unique unique_train_tokens unique_training_tokens "
            "unique_data_tokens dataset_tokens corpus_tokens"
        ),
        "epochs": _names("epochs epoch n_epochs num_epochs num_train_epochs train_epochs epochs_trained data_epochs"),
    }
)
# FLOPs of the runs themselves, which are looked for where no column is named a budget.
_ACHIEVED = _names("achieved_flops actual_flops measured_flops logged_flops")
# Losses on another scale, which are looked for where no column is named a loss.
SCALES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "perplexity": _names("ppl perplexity pplx"),
        "bits-per-byte": _names("bpb bits_per_byte"),
        "bits": _names("bits_per_token bpt bits"),
    }
)
SCORES = _names(
    "acc accuracy accuracies acc1 acc5 top1 top5 score scores em f1 auc auroc mmlu bleu rouge reward bbh hellaswag arc"
)
# Units in brackets that are ours: `C (FLOPs)`, `val loss [nats/token]`.
_OWN_UNITS = _names("flop flops param params parameters token tokens nats nats_token nats_per_token")
_BRACKETED = re.compile(r"(.*\S)\s*[(\[]([^()\[\]]*)[)\]]\s*")
_OF_LOSSES = _names("loss nll ce entropy perplexity ppl bpb bits error err rank")
_PREFIXES = ("val", "eval", "test", "valid", "validation", "final", "heldout", "dev", "mean", "avg", "average")

_THOUSANDS = {
    "k": 1e3, "thousand": 1e3, "thousands": 1e3, "m": 1e6, "mm": 1e6, "million": 1e6, "millions": 1e6, "mil": 1e6,
    "b": 1e9, "bn": 1e9, "g": 1e9, "billion": 1e9, "billions": 1e9, "t": 1e12, "tn": 1e12, "trillion": 1e12,
    "trillions": 1e12,
}  # fmt: skip
_METRIC = {
    "k": 1e3, "kilo": 1e3, "m": 1e6, "mega": 1e6, "g": 1e9, "giga": 1e9, "t": 1e12, "tera": 1e12, "p": 1e15,
    "peta": 1e15, "e": 1e18, "exa": 1e18, "z": 1e21, "zetta": 1e21, "y": 1e24, "yotta": 1e24,
}  # fmt: skip
# One petaFLOP per second for a day: 1e15 x 86400 (OpenAI's AI and compute, 2018).
PETAFLOP_DAY = 8.64e19
# A multiplication and an addition.
_FLOPS_PER_MAC = 2
_DAYS = _names(
    "pfs_days pf_days pflops_days pflop_s_days pfs_day pflop_days petaflop_days petaflop_s_days "
    "petaflops_days pf_s_days pflops_s_days"
)
_SIZES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "n_params": _names("size model"),
        "n_tokens": _names("data data_size dataset_size dataset"),
        "unique_tokens": _names("unique"),
    }
)
_RATIOS = _names(
    "tokens_per_param tokens_per_parameter tokens_per_params token_per_param tok_per_param d_n d_over_n d_per_n "
    "token_param_ratio tokens_params_ratio tokens_to_params tokens_to_params_ratio token_to_param_ratio tpp"
)
_SETTINGS = _names(
    "lr lrs learning rate peak_lr bs batch batchsize wd weight decay warmup seed seeds rep repeat replicate trial beta "
    "beta1 beta2 momentum eps epsilon clip gpu gpus node nodes device devices step steps iter iters time runtime "
    "id idx index group rank"
)
_LOGS = _names("log log2 log10 ln")
_POWER = re.compile(r"x?(?:10\^|1e\+?)([0-9]{1,2})")


def plain_name(column: str) -> str:
    """A column's name in small letters, words joined by `_`: `eval_loss` of `Eval/Loss`."""
    return "_".join(part for part in _SPLIT.split(column.strip().lower()) if part)


def last_name(column: str) -> str:
    """The same of what stands behind the last point or slash, where exports put the group: of `config.n_params`."""
    return plain_name(re.split(r"[./]", column.strip())[-1])


def candidates(header: Sequence[str], ours: str, taken: Sequence[str] = (), *, scores: bool = False) -> list[str]:
    """The columns that may be ours by their names, in order; `taken` are read as others; `scores` stand for losses."""
    free = [column for column in dict.fromkeys(header) if column not in taken]
    if scores and ours == "loss":
        return [column for column in free if is_score(column)]
    found = [column for column in free if _may_be(column, ours)]
    if ours == "budget_flops" and not found:
        found = [column for column in free if _ACHIEVED & {plain_name(column), last_name(column)}]
    if ours == "loss" and not found:
        found = [column for column in free if scale_of(column)]
    return found


def _may_be(column: str, ours: str) -> bool:
    bracketed = _BRACKETED.fullmatch(column)
    if bracketed and plain_name(bracketed[2]) in _OWN_UNITS:
        column = bracketed[1]
    names = {plain_name(column), last_name(column)}
    if ours == "loss" and re.search(r"(?:^|_)train(?:ing)?(?:_|$)", plain_name(column)):
        return False  # a loss on what was trained on is another thing
    if tokens_per_param(column):
        return False  # `D/N` is no column N of a group D
    return not names.isdisjoint(_ALIASES[ours])


def scale_of(column: str) -> str | None:
    """The scale of losses that the name of a column tells: `perplexity` of `val_ppl`."""
    return next((scale for scale, names in SCALES.items() if names & _bare(column)), None)


def is_score(column: str) -> bool:
    """Whether a column is named like a score of which more is better."""
    words = set(plain_name(column).split("_"))
    return not SCORES.isdisjoint(words) and words.isdisjoint(_OF_LOSSES)


def _bare(column: str) -> set[str]:
    """What a column may be called, with and without words that say on which text it was measured."""
    names = {plain_name(column), last_name(column)}
    for prefix in _PREFIXES:
        names |= {name.removeprefix(f"{prefix}_") for name in names}
    return names


@dataclass(frozen=True)
class Scaled:
    """A column of ours in a unit of its own.

    Attributes:
        column: the table's name of it.
        factor: what one of its units is of ours.
    """

    column: str
    factor: float

    @property
    def text(self) -> str:
        """What --column takes: `params_M*1e6`."""
        return f"{self.column}*{short(self.factor)}"


def tokens_per_param(column: str) -> bool:
    """Whether a column is named as the tokens of a run over its parameters: `tokens_per_param`, `D/N`."""
    return plain_name(column) in _RATIOS


def is_log(column: str) -> bool:
    """Whether a column is named as the logarithm of something: `log10_flops`."""
    return not _LOGS.isdisjoint(plain_name(column).split("_"))


def is_time(column: str) -> bool:
    """Whether a column is named as the time of a training: `gpu_hours`."""
    return bool(re.search(r"(?:^|_)(?:gpu|tpu|a100|h100|device|accelerator)_?(?:hours?|hrs?|h)$", plain_name(column)))


def is_setting(column: str) -> bool:
    """Whether a column is named as a setting that people sweep, the best of which is meant, or as a seed."""
    return not _SETTINGS.isdisjoint(plain_name(column).split("_"))


def is_error(column: str) -> bool:
    """Whether a column is named as a share of wrong answers."""
    return not {"error", "err"}.isdisjoint(plain_name(column).split("_"))


def short(factor: float) -> str:
    """`1e6`, `8.64e19`, `1e-3`, `2`."""
    mantissa, exponent = f"{factor:e}".split("e")
    if int(exponent) == 0:
        return f"{float(mantissa):g}"
    return f"{float(mantissa):g}e{int(exponent)}"


def unit_of(column: str, ours: str) -> float | None:
    """The unit of a column of ours that its name tells: 1e6 of `params_M`; None where it tells none."""
    name = plain_name(column)
    if ours == "budget_flops":
        return _unit_of_flops(name)
    words = name.split("_")
    power = next((float(f"1e{found[1]}") for word in words if (found := _POWER.fullmatch(word))), None)
    known = [_THOUSANDS[word] for word in words if word in _THOUSANDS]
    rest = "_".join(word for word in words if word not in _THOUSANDS and not _POWER.fullmatch(word))
    if (power or known) and rest in _ALIASES[ours] | _SIZES[ours]:
        return power or known[0]
    return _joined(name, ours)


def _joined(name: str, ours: str) -> float | None:
    """The unit in `mparams`, `btokens`, `model_mparams`."""
    last = name.rpartition("_")[2]
    noun = {"n_params": ("params", "parameters"), "n_tokens": ("tokens", "toks")}.get(ours, ())
    units = (last.removesuffix(word) for word in noun if last.endswith(word))
    return next((_THOUSANDS[unit] for unit in units if unit in _THOUSANDS), None)


def _unit_of_flops(name: str) -> float | None:
    if any(name == days or name.endswith(f"_{days}") for days in _DAYS):
        return PETAFLOP_DAY
    words = name.split("_")
    for word in words:
        rest = "_".join(other for other in words if other != word)
        if (found := _POWER.fullmatch(word)) and rest in _ALIASES["budget_flops"]:
            return float(f"1e{found[1]}")
        bare = re.sub(r"(?:flops?|macs?)$", "", word)
        if bare != word and (bare in _METRIC or word in ("mac", "macs")):
            return _METRIC.get(bare, 1) * (1 if "flop" in word else _FLOPS_PER_MAC)
        if len(words) > 1 and word in _METRIC and len(word) > 1:
            return _METRIC[word]
    if len(words) > 1 and words[-1] in _METRIC and "_".join(words[:-1]) in _ALIASES["budget_flops"]:
        return _METRIC[words[-1]]
    return None


def in_other_units(header: Sequence[str], ours: str) -> Scaled | None:
    """The column that is ours in a unit that its name tells; None where there is none, or more than one."""
    if ours not in ("budget_flops", "n_params", "n_tokens", "unique_tokens"):
        return None
    columns = [column for column in dict.fromkeys(header) if ours != "n_tokens" or not unit_of(column, "unique_tokens")]
    found = [Scaled(column, unit) for column in columns if (unit := unit_of(column, ours))]
    return found[0] if len(found) == 1 else None
