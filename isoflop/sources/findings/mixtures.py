"""Findings on rows that were not made, counted or measured alike, and so do not lie in one valley."""

from collections.abc import Callable, Mapping, Sequence

from isoflop.finding import Finding, Severity
from isoflop.sources.columns.loss_scale import PLAIN
from isoflop.sources.measure import BITS_PER_BYTE
from isoflop.sources.source import Source, SweepSource
from isoflop.store import CompletedResult

# A column of other things than tokenizers or conventions may hold as many values as rows.
_NAMED = 5
_LISTED = 20

_PARAM_COUNTS = ("mixed_param_counts", Severity.WARNING)
MIXED_PARAM_COUNTS = _PARAM_COUNTS[0]
_TOKENIZERS = ("mixed_tokenizers", Severity.WARNING)
_CORPORA = ("mixed_corpora", Severity.WARNING)
_LOSS_UNITS = ("mixed_loss_units", Severity.ERROR)
_OPTIMIZERS = ("mixed_optimizers", Severity.WARNING)


def mixture_findings(sources: Sequence[Source]) -> tuple[Finding, ...]:
    """One finding for each thing that differs between the fitted rows: how they were trained, read and counted."""
    made = (_execution, _param_counts, _tokenizers, _corpora, _optimizers, _loss_units, _unnamed)
    return tuple(finding for make in made if (finding := make(sources)) is not None)


def _execution(sources: Sequence[Source]) -> Finding | None:
    used = [row.cell.used for source in sources for row in source.rows if row.cell and row.cell.used]
    devices = _distinct(used, lambda result: result.device or "unknown")
    versions = _distinct(used, lambda result: result.torch_version or "unknown")
    kinds = _distinct(used, lambda result: result.arithmetic)
    if max(len(devices), len(versions), len(kinds)) <= 1:
        return None
    return Finding(
        code="mixed_execution",
        severity=Severity.WARNING,
        message=f"The fitted runs were trained on {', '.join(devices)} with torch {', '.join(versions)}, "
        f"computed in {' and in '.join(kinds)}.",
        hint="Differences of arithmetic can move the valleys; to rule that out, train all runs on one kind of device "
        "and in one way.",
        values={"devices": devices, "torch_versions": versions, "arithmetic": kinds},
    )


def _distinct(used: Sequence[CompletedResult], fact: Callable[[CompletedResult], str]) -> list[str]:
    return sorted({fact(result) for result in used})


def _param_counts(sources: Sequence[Source]) -> Finding | None:
    return _mixed(
        _PARAM_COUNTS,
        {source.label: source.param_counts for source in sources},
        what="The fitted rows count parameters by different conventions",
        hint="Their valleys lie at different N: count all by one convention (`[fit] params` of a sweep file), or fit "
        "each alone.",
    )


def _tokenizers(sources: Sequence[Source]) -> Finding | None:
    return _mixed(
        _TOKENIZERS,
        {source.label: source.tokenizers for source in sources},
        what="The fitted rows come from different tokenizers",
        hint="Losses in bits per byte compare, token counts of different tokenizers do not: for D fit each alone."
        if all(source.scale.unit == BITS_PER_BYTE for source in sources)
        else "Losses per token and token counts of different tokenizers do not compare: fit each tokenizer alone.",
    )


def _corpora(sources: Sequence[Source]) -> Finding | None:
    return _mixed(
        _CORPORA,
        {source.label: (source.corpus_fingerprint,) if isinstance(source, SweepSource) else () for source in sources},
        what="The fitted runs were trained and evaluated on different corpora",
        hint="Losses on different texts do not form one valley: fit each corpus alone.",
    )


def _optimizers(sources: Sequence[Source]) -> Finding | None:
    return _mixed(
        _OPTIMIZERS,
        {
            source.label: (source.spec.recipe.optimizer,) if isinstance(source, SweepSource) else ()
            for source in sources
        },
        what="The fitted runs were trained with different optimizers",
        hint="Each optimizer has a valley of its own: fit each alone, or compare them with `--compare`.",
    )


def _loss_units(sources: Sequence[Source]) -> Finding | None:
    known = {source.label: (source.scale.axis,) if source.scale != PLAIN else () for source in sources}
    return _mixed(
        _LOSS_UNITS,
        known,
        what="The fitted rows measure losses in different units",
        hint="Losses in different units do not form one valley: fit each source alone.",
    )


def _unnamed(sources: Sequence[Source]) -> Finding | None:
    """Sources that do not name what others name: whether they belong together nobody can tell."""
    told = {
        "how parameters are counted": {source.label: source.param_counts for source in sources},
        "which tokenizer was used": {source.label: source.tokenizers for source in sources},
    }
    silent = {
        what: [label for label, names in named.items() if not names]
        for what, named in told.items()
        if any(named.values()) and not all(named.values())
    }
    if not silent:
        return None
    labels = list(dict.fromkeys(label for some in silent.values() for label in some))
    more = f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else ""
    return Finding(
        code="unnamed_conventions",
        severity=Severity.INFO,
        message=f"{', '.join(labels[:_NAMED])}{more} {'does' if len(labels) == 1 else 'do'} not say "
        f"{' nor '.join(silent)}, which other sources say; the fit assumes that all agree.",
        hint="Add the columns `param_count` and `tokenizer` to tables; fit sources that do not agree each alone.",
        values={"sources": labels[:_LISTED]},
    )


def _mixed(kind: tuple[str, Severity], named: Mapping[str, Sequence[str]], *, what: str, hint: str) -> Finding | None:
    """A finding where the sources, by label, name more than one thing; those that name nothing are listed as such."""
    code, severity = kind
    labels: dict[str, list[str]] = {}
    for label, names in named.items():
        for name in names:
            labels.setdefault(name, []).append(label)
    if len(labels) <= 1:
        return None
    shown = "; ".join(f"{name} ({', '.join(labels[name][:_NAMED])})" for name in list(labels)[:_NAMED])
    more = f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else ""
    return Finding(
        code=code,
        severity=severity,
        message=f"{what}: {shown}{more}.",
        hint=hint,
        values={
            code.removeprefix("mixed_"): {label: list(names[:_LISTED]) for label, names in named.items()},
            "n": len(labels),
        },
    )
