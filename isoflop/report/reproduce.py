"""The commands that give a report again."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from isoflop.report.summary import Summary
from isoflop.sources.source import Pool, Source, SweepSource, TableSource

# Where isoflop looks when no --db is given, and the coverage when no --level is.
_DEFAULT_DB, _DEFAULT_LEVEL = Path("isoflop.db"), 0.9

# Options that `fit` does not have, each with a value.
_OF_REPORTS = {"--out", "--bootstrap"}


def reproduction(summary: Summary) -> tuple[str, ...]:
    """Shell commands from the sweep file or table to this report, in order; of several sources only those recorded."""
    recorded = tuple(shlex.join(words) for words in summary.commands)
    if isinstance(summary.source, Pool):
        return recorded
    source = _source(summary.source)
    wanted = [word for target in summary.fit.targets for word in ("--target", _shortest(target.budget_flops))]
    wanted += [] if summary.fit.level == _DEFAULT_LEVEL else ["--level", repr(summary.fit.level)]
    asked = _as_fit(summary.commands)
    if asked and "--db" in source and not any(word.startswith("--db") for word in asked):
        asked += source[source.index("--db") :]  # an environment variable named it
    commands = [asked or ["fit", *source, *wanted]] + ([] if recorded else [["report", *source, *wanted]])
    if isinstance(summary.source, SweepSource):
        commands = [["plan", *source], ["run", *source], *_confirmations(summary, source), *commands]
    return (*(shlex.join(["isoflop", *words]) for words in commands), *recorded)


def _confirmations(summary: Summary, source: Sequence[str]) -> list[list[str]]:
    """The commands that trained the confirm runs."""
    return [
        [
            "run",
            *source,
            "--confirm",
            _shortest(one.prediction.budget_flops),
            *(["--neighbours"] * bool(one.neighbours)),
        ]
        for one in summary.confirmations
    ]


def _as_fit(commands: Sequence[Sequence[str]]) -> list[str] | None:
    """The words of `isoflop fit` that ask what an `isoflop report` among `commands` asked, with all its options."""
    words = next((words for words in commands if tuple(words[:2]) == ("isoflop", "report")), None)
    if words is None:
        return None
    kept, skip = ["fit"], False
    for word in words[2:]:
        name = word.partition("=")[0]
        if not (skip or name == "--json" or name in _OF_REPORTS):
            kept.append(word)
        skip = word in _OF_REPORTS
    return kept


def _shortest(value: float) -> str:
    """`value` with as few digits as read back exactly: `1e+11`."""
    return next(text for digits in range(17) if float(text := f"{value:.{digits}e}") == value)


def _source(source: Source) -> list[str]:
    """The words that name the source on a command line."""
    if isinstance(source, SweepSource):
        database = [] if source.path == _DEFAULT_DB else ["--db", str(source.path)]
        return [str(source.file or f"{source.spec.name}.toml"), *database]
    if not isinstance(source, TableSource):
        return [str(source.path)]
    chosen = source.columns.chosen.items()
    renames = [word for ours, theirs in chosen if ours != theirs for word in ("--column", f"{ours}={theirs}")]
    return [str(source.path), *renames, *source.options.words]
